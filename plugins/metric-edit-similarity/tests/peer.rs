//! Do Levenshtein and fuzzywuzzy themselves give the same numbers, on texts nobody has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a Python that has fuzzywuzzy
//! 0.18.0 and Levenshtein 0.27.5; see `golden/README.md`. Texts are random, the same ones each time.

#[path = "../../lib-text/tests/peer/mod.rs"]
mod peer;

use std::process::{Command, Stdio};

use metric_edit_similarity::similarity::Variant;
use peer::Random;
use serde_json::json;

const PAIRS: usize = 400;

/// See `golden.rs`.
const TOLERANCE: f64 = 1e-15;

/// Few words, so that they meet again.
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
fn random_texts_score_as_in_python() {
    let Some(python) = peer::python() else {
        return;
    };
    // The other metrics' references come with the usual packages; these two don't.
    let packages = Command::new(&python)
        .args(["-c", "import Levenshtein, fuzzywuzzy"])
        .stderr(Stdio::null())
        .status();
    if !packages.expect("RLHF_PEER_PYTHON").success() {
        eprintln!("not compared: RLHF_PEER_PYTHON has no Levenshtein and fuzzywuzzy");
        return;
    }
    let mut random = Random::new(&WORDS, 8);
    let pairs: Vec<(String, String)> = (0..PAIRS)
        .map(|_| {
            let reference = random.text();
            let response = random.response(&reference);
            (reference, response)
        })
        .collect();

    let lines: String = (pairs.iter())
        .map(|pair| json!(pair).to_string() + "\n")
        .collect();
    let expected = peer::ask(python, env!("CARGO_MANIFEST_DIR"), lines);
    assert_eq!(expected.len(), PAIRS);
    for ((reference, response), expected) in pairs.iter().zip(&expected) {
        for variant in [Variant::Levenshtein, Variant::Codexglue] {
            let found = variant.similarity(response, reference);
            let expected = expected[variant.name()].as_f64().expect("number");
            assert!(
                (found - expected).abs() <= TOLERANCE,
                "{variant:?} {reference:?} {response:?}: {found}, {expected}"
            );
        }
    }
}
