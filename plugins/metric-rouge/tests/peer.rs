//! Does rouge-score itself give the same numbers, on texts nobody has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a Python that has rouge-score 0.1.2 and
//! nltk 3.10.4; see `golden/README.md`. Texts are random, the same ones each
//! time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use metric_rouge::rouge::{Variant, scores};
use serde_json::{Value, json};

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

/// A linear congruential generator (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = (self.0)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn text(&mut self) -> String {
        let words = 1 << self.below(8);
        let words: Vec<&str> = (0..self.below(words) + self.below(2))
            .map(|_| WORDS[self.below(WORDS.len())])
            .collect();
        words.join(if self.below(8) == 0 { "" } else { " " })
    }
}

/// Would catch a difference that the golden cases happen not to show.
#[test]
fn random_texts_score_as_in_rouge_score() {
    let Some(python) = std::env::var_os("RLHF_PEER_PYTHON").map(PathBuf::from) else {
        return;
    };
    let mut random = Random(1);
    let pairs: Vec<(Vec<String>, String)> = (0..PAIRS)
        .map(|_| {
            let references: Vec<String> = (0..REFERENCES).map(|_| random.text()).collect();
            // Part of a reference, so that longer sequences match.
            let from = random.below(references[0].len() + 1);
            let from = references[0].ceil_char_boundary(from);
            let response = references[0][from..].to_owned() + &random.text();
            (references, response)
        })
        .collect();

    let mut peer = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("RLHF_PEER_PYTHON");
    let mut input = peer.stdin.take().expect("piped");
    let lines: String = (pairs.iter())
        .map(|(references, response)| {
            json!({"references": references, "prediction": response}).to_string() + "\n"
        })
        .collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = peer.wait_with_output().expect("peer");
    writer.join().expect("writer").expect("all pairs read");
    assert!(output.status.success(), "the peer failed");

    let output = String::from_utf8(output.stdout).expect("JSON");
    let expected: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(expected.len(), PAIRS);
    for ((references, response), expected) in pairs.iter().zip(&expected) {
        for (stemmer, key) in [(true, "True"), (false, "False")] {
            let scores = scores(response, references, stemmer).expect("references");
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
