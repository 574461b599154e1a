//! Does rouge-score itself give the same numbers, on texts nobody has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a Python that has rouge-score 0.1.2 and
//! nltk 3.10.4; see `golden/README.md`. Texts are random, the same ones each
//! time.

#[path = "../../lib-text/tests/peer/mod.rs"]
mod peer;

use metric_rouge::rouge::{Variant, scores};
use metric_rouge::tokens::{Mode, Vocabulary};
use peer::Random;
use serde_json::json;

const PAIRS: usize = 400;

const REFERENCES: usize = 3;

/// See `golden.rs`.
const TOLERANCE: f64 = 1e-15;

/// Few words, so that they meet again; some only after stemming.
const WORDS: [&str; 24] = [
    "a",
    "b",
    "the",
    "Run",
    "running",
    "runs",
    "relational",
    "relate",
    "hopefully",
    "hope",
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
    "ΑΣ",
];

/// Would catch a difference that the golden cases happen not to show.
#[test]
fn random_texts_score_as_in_rouge_score() {
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

    let lines: String = (pairs.iter())
        .map(|(references, response)| {
            json!({"references": references, "prediction": response}).to_string() + "\n"
        })
        .collect();
    let expected = peer::ask(python, env!("CARGO_MANIFEST_DIR"), lines);
    assert_eq!(expected.len(), PAIRS);
    for ((references, response), expected) in pairs.iter().zip(&expected) {
        for (stemmer, key) in [(true, "True"), (false, "False")] {
            let scores = scores(response, references, Vocabulary::new(stemmer, Mode::Compat))
                .expect("references");
            for (variant, score) in Variant::ALL.iter().zip(scores) {
                let name = format!("{} {key}", variant.name());
                let found = [score.precision, score.recall, score.fmeasure];
                for (i, found) in found.into_iter().enumerate() {
                    let expected = expected[&name][i].as_f64().expect("number");
                    assert!(
                        (found - expected).abs() <= TOLERANCE,
                        "{name} {i} {references:?} {response:?}: {found}, {expected}"
                    );
                }
            }
        }
    }
}
