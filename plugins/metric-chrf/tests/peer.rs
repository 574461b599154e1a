//! Does sacrebleu itself give the same numbers, on texts nobody has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a Python that has sacrebleu 2.6.0;
//! see `golden/README.md`. Texts are random, the same ones each time.

#[path = "../../lib-text/tests/peer/mod.rs"]
mod peer;

use metric_chrf::Chrf;
use metric_chrf::options::Options;
use peer::Random;
use rlhf_sdk::{AdditiveMetric, Level, Sample};
use serde_json::{Value, json};

const PAIRS: usize = 400;

/// sacrebleu wants as many references for each pair of a corpus.
const REFERENCES: usize = 3;

/// See `golden.rs`.
const TOLERANCE: f64 = 1e-13;

/// Few words, so that they meet again; some only in lower case.
const WORDS: [&str; 24] = [
    "a",
    "b",
    "the",
    "Run",
    "running",
    "runs",
    "(hi)",
    "..",
    "it's",
    "ΟΔΟΣ",
    "f(a,",
    "x_1",
    "1.5",
    "é.",
    "İx",
    "\u{212a}m",
    "…",
    "\r\n",
    "\n",
    "\n\n",
    "\t",
    "\u{1c}",
    "\u{2028}",
    "Σ𝕏",
];

/// Would catch a difference that the golden cases happen not to show.
#[test]
fn random_texts_score_as_in_sacrebleu() {
    let Some(python) = peer::python() else {
        return;
    };
    let mut random = Random::new(&WORDS, 8);
    let pairs: Vec<(Vec<String>, String)> = (0..PAIRS)
        .map(|_| {
            let references: Vec<String> = (0..REFERENCES).map(|_| random.text()).collect();
            let response = random.response(&references[0]);
            (references, response)
        })
        .collect();

    let options = json!({
        "chrf2": {},
        "chrf2++": {"word_order": 2},
        "chrf3+++": {"char_order": 3, "word_order": 3, "beta": 3, "whitespace": true},
        "chrf1 lowercase": {"beta": 1, "lowercase": true},
        "chrf2++ eps": {"word_order": 2, "eps_smoothing": true},
    });
    let mut lines = options.to_string() + "\n";
    for (references, response) in &pairs {
        lines += &json!({"references": references, "prediction": response}).to_string();
        lines.push('\n');
    }
    let mut expected = peer::ask(python, env!("CARGO_MANIFEST_DIR"), lines);
    let corpus = expected.pop().expect("corpus");
    assert_eq!(expected.len(), PAIRS);
    let check = |what: &str, found: f64, expected: &Value| {
        let expected = expected.as_f64().expect("number");
        let difference = (found - expected).abs();
        assert!(difference <= TOLERANCE, "{what}: {found}, {expected}");
    };
    for (name, options) in options.as_object().expect("options") {
        let options: Options = serde_json::from_value(options.clone()).expect("options");
        let metric = Chrf::new(options).expect("options");
        let mut sum = vec![0.0; metric.statistics_length()];
        for ((references, response), expected) in pairs.iter().zip(&expected) {
            let sample = Sample::new(response.clone(), references.clone());
            let statistics = metric.measure(&sample).expect("statistics");
            let score = metric.score(&statistics, Level::Sample).expect("score");
            let what = format!("{name} {sample:?}");
            check(&what, score.value, &expected[name.as_str()]);
            sum.iter_mut()
                .zip(statistics)
                .for_each(|(sum, number)| *sum += number);
        }
        let score = metric.score(&sum, Level::Corpus).expect("score");
        check(
            &format!("{name} corpus"),
            score.value,
            &corpus[name.as_str()],
        );
    }
}
