//! Do the metrics give the references' numbers as components, too, whatever
//! the number of workers?
//!
//! The formulas are compared natively in each plugin; here the same cases go
//! through the boundary: nltk 3.10.4 and codebleu 0.7.0, to 1e-9. With
//! `RLHF_GOLDENS` all pairs are compared, otherwise the plugins' own.

mod bertscore;
mod odd;

use std::path::{Path, PathBuf};

use rlhf::evaluate;
use rlhf::plugin::{Metric, Runtime, Sample, Spec};
use rlhf_test_support::{Workspace, component};
use serde_json::Value;

/// wasm's and glibc's `ln` and `exp` differ in the last bit on a few inputs.
const TOLERANCE: f64 = 1e-9;

struct Cases {
    samples: Vec<Sample>,
    scores: Vec<Value>,
    corpus: Value,
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the file is there");
    serde_json::from_str(&text).expect("the file is JSON")
}

fn cases(plugin: &str) -> Cases {
    let all = std::env::var_os("RLHF_GOLDENS").map(|folder| PathBuf::from(folder).join("metrics"));
    let (pairs, scores, corpus) = match all.filter(|folder| folder.is_dir()) {
        Some(folder) => (
            lines(&folder.join("pairs.jsonl")),
            lines(&folder.join("scores.jsonl")),
            json(&folder.join("corpus.json"))["all"].clone(),
        ),
        None => {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../plugins")
                .join(plugin)
                .join("golden");
            let rows = lines(&folder.join("humaneval.jsonl"));
            let corpus = json(&folder.join("humaneval-corpus.json"));
            // The file holds one reference's corpus; the full set holds all of them.
            let corpus = match corpus.get("codebleu").and_then(Value::as_f64) {
                Some(_) => serde_json::json!({ "codebleu": corpus }),
                None => corpus,
            };
            (rows.clone(), rows, corpus)
        }
    };
    let samples = pairs.iter().map(|pair| sample(pair, "python")).collect();
    Cases {
        samples,
        scores,
        corpus,
    }
}

fn sample(pair: &Value, language: &str) -> Sample {
    let text = |key: &str| pair[key].as_str().expect("a text").to_owned();
    Sample {
        id: text("id"),
        response: text("prediction"),
        references: vec![text("reference")],
        language: language.into(),
        ..Sample::default()
    }
}

fn load(plugin: &str, workers: usize, workspace: &Workspace) -> Metric {
    let runtime = Runtime::new(Some(workspace.join("cache")), workers).expect("the engine starts");
    let path = component(plugin);
    Metric::load(&runtime, &Spec::of(&path.display().to_string())).expect("it loads")
}

fn near(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().expect("a number");
    assert!(
        (found - expected).abs() <= TOLERANCE,
        "{what}: {found}, expected {expected}"
    );
}

/// The score of each sample and of the corpus, from one worker and from two.
fn check(plugin: &str, one: impl Fn(&Value, &str, f64, &[f64]), corpus: impl Fn(&Value, f64, f64)) {
    let workspace = Workspace::new();
    let cases = cases(plugin);
    assert!(cases.samples.len() >= 60, "cases are missing");
    let mut results = Vec::new();
    for workers in [1, 2] {
        let metric = load(plugin, workers, &workspace);
        let scored = evaluate::score(&metric, &cases.samples);
        let ids: Vec<&String> = cases.samples.iter().map(|sample| &sample.id).collect();
        let rng = rlhf::random::Stream::new(1, rlhf::random::Purpose::Bootstrap, 0, 0);
        let result = evaluate::summarise(&metric, &ids, &scored, 200, rng);
        assert_eq!(result.first_failure, None);
        for ((sample, expected), score) in cases
            .samples
            .iter()
            .zip(&cases.scores)
            .zip(&scored.per_sample)
        {
            let score = score.as_ref().expect("no failure");
            one(expected, &sample.id, score.value, &score.components);
        }
        corpus(
            &cases.corpus,
            result.corpus.expect("a corpus value"),
            result.mean.expect("a mean"),
        );
        let [low, high] = result.interval.expect("an interval");
        let value = result.value.expect("a value");
        assert!(low < value && value < high, "{low} {value} {high}");
        results.push(result);
    }
    assert_eq!(results[0], results[1], "one worker and two disagree");
}

#[test]
fn bleu_as_nltk() {
    check(
        "metric-bleu",
        |expected, id, value, _| near(value, &expected["nltk"]["sentence_bleu_method1"], id),
        |expected, corpus, mean| {
            near(corpus, &expected["nltk"]["corpus_bleu_method1"], "corpus");
            near(
                mean,
                &expected["nltk"]["mean_sentence_bleu_method1"],
                "mean",
            );
        },
    );
}

/// A sample's score and components against codebleu's.
fn near_codebleu(expected: &Value, id: &str, value: f64, components: &[f64]) {
    near(value, &expected["codebleu"], id);
    let parts = [
        "ngram_match_score",
        "weighted_ngram_match_score",
        "syntax_match_score",
        "dataflow_match_score",
    ];
    for (part, found) in parts.iter().zip(components) {
        near(*found, &expected[part], &format!("{id} {part}"));
    }
}

#[test]
fn codebleu_as_codebleu() {
    check(
        "metric-codebleu",
        |expected, id, value, components| {
            near_codebleu(&expected["codebleu"], id, value, components);
        },
        |expected, corpus, _| near(corpus, &expected["codebleu"]["codebleu"], "corpus"),
    );
}

/// Would catch a grammar whose C is another program when it is compiled for a component.
#[test]
fn codebleu_in_its_other_languages() {
    let workspace = Workspace::new();
    let metric = load("metric-codebleu", 1, &workspace);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/metric-codebleu/golden");
    let rows = lines(&folder.join("languages.jsonl"));
    let corpora = json(&folder.join("languages-corpus.json"));
    assert_eq!(corpora.as_object().map(|corpora| corpora.len()), Some(9));
    for rows in rows.chunk_by(|a, b| a["lang"] == b["lang"]) {
        let language = rows[0]["lang"].as_str().expect("a name");
        let samples: Vec<Sample> = rows.iter().map(|row| sample(row, language)).collect();
        let scored = evaluate::score(&metric, &samples);
        for ((row, sample), score) in rows.iter().zip(&samples).zip(&scored.per_sample) {
            let score = score.as_ref().expect("no failure");
            near_codebleu(&row["codebleu"], &sample.id, score.value, &score.components);
        }
        let rng = rlhf::random::Stream::new(1, rlhf::random::Purpose::Bootstrap, 0, 0);
        let ids: Vec<&String> = samples.iter().map(|sample| &sample.id).collect();
        let result = evaluate::summarise(&metric, &ids, &scored, 20, rng);
        let corpus = result.corpus.expect("a corpus value");
        near(corpus, &corpora[language]["codebleu"], language);
    }
}
