//! Does the metric give the numbers of nltk and sacrebleu?
//!
//! Cases: `golden/` (see its README). With `RLHF_GOLDENS` naming a folder that
//! holds `metrics/pairs.jsonl`, `scores.jsonl` and `corpus.json`, those as well.

use std::path::{Path, PathBuf};

use metric_bleu::Bleu;
use metric_bleu::options::Options;
use rlhf_sdk::{AdditiveMetric, Level, Sample};
use serde_json::Value;

/// `ln` and `exp` of other libraries differ in the last bit, and four of them
/// are summed and scaled to 100: 1e-12 is that with room to spare.
const TOLERANCE: f64 = 1e-12;

struct Case {
    sample: Sample,
    scores: Value,
}

fn read_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("golden file");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("golden line"))
        .collect()
}

fn case(pair: &Value, scores: Value) -> Case {
    let text = |key: &str| pair[key].as_str().expect("text").to_owned();
    let mut sample = Sample::new(text("prediction"), [text("reference")]);
    sample.id = text("id");
    Case { sample, scores }
}

fn committed() -> (Vec<Case>, Value) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let cases = read_lines(&golden.join("humaneval.jsonl"));
    let cases = cases.iter().map(|pair| case(pair, pair.clone())).collect();
    let corpus = std::fs::read_to_string(golden.join("humaneval-corpus.json")).expect("corpus");
    (cases, serde_json::from_str(&corpus).expect("corpus"))
}

fn metric(variant: &str, smoothing: &str) -> Bleu {
    let (variant, smoothing) = (Some(variant.to_owned()), Some(smoothing.to_owned()));
    Bleu::new(Options {
        variant,
        smoothing,
        ..Options::default()
    })
    .expect("options")
}

fn check(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().expect("number");
    let difference = (found - expected).abs();
    assert!(
        difference <= TOLERANCE * expected.abs().max(1.0),
        "{what}: {found}, {expected}"
    );
}

fn sample_score(metric: &Bleu, sample: &Sample) -> f64 {
    let statistics = metric.measure(sample).expect("statistics");
    metric
        .score(&statistics, Level::Sample)
        .expect("score")
        .value
}

fn corpus_score(metric: &Bleu, cases: &[Case]) -> f64 {
    let mut sum = vec![0.0; metric.statistics_length()];
    for case in cases {
        let statistics = metric.measure(&case.sample).expect("statistics");
        sum.iter_mut()
            .zip(statistics)
            .for_each(|(sum, number)| *sum += number);
    }
    metric.score(&sum, Level::Corpus).expect("score").value
}

fn check_all(cases: &[Case], corpus: &Value) {
    for smoothing in ["method0", "method1", "method4"] {
        let metric = metric("nltk", smoothing);
        for Case { sample, scores } in cases {
            let expected = &scores["nltk"][format!("sentence_bleu_{smoothing}")];
            check(&sample.id, sample_score(&metric, sample), expected);
        }
    }
    let nltk = metric("nltk", "method1");
    check(
        "corpus",
        corpus_score(&nltk, cases),
        &corpus["nltk"]["corpus_bleu_method1"],
    );
    let total: f64 = cases
        .iter()
        .map(|case| sample_score(&nltk, &case.sample))
        .sum();
    let mean = total / cases.len() as f64;
    check("mean", mean, &corpus["nltk"]["mean_sentence_bleu_method1"]);
    let unsmoothed = metric("nltk", "method0");
    check(
        "corpus",
        corpus_score(&unsmoothed, cases),
        &corpus["nltk"]["corpus_bleu_no_smoothing"],
    );

    let sacrebleu = metric("sacrebleu", "exp");
    for Case { sample, scores } in cases {
        let expected = &scores["sacrebleu"];
        check(
            &sample.id,
            sample_score(&sacrebleu, sample),
            &expected["sentence_bleu"],
        );
        let statistics = sacrebleu.measure(sample).expect("statistics");
        let corpus_of_one = sacrebleu
            .score(&statistics, Level::Corpus)
            .expect("score")
            .value;
        check(
            &sample.id,
            corpus_of_one,
            &expected["sentence_bleu_no_effective_order"],
        );
        let mut counts = vec![expected["sys_len"].clone(), expected["ref_len"].clone()];
        for key in ["counts", "totals"] {
            counts.extend(expected[key].as_array().expect("counts").iter().cloned());
        }
        let counts: Vec<f64> = counts.iter().filter_map(Value::as_f64).collect();
        assert_eq!(statistics, counts, "{}", sample.id);
    }
    check(
        "corpus",
        corpus_score(&sacrebleu, cases),
        &corpus["sacrebleu"]["corpus_bleu"],
    );
}

/// Would catch any change of a number in a stand-alone clone.
#[test]
fn humaneval_pairs_score_as_their_references() {
    let (cases, corpus) = committed();
    assert_eq!(cases.len(), 60);
    check_all(&cases, &corpus);
}

/// The same on every pair there is, where the full set is at hand.
#[test]
fn all_pairs_score_as_their_references() {
    let Some(folder) = std::env::var_os("RLHF_GOLDENS").map(PathBuf::from) else {
        return;
    };
    let folder = folder.join("metrics");
    let pairs = read_lines(&folder.join("pairs.jsonl"));
    let scores = read_lines(&folder.join("scores.jsonl"));
    let cases: Vec<Case> = pairs
        .iter()
        .zip(scores)
        .map(|(pair, scores)| case(pair, scores))
        .collect();
    let corpus = std::fs::read_to_string(folder.join("corpus.json")).expect("corpus");
    let corpus: Value = serde_json::from_str(&corpus).expect("corpus");
    check_all(&cases, &corpus["all"]);
}
