//! Do Levenshtein and fuzzywuzzy themselves give the same numbers, on texts nobody has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a Python that has fuzzywuzzy
//! 0.18.0 and Levenshtein 0.27.5; see `golden/README.md`. Texts are random, the same ones each time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use metric_edit_similarity::similarity::Variant;
use serde_json::{Value, json};

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
fn random_texts_score_as_in_python() {
    let Some(python) = std::env::var_os("RLHF_PEER_PYTHON").map(PathBuf::from) else {
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
    let mut random = Random(1);
    let pairs: Vec<(String, String)> = (0..PAIRS)
        .map(|_| {
            let reference = random.text();
            // Part of the reference, so that longer sequences match.
            let from = random.below(reference.len() + 1);
            let from = reference.ceil_char_boundary(from);
            let response = reference[from..].to_owned() + &random.text();
            (reference, response)
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
        .map(|pair| json!(pair).to_string() + "\n")
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
