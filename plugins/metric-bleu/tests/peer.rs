//! Do nltk and sacrebleu themselves give the same numbers, on texts nobody has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a Python that has nltk 3.10.4 and
//! sacrebleu 2.6.0; see `golden/README.md`. Texts are random, the same ones
//! each time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use metric_bleu::Bleu;
use metric_bleu::options::Options;
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
        let words = 1 << self.below(6);
        let words: Vec<&str> = (0..self.below(words) + self.below(2))
            .map(|_| WORDS[self.below(WORDS.len())])
            .collect();
        words.join(if self.below(8) == 0 { "" } else { " " })
    }
}

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
    let Some(python) = std::env::var_os("RLHF_PEER_PYTHON").map(PathBuf::from) else {
        return;
    };
    let mut random = Random(1);
    let samples: Vec<Sample> = (0..PAIRS)
        .map(|_| {
            let references: Vec<String> = (0..REFERENCES).map(|_| random.text()).collect();
            // Part of a reference, so that longer n-grams match.
            let from = random.below(references[0].len() + 1);
            let from = references[0].ceil_char_boundary(from);
            Sample::new(
                references[0][from..].to_owned() + &random.text(),
                references,
            )
        })
        .collect();

    let mut peer = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("RLHF_PEER_PYTHON");
    let mut input = peer.stdin.take().expect("piped");
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
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = peer.wait_with_output().expect("peer");
    writer.join().expect("writer").expect("all pairs read");
    assert!(output.status.success(), "the peer failed");

    let output = String::from_utf8(output.stdout).expect("JSON");
    let mut expected: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
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
