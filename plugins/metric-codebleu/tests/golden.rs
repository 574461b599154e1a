//! Does the metric give codebleu's numbers, and are its stages the same?
//!
//! Cases: `golden/` (see its README). With `RLHF_GOLDENS` naming a folder that
//! holds `metrics/pairs.jsonl`, `scores.jsonl`, `codebleu_debug.jsonl` and
//! `corpus.json`, those as well.

use std::path::{Path, PathBuf};

use metric_codebleu::analysis::Analyser;
use metric_codebleu::codebleu::{Counts, Weights};
use metric_codebleu::comments;
use metric_codebleu::dataflow::Normalised;
use metric_codebleu::languages::LANGUAGES;
use metric_codebleu::syntax::Subtrees;
use metric_codebleu::tree::{Grammar, Tree};
use serde_json::Value;

/// Counts are exact. `ln` and `exp` of other libraries differ in the last bit,
/// and so does a sum of floats over the samples of a corpus in another order.
const TOLERANCE: f64 = 1e-14;

struct Case {
    id: String,
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
        reference: text("reference"),
        prediction: text("prediction"),
        scores: scores["codebleu"].clone(),
        stages: stages.clone(),
    }
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

/// The full set, where it is at hand.
fn all() -> Option<(Vec<Case>, Value)> {
    let folder = std::env::var_os("RLHF_GOLDENS")
        .map(PathBuf::from)?
        .join("metrics");
    let pairs = read_lines(&folder.join("pairs.jsonl"));
    let scores = read_lines(&folder.join("scores.jsonl"));
    let stages = read_lines(&folder.join("codebleu_debug.jsonl"));
    let cases = pairs.iter().zip(&scores).zip(&stages);
    let cases = cases
        .map(|((pair, scores), stages)| case(pair, scores, stages))
        .collect();
    let corpus: Value = serde_json::from_str(&read(&folder.join("corpus.json"))).expect("corpus");
    Some((cases, corpus["all"]["codebleu"].clone()))
}

fn check_scores(id: &str, counts: &Counts, expected: &Value) {
    let parts = counts.parts().expect("samples");
    for (name, found) in [
        ("ngram_match_score", parts.ngram),
        ("weighted_ngram_match_score", parts.weighted_ngram),
        ("syntax_match_score", parts.syntax),
        ("dataflow_match_score", parts.dataflow),
        ("codebleu", Weights::default().total(&parts)),
    ] {
        let expected = expected[name].as_f64().expect("number");
        assert!(
            (found - expected).abs() <= TOLERANCE,
            "{id} {name}: {found}, {expected}"
        );
    }
}

fn check_all(cases: &[Case], corpus: &Value) {
    let mut analyser = Analyser::new(LANGUAGES[0]).expect("grammar");
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
    check_scores(
        "corpus",
        &Counts::from_statistics(&sum).expect("statistics"),
        corpus,
    );
}

fn check_stages(cases: &[Case]) {
    let language = LANGUAGES[0];
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
            let stripped = comments::remove_from_python(source);
            assert_eq!(stripped.is_ok(), expected["strip_ok"] == true, "{id}");
            let stripped = stripped.unwrap_or_else(|_| source.to_owned());
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
    check_all(&cases, &corpus);
}

/// Would catch what goes wrong with odd and broken texts only.
#[test]
fn odd_pairs_score_as_in_codebleu() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let lines = read_lines(&golden.join("odd.jsonl"));
    let mut analyser = Analyser::new(LANGUAGES[0]).expect("grammar");
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
        check_all(&cases, &corpus);
    }
}

/// The same on every pair there is.
#[test]
fn all_stages_are_codebleus() {
    if let Some((cases, _)) = all() {
        check_stages(&cases);
    }
}
