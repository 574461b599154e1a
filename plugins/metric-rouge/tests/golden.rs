//! Does the metric give the numbers of rouge-score?
//!
//! Cases: `golden/` (see its README). With `RLHF_GOLDENS` naming a folder that
//! holds `metrics/pairs.jsonl`, `scores.jsonl` and `corpus.json`, those as well.

use std::path::{Path, PathBuf};

use metric_rouge::Rouge;
use metric_rouge::options::Options;
use rlhf_sdk::{Metric, Sample};
use serde_json::Value;

/// The same divisions in the same order: what differs is how `serde_json`
/// reads decimals, in the last digit.
const TOLERANCE: f64 = 1e-15;

/// The order of hundreds of terms differs.
const MEAN_TOLERANCE: f64 = 1e-12;

const VARIANTS: [&str; 4] = ["rouge1", "rouge2", "rougeL", "rougeLsum"];

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

fn check(what: &str, found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().expect("number");
    let difference = (found - expected).abs();
    assert!(difference <= tolerance, "{what}: {found}, {expected}");
}

fn check_all(cases: &[Case], corpus: &Value) {
    for (stemmer, key) in [(true, "stem"), (false, "nostem")] {
        for variant in VARIANTS {
            let metric = Rouge::new(Options {
                variant: variant.to_owned(),
                stemmer,
                ..Options::default()
            });
            let metric = metric.expect("options");
            let mut sum = 0.0;
            for Case { sample, scores } in cases {
                let score = metric.score(sample).expect("score");
                let expected = &scores["rouge"][key][variant];
                for (i, part) in ["precision", "recall", "fmeasure"].iter().enumerate() {
                    let name = format!("{variant}_{part}");
                    let component = score.components.iter().find(|part| part.name == name);
                    let found = component.expect("component").value;
                    let what = format!("{} {key} {name}", sample.id);
                    check(&what, found, &expected[i], TOLERANCE);
                }
                let what = format!("{} {key} {variant}", sample.id);
                check(&what, score.value, &expected[2], TOLERANCE);
                sum += score.value;
            }
            let mean = sum / cases.len() as f64;
            let expected = &corpus["rouge_mean_fmeasure"][key][variant];
            check(
                &format!("mean {key} {variant}"),
                mean,
                expected,
                MEAN_TOLERANCE,
            );
        }
    }
}

/// Would catch any change of a number in a stand-alone clone.
#[test]
fn humaneval_pairs_score_as_in_rouge_score() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let cases = read_lines(&golden.join("humaneval.jsonl"));
    let cases: Vec<Case> = cases.iter().map(|pair| case(pair, pair.clone())).collect();
    assert_eq!(cases.len(), 60);
    let corpus = std::fs::read_to_string(golden.join("humaneval-corpus.json")).expect("corpus");
    check_all(&cases, &serde_json::from_str(&corpus).expect("corpus"));
}

/// The same on every pair there is, where the full set is at hand.
#[test]
fn all_pairs_score_as_in_rouge_score() {
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
