//! Does the metric give the numbers of sacrebleu?
//!
//! Cases: `golden/` (see its README). With `RLHF_GOLDENS` naming a folder that
//! holds `metrics/pairs.jsonl` and `scores.jsonl`, those as well.

use std::path::{Path, PathBuf};

use metric_chrf::Chrf;
use metric_chrf::options::Options;
use rlhf_sdk::{AdditiveMetric, Level, Sample};
use serde_json::Value;

/// The same operations in the same order: what differs is how `serde_json`
/// reads decimals, in the last digit of numbers up to 100.
const TOLERANCE: f64 = 1e-13;

fn read_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("golden file");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("golden line"))
        .collect()
}

fn sample(pair: &Value) -> Sample {
    let text = |key: &str| pair[key].as_str().expect("text").to_owned();
    let mut sample = Sample::new(text("prediction"), [text("reference")]);
    sample.id = text("id");
    sample
}

fn check(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().expect("number");
    let difference = (found - expected).abs();
    assert!(difference <= TOLERANCE, "{what}: {found}, {expected}");
}

/// Would catch any change of a number in a stand-alone clone.
#[test]
fn humaneval_pairs_score_as_in_sacrebleu() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let pairs = read_lines(&golden.join("humaneval.jsonl"));
    assert_eq!(pairs.len(), 60);
    let corpus = std::fs::read_to_string(golden.join("humaneval-corpus.json")).expect("corpus");
    let corpus: Value = serde_json::from_str(&corpus).expect("corpus");
    for (name, expected) in corpus.as_object().expect("metrics") {
        let options: Options =
            serde_json::from_value(expected["options"].clone()).expect("options");
        let metric = Chrf::new(options).expect("options");
        let signature = expected["signature"].as_str().expect("signature");
        // Ours doesn't know the number of references, and names its model.
        assert_eq!(
            metric.describe().signature,
            signature
                .replace("nrefs:1|", "")
                .replace("version:", "ref:sacrebleu-")
        );
        let mut sum = vec![0.0; metric.statistics_length()];
        for pair in &pairs {
            let sample = sample(pair);
            let statistics = metric.measure(&sample).expect("statistics");
            let score = metric.score(&statistics, Level::Sample).expect("score");
            let what = format!("{} {name}", sample.id);
            check(&what, score.value, &pair["chrf"][name.as_str()]);
            sum.iter_mut()
                .zip(statistics)
                .for_each(|(sum, number)| *sum += number);
        }
        let score = metric.score(&sum, Level::Corpus).expect("score");
        check(&format!("corpus {name}"), score.value, &expected["corpus"]);
    }
}

/// The same on every pair there is, where the full set is at hand.
#[test]
fn all_pairs_score_as_in_sacrebleu() {
    let Some(folder) = std::env::var_os("RLHF_GOLDENS").map(PathBuf::from) else {
        return;
    };
    let pairs = read_lines(&folder.join("metrics/pairs.jsonl"));
    let scores = read_lines(&folder.join("metrics/scores.jsonl"));
    let metric = Chrf::new(Options::default()).expect("options");
    for (pair, scores) in pairs.iter().zip(scores) {
        let sample = sample(pair);
        let statistics = metric.measure(&sample).expect("statistics");
        let score = metric.score(&statistics, Level::Sample).expect("score");
        check(&sample.id, score.value, &scores["sacrebleu"]["chrf2"]);
    }
}
