//! Does the metric give codebleu's numbers, and are its stages the same?
//!
//! Cases: `golden/` (see its README). With `RLHF_GOLDENS` naming a folder that
//! holds `metrics/pairs.jsonl`, `scores.jsonl`, `codebleu_debug.jsonl` and
//! `corpus.json`, and the same for the languages beside Python in `langs_*.jsonl`
//! and `codebleu_langs_debug.jsonl`, those as well.

use std::path::{Path, PathBuf};

use metric_codebleu::analysis::Analyser;
use metric_codebleu::codebleu::{Counts, Weights};
use metric_codebleu::dataflow::Normalised;
use metric_codebleu::languages::{LANGUAGES, Language};
use metric_codebleu::mode::Mode;
use metric_codebleu::syntax::Subtrees;
use metric_codebleu::tree::{Grammar, Tree};
use serde_json::Value;

/// Counts are exact. `ln` and `exp` of other libraries differ in the last bit,
/// and so does a sum of floats over the samples of a corpus in another order.
const TOLERANCE: f64 = 1e-14;

struct Case {
    id: String,
    language: &'static Language,
    reference: String,
    prediction: String,
    scores: Value,
    stages: Value,
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_lines(path: &Path) -> Vec<Value> {
    read(path)
        .lines()
        .map(|line| serde_json::from_str(line).expect("golden line"))
        .collect()
}

fn case(pair: &Value, scores: &Value, stages: &Value) -> Case {
    let text = |key: &str| pair[key].as_str().expect("text").to_owned();
    Case {
        id: text("id"),
        language: language(pair["lang"].as_str().unwrap_or("python")),
        reference: text("reference"),
        prediction: text("prediction"),
        scores: scores["codebleu"].clone(),
        stages: stages.clone(),
    }
}

fn language(name: &str) -> &'static Language {
    LANGUAGES[Language::place(name).expect("a language")]
}

fn committed() -> (Vec<Case>, Value) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let lines = read_lines(&golden.join("humaneval.jsonl"));
    let cases = lines
        .iter()
        .map(|line| case(line, line, &line["stages"]))
        .collect();
    (
        cases,
        serde_json::from_str(&read(&golden.join("humaneval-corpus.json"))).expect("corpus"),
    )
}

/// The pairs of the languages beside Python, and each language's as one corpus.
fn committed_languages() -> (Vec<Case>, Value) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let lines = read_lines(&golden.join("languages.jsonl"));
    let cases = lines.iter().map(|line| case(line, line, &line["stages"]));
    let corpus = read(&golden.join("languages-corpus.json"));
    (
        cases.collect(),
        serde_json::from_str(&corpus).expect("corpus"),
    )
}

/// The full set, where it is at hand: pairs, scores and stages.
fn all_of(files: [&str; 3]) -> Option<Vec<Case>> {
    let folder = PathBuf::from(std::env::var_os("RLHF_GOLDENS")?).join("metrics");
    let [pairs, scores, stages] = files.map(|file| read_lines(&folder.join(file)));
    let cases = pairs.iter().zip(&scores).zip(&stages);
    let cases = cases.map(|((pair, scores), stages)| case(pair, scores, stages));
    Some(cases.collect())
}

fn all() -> Option<(Vec<Case>, Value)> {
    let cases = all_of(["pairs.jsonl", "scores.jsonl", "codebleu_debug.jsonl"])?;
    let folder = PathBuf::from(std::env::var_os("RLHF_GOLDENS")?).join("metrics");
    let corpus: Value = serde_json::from_str(&read(&folder.join("corpus.json"))).expect("corpus");
    Some((cases, corpus["all"]["codebleu"].clone()))
}

fn check_scores(id: &str, counts: &Counts, expected: &Value) {
    let parts = counts.parts().expect("samples");
    for (name, found) in [
        ("ngram_match_score", parts.ngram),
        ("weighted_ngram_match_score", parts.weighted_ngram),
        ("syntax_match_score", parts.syntax),
        ("dataflow_match_score", parts.dataflow.unwrap_or(0.0)),
        ("codebleu", Weights::default().total(&parts)),
    ] {
        let expected = expected[name].as_f64().expect("number");
        assert!(
            (found - expected).abs() <= TOLERANCE,
            "{id} {name}: {found}, {expected}"
        );
    }
}

/// Scores the cases one by one, and those of one language as a corpus.
fn check_all(cases: &[Case], corpus: impl Fn(&str) -> Option<Value>) {
    for cases in cases.chunk_by(|a, b| a.language.name == b.language.name) {
        let language = cases[0].language;
        let mut analyser = Analyser::new(language, Mode::Compat).expect("grammar");
        let mut sum = vec![0.0; Counts::default().to_statistics().len()];
        for case in cases {
            let counts = analyser
                .compare(&case.prediction, &[&case.reference])
                .expect("counts");
            check_scores(&case.id, &counts, &case.scores);
            sum.iter_mut()
                .zip(counts.to_statistics())
                .for_each(|(sum, number)| *sum += number);
        }
        if let Some(expected) = corpus(language.name) {
            let counts = Counts::from_statistics(&sum).expect("statistics");
            check_scores(&format!("{} corpus", language.name), &counts, &expected);
        }
    }
}

