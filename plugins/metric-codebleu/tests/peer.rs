//! Does codebleu itself give the same numbers, on texts nobody has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a Python that has codebleu 0.7.0; see
//! `golden/README.md`. Pairs are mutations of the golden texts, the same ones
//! each time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use metric_codebleu::analysis::Analyser;
use metric_codebleu::codebleu::Weights;
use metric_codebleu::languages::LANGUAGES;
use serde_json::{Value, json};

const PAIRS: usize = 600;

/// See `golden.rs`.
const TOLERANCE: f64 = 1e-14;

/// What is put into texts: whatever might be tokenised, parsed or followed otherwise.
const FRAGMENTS: [&str; 56] = [
    "'",
    "\"",
    "'''",
    "\"\"\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\\",
    "\t",
    " ",
    "\n",
    "\r",
    "\r\n",
    "#",
    ":",
    "é",
    "数",
    "😀",
    "\x0c",
    "\u{3000}",
    "\x1c",
    "\0",
    "$",
    "?",
    "!",
    "`",
    "=",
    "==",
    ",",
    ".",
    "if ",
    "else:",
    "for x in y:",
    "lambda x=1: x",
    "f\"{a!r:>{w}}\"",
    "rb\"x\"",
    "*",
    "**",
    "@",
    "->",
    ":=",
    "0x",
    "1_0",
    "1e",
    "...",
    ";",
    "\\\n",
    "async ",
    "await ",
    "# c\n",
    "print x",
    "pass\n",
    "    ",
];

/// A linear congruential generator (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }

    fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    fn mutated(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..self.below(6) {
            let at = self.below(chars.len() + 1);
            let to = (at + 1 + self.below(12)).min(chars.len()).max(at);
            match self.below(4) {
                0 => drop(chars.drain(at..to)),
                1 | 2 => drop(chars.splice(at..at, self.pick(&FRAGMENTS).chars())),
                _ => {
                    let line = |at: usize| {
                        chars[..at]
                            .iter()
                            .rposition(|&c| c == '\n')
                            .map_or(0, |i| i + 1)
                    };
                    let start = line(at);
                    let moved = if self.below(2) == 0 { "  " } else { "\t" };
                    chars.splice(start..start, moved.chars());
                }
            }
        }
        chars.into_iter().collect()
    }
}

fn texts() -> Vec<String> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut texts = Vec::new();
    for file in ["humaneval.jsonl", "odd.jsonl"] {
        let lines = std::fs::read_to_string(golden.join(file)).expect("golden file");
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("golden line");
            texts.extend(line["reference"].as_str().map(str::to_owned));
        }
    }
    texts
}

/// Would catch a difference that the golden cases happen not to show.
#[test]
fn mutations_score_as_in_codebleu() {
    let Some(python) = std::env::var_os("RLHF_PEER_PYTHON").map(PathBuf::from) else {
        return;
    };
    let texts = texts();
    let mut random = Random(1);
    let mut pairs = Vec::new();
    for i in 0..PAIRS {
        let text = &texts[random.below(texts.len())];
        let prediction = random.mutated(text);
        let mut references = vec![random.mutated(text)];
        // Every fourth pair has a second and a third reference.
        if i % 4 == 0 {
            references.push(random.mutated(text));
            let other = random.below(texts.len());
            references.push(random.mutated(&texts[other]));
        }
        pairs.push((references, prediction));
    }

    let mut peer = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer.py"))
        .env("PYTHONHASHSEED", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("RLHF_PEER_PYTHON");
    let mut input = peer.stdin.take().expect("piped");
    let lines: String = (pairs.iter())
        .map(|(references, prediction)| {
            json!({"references": references, "prediction": prediction}).to_string() + "\n"
        })
        .collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = peer.wait_with_output().expect("peer");
    writer.join().expect("writer").expect("all pairs read");
    assert!(output.status.success(), "the peer failed");

    let output = String::from_utf8(output.stdout).expect("JSON");
    assert_eq!(output.lines().count(), PAIRS);
    let mut analyser = Analyser::new(LANGUAGES[0]).expect("grammar");
    for ((references, prediction), line) in pairs.iter().zip(output.lines()) {
        let expected: Value = serde_json::from_str(line).expect("JSON");
        let counts = analyser.compare(prediction, references).expect("counts");
        let parts = counts.parts().expect("samples");
        for (name, found) in [
            ("ngram_match_score", parts.ngram),
            ("weighted_ngram_match_score", parts.weighted_ngram),
            ("syntax_match_score", parts.syntax),
            ("dataflow_match_score", parts.dataflow),
            ("codebleu", Weights::default().total(&parts)),
        ] {
            let expected = expected[name].as_f64().expect("number");
            let difference = (found - expected).abs();
            assert!(
                difference <= TOLERANCE,
                "{name}: {found}, {expected}\n{references:?}\n{prediction:?}"
            );
        }
    }
}
