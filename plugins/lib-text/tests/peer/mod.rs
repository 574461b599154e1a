//! What the metrics' comparisons with Python share: random texts, the same
//! ones each time, and a script that is given lines and answers with JSON Lines.
//! Included by path, since a test's code can't be depended on.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The Python to compare with, if there is one.
pub fn python() -> Option<PathBuf> {
    std::env::var_os("RLHF_PEER_PYTHON").map(PathBuf::from)
}

/// A linear congruential generator (Knuth's MMIX constants), and the words its
/// texts are made of: few, so that they meet again.
pub struct Random {
    state: u64,
    words: &'static [&'static str],
    /// Texts have up to two to this many words.
    length_bits: usize,
}

impl Random {
    pub fn new(words: &'static [&'static str], length_bits: usize) -> Self {
        Self {
            state: 1,
            words,
            length_bits,
        }
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.state = (self.state)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % end
    }

    pub fn text(&mut self) -> String {
        let words = 1 << self.below(self.length_bits);
        let words: Vec<&str> = (0..self.below(words) + self.below(2))
            .map(|_| self.words[self.below(self.words.len())])
            .collect();
        words.join(if self.below(8) == 0 { "" } else { " " })
    }

    /// The end of a text and something else, so that longer sequences match.
    pub fn response(&mut self, reference: &str) -> String {
        let from = self.below(reference.len() + 1);
        let from = reference.ceil_char_boundary(from);
        reference[from..].to_owned() + &self.text()
    }
}

/// What the script `tests/peer.py` of the metric in `folder` answers, line by line.
pub fn ask(python: PathBuf, folder: &str, lines: String) -> Vec<Value> {
    let mut peer = Command::new(python)
        .arg(PathBuf::from(folder).join("tests/peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("RLHF_PEER_PYTHON");
    let mut input = peer.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = peer.wait_with_output().expect("peer");
    writer.join().expect("writer").expect("all pairs read");
    assert!(output.status.success(), "the peer failed");
    let output = String::from_utf8(output.stdout).expect("JSON");
    output
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}
