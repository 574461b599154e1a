//! Does codebleu itself give the same numbers, on texts nobody has chosen?
//!
//! Wants `RLHF_PEER_PYTHON` to name a Python that has codebleu 0.7.0 with all grammars; see
//! `golden/README.md`. Pairs are mutations of the golden texts, the same ones each time
//! unless `RLHF_PEER_SEED` is another number than 1.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use metric_codebleu::analysis::Analyser;
use metric_codebleu::codebleu::Weights;
use metric_codebleu::languages::{LANGUAGES, Language};
use metric_codebleu::mode::Mode;
use serde_json::{Value, json};

/// Of each language.
const PAIRS: usize = 400;

/// See `golden.rs`.
const TOLERANCE: f64 = 1e-14;

/// What is put into texts, by language and for all (``): whatever might be tokenised, parsed or
/// followed otherwise.
const FRAGMENTS: &str = include_str!("fragments.json");

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

    fn pick<'a>(&mut self, items: &'a Value) -> &'a str {
        let items = items.as_array().expect("a list");
        items[self.below(items.len())].as_str().expect("a text")
    }

    fn mutated(&mut self, text: &str, language: &str, fragments: &Value) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..self.below(6) {
            let at = self.below(chars.len() + 1);
            let to = (at + 1 + self.below(12)).min(chars.len()).max(at);
            match self.below(4) {
                0 => drop(chars.drain(at..to)),
                1 | 2 => {
                    let which = if self.below(3) == 0 { "" } else { language };
                    chars.splice(at..at, self.pick(&fragments[which]).chars());
                }
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

/// The reference texts of a language's golden cases.
fn texts(language: &str) -> Vec<String> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut texts = Vec::new();
    for file in ["humaneval.jsonl", "odd.jsonl", "languages.jsonl"] {
        let lines = std::fs::read_to_string(golden.join(file)).expect("golden file");
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("golden line");
            if line["lang"].as_str().unwrap_or("python") == language {
                texts.extend(line["reference"].as_str().map(str::to_owned));
            }
        }
    }
    texts
}

/// References and a prediction, all of them mutations of the same text.
fn pairs(language: &str, random: &mut Random) -> Vec<(Vec<String>, String)> {
    let texts = texts(language);
    assert!(!texts.is_empty(), "{language}: no golden texts");
    let fragments: Value = serde_json::from_str(FRAGMENTS).expect("JSON");
    let mutated = |text: &str, random: &mut Random| random.mutated(text, language, &fragments);
    let mut pairs = Vec::new();
    for i in 0..PAIRS {
        let text = &texts[random.below(texts.len())];
        let prediction = mutated(text, random);
        let mut references = vec![mutated(text, random)];
        // Every fourth pair has a second and a third reference.
        if i % 4 == 0 {
            references.push(mutated(text, random));
            let other = random.below(texts.len());
            references.push(mutated(&texts[other], random));
        }
        pairs.push((references, prediction));
    }
    pairs
}

/// Would catch a difference that the golden cases happen not to show.
#[test]
#[ignore = "wants RLHF_PEER_PYTHON, and takes a minute"]
fn mutations_score_as_in_codebleu() {
    let python = std::env::var_os("RLHF_PEER_PYTHON").map(PathBuf::from);
    let python = python.expect("RLHF_PEER_PYTHON");
    let seed = std::env::var("RLHF_PEER_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut random = Random(seed);
    let pairs: Vec<(&Language, Vec<String>, String)> = (LANGUAGES.iter())
        .flat_map(|&language| {
            let pairs = pairs(language.name, &mut random);
            let pairs = pairs.into_iter();
            pairs.map(move |(references, prediction)| (language, references, prediction))
        })
        .collect();

    let mut peer = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer.py"))
        .env("PYTHONHASHSEED", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("RLHF_PEER_PYTHON");
    let mut input = peer.stdin.take().expect("piped");
    let lines: String = (pairs.iter())
        .map(|(language, references, prediction)| {
            let language = language.name;
            json!({"language": language, "references": references, "prediction": prediction})
                .to_string()
                + "\n"
        })
        .collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = peer.wait_with_output().expect("peer");
    writer.join().expect("writer").expect("all pairs read");
    assert!(output.status.success(), "the peer failed");

    let output = String::from_utf8(output.stdout).expect("JSON");
    assert_eq!(output.lines().count(), pairs.len());
    let mut analyser = Analyser::new(LANGUAGES[0], Mode::Compat).expect("grammar");
    let mut analysed = LANGUAGES[0].name;
    let (mut different, mut with_flow) = (Vec::new(), 0);
    for ((language, references, prediction), line) in pairs.iter().zip(output.lines()) {
        if analysed != language.name {
            analyser = Analyser::new(language, Mode::Compat).expect("grammar");
            analysed = language.name;
        }
        let expected: Value = serde_json::from_str(line).expect("JSON");
        let counts = analyser.compare(prediction, references).expect("counts");
        let parts = counts.parts().expect("samples");
        with_flow += usize::from(parts.dataflow > Some(0.0));
        for (name, found) in [
            ("ngram_match_score", parts.ngram),
            ("weighted_ngram_match_score", parts.weighted_ngram),
            ("syntax_match_score", parts.syntax),
            ("dataflow_match_score", parts.dataflow.unwrap_or(0.0)),
            ("codebleu", Weights::default().total(&parts)),
        ] {
            let expected = expected[name].as_f64().expect("number");
            if (found - expected).abs() > TOLERANCE {
                let language = language.name;
                different.push(format!(
                    "{language} {name}: {found}, {expected}\n{references:?}\n{prediction:?}"
                ));
            }
        }
    }
    let count = different.len();
    different.truncate(5);
    assert!(count == 0, "{count} differ\n{}", different.join("\n"));
    // Comparisons of nothing with nothing would all agree.
    assert!(with_flow * 3 > pairs.len(), "{with_flow}");
}
