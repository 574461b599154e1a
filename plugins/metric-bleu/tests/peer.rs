//! Do nltk and sacrebleu themselves give the same numbers, on texts nobody has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a Python that has nltk 3.10.4 and
//! sacrebleu 2.6.0; see `golden/README.md`. Texts are random, the same ones
//! each time.

#[path = "../../lib-text/tests/peer/mod.rs"]
mod peer;

use metric_bleu::Bleu;
use metric_bleu::options::Options;
use peer::Random;
use rlhf_sdk::{AdditiveMetric, Level, Sample};
use serde_json::{Value, json};

const PAIRS: usize = 400;

/// sacrebleu wants as many references for each pair of a corpus.
const REFERENCES: usize = 3;

/// See `golden.rs`.
const TOLERANCE: f64 = 1e-12;

/// Few words, so that they meet again.
const WORDS: [&str; 24] = [
    "a",
    "b",
    "the",
    "x=1",
    "f(a,",
    "b)",
    "1.5",
    "3,4",
    "x-1",
    "3-4",
    "&amp;",
    "it's",
    "é.",
    "…",
    "<skipped>",
    "-\n",
    "\n",
    "\t",
    "\u{1c}",
    "\u{a0}",
    "\"q\"",
    "..",
    ",,a",
    "~^_`",
];

fn check(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().expect("number");
    let difference = (found - expected).abs();
    assert!(
        difference <= TOLERANCE * expected.abs().max(1.0),
        "{what}: {found}, {expected}"
    );
}

/// Would catch a difference that the golden cases happen not to show.
#[test]
fn random_texts_score_as_in_the_references() {
    let Some(python) = peer::python() else {
        return;
    };
    let mut random = Random::new(&WORDS, 6);
    let samples: Vec<Sample> = (0..PAIRS)
        .map(|_| {
            let references: Vec<String> = (0..REFERENCES).map(|_| random.text()).collect();
            Sample::new(random.response(&references[0]), references)
        })
        .collect();

    let lines: String = (samples.iter())
        .map(|sample| {
            let Sample {
                references,
                response,
                ..
            } = sample;
            json!({"references": references, "prediction": response}).to_string() + "\n"
        })
        .collect();
    let mut expected = peer::ask(python, env!("CARGO_MANIFEST_DIR"), lines);
    let corpus = expected.pop().expect("corpus");
    assert_eq!(expected.len(), PAIRS);

    for name in corpus.as_object().expect("scores").keys() {
        let (variant, smoothing) = name.split_once(' ').expect("variant and smoothing");
        let (variant, smoothing) = (Some(variant.to_owned()), Some(smoothing.to_owned()));
        let metric = Bleu::new(Options {
            variant,
            smoothing,
            ..Options::default()
        });
        let metric = metric.expect("options");
        let mut sum = vec![0.0; metric.statistics_length()];
        for (sample, expected) in samples.iter().zip(&expected) {
            let statistics = metric.measure(sample).expect("statistics");
            let score = metric
                .score(&statistics, Level::Sample)
                .expect("score")
                .value;
            check(&format!("{name} {sample:?}"), score, &expected[name]);
            sum.iter_mut()
                .zip(statistics)
                .for_each(|(sum, number)| *sum += number);
        }
        let score = metric.score(&sum, Level::Corpus).expect("score").value;
        check(&format!("{name} corpus"), score, &corpus[name]);
    }
}