fn check_stages(cases: &[Case]) {
    for cases in cases.chunk_by(|a, b| a.language.name == b.language.name) {
        check_stages_of(cases[0].language, cases);
    }
}

fn check_stages_of(language: &Language, cases: &[Case]) {
    let grammar = (language.parser)();
    let mut parser = tree_sitter::Parser::new();
    parser.set_language(&grammar).expect("grammar");
    let kinds = Grammar::new(&grammar);
    let rules = (language.rules)(&grammar, &kinds);
    for case in cases {
        for (side, source) in [
            ("reference", &case.reference),
            ("prediction", &case.prediction),
        ] {
            let id = format!("{} {side}", case.id);
            let expected = &case.stages[side];

            let source = rlhf_text::strip(source);
            let stripped = (language.without_comments)(source);
            // Ruby's reference returns the source as it is, and that counts as success.
            let kept = stripped.is_some() || language.name == "ruby";
            assert_eq!(kept, expected["strip_ok"] == true, "{id}");
            let stripped = stripped.unwrap_or_else(|| source.to_owned());
            assert_eq!(
                stripped,
                expected["stripped"].as_str().expect("text"),
                "{id}"
            );

            let parsed = parser.parse(&stripped, None).expect("parsed");
            let sexp = parsed.root_node().to_sexp();
            assert_eq!(sexp, expected["sexp"].as_str().expect("text"), "{id}");

            // Both ways to the subtrees lead to the same ones, unless the
            // s-expression shows tokens that the tree doesn't.
            let tree = Tree::new(&parsed, &kinds);
            let shown = Subtrees::from_sexp(&tree, &kinds, &sexp);
            if !sexp.contains("(MISSING _") {
                assert_eq!(Some(Subtrees::from_tree(&tree, &kinds)), shown, "{id}");
            }

            let flow = Normalised::new(&stripped, &tree, &kinds, &*rules).expect("flow");
            let variable = |number: &u32| Value::from(format!("var_{number}"));
            let edges: Vec<Value> = flow
                .edges()
                .map(|(name, relation, sources)| {
                    let sources: Vec<Value> = sources.iter().map(variable).collect();
                    Value::from(vec![variable(&name), relation.into(), sources.into()])
                })
                .collect();
            assert_eq!(Value::from(edges), expected["dataflow"], "{id}");
        }
    }
}

/// Would catch any change of a number in a stand-alone clone.
#[test]
fn humaneval_pairs_score_as_in_codebleu() {
    let (cases, corpus) = committed();
    assert_eq!(cases.len(), 60);
    check_all(&cases, |_| Some(corpus.clone()));
}

/// Would catch a keyword list, a grammar or a data flow of another language that is wrong.
#[test]
fn pairs_of_all_languages_score_as_in_codebleu() {
    let (cases, corpus) = committed_languages();
    assert_eq!(cases.len(), 9 * 20);
    check_all(&cases, |language| Some(corpus[language].clone()));
}

/// Would tell which stage a difference comes from.
#[test]
fn stages_of_all_languages_are_codebleus() {
    check_stages(&committed_languages().0);
}

/// Would catch what goes wrong with odd and broken texts only.
#[test]
fn odd_pairs_score_as_in_codebleu() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let lines = read_lines(&golden.join("odd.jsonl"));
    let mut analyser = Analyser::new(LANGUAGES[0], Mode::Compat).expect("grammar");
    for case in lines.iter().map(|line| case(line, line, &Value::Null)) {
        let counts = analyser
            .compare(&case.prediction, &[&case.reference])
            .expect("counts");
        check_scores(&case.id, &counts, &case.scores);
    }
}

/// Would tell which stage a difference comes from.
#[test]
fn humaneval_stages_are_codebleus() {
    check_stages(&committed().0);
}

/// The same on every pair there is.
#[test]
fn all_pairs_score_as_in_codebleu() {
    if let Some((cases, corpus)) = all() {
        check_all(&cases, |_| Some(corpus.clone()));
    }
    let languages = [
        "langs_pairs.jsonl",
        "langs_scores.jsonl",
        "codebleu_langs_debug.jsonl",
    ];
    if let Some(cases) = all_of(languages) {
        check_all(&cases, |_| None);
        check_stages(&cases);
    }
}

/// The same on every pair there is.
#[test]
fn all_stages_are_codebleus() {
    if let Some((cases, _)) = all() {
        check_stages(&cases);
    }
}
