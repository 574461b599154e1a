//! Are violations pycodestyle's, complexities radon's, and the seed's rules the seed's?
//!
//! Cases: `golden/` (see its README). With `RLHF_GOLDENS` naming a folder that
//! holds `metrics/pairs.jsonl` and `scores.jsonl`, those as well.

use std::path::{Path, PathBuf};

use metric_ruby::Ruby;
use metric_ruby::complexity::Complexity;
use metric_ruby::seed;
use metric_ruby::style::violations;
use rlhf_sdk::{Error, host, testing};
use serde_json::{Map, Value, json};

fn read_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .lines()
        .map(|line| serde_json::from_str(line).expect("golden line"))
        .collect()
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(file)
}

/// Texts with what the seed's and the reference implementations say of them.
fn scored() -> Vec<(String, Value)> {
    let text = |pair: &Value| pair["prediction"].as_str().expect("text").to_owned();
    let mut cases: Vec<(String, Value)> = read_lines(&golden("humaneval.jsonl"))
        .iter()
        .map(|line| (text(line), line["python"].clone()))
        .collect();
    if let Some(folder) = std::env::var_os("RLHF_GOLDENS") {
        let folder = PathBuf::from(folder).join("metrics");
        let pairs = read_lines(&folder.join("pairs.jsonl"));
        let scores = read_lines(&folder.join("scores.jsonl"));
        let all = pairs.iter().zip(&scores);
        cases.extend(all.map(|(pair, scores)| (text(pair), scores["python"].clone())));
    }
    assert!(cases.len() >= 60);
    cases
}

fn check_violations(text: &str, expected: &Value) {
    let counts = violations(text);
    let found: Map<String, Value> = counts
        .found()
        .map(|(code, count)| (code.to_owned(), count.into()))
        .collect();
    assert_eq!(&Value::Object(found), expected, "{text:?}");
}

fn check_blocks(text: &str, expected: &Value) {
    let found: Vec<Value> = Complexity::of(text)
        .blocks
        .iter()
        .map(|block| json!([block.letter.to_string(), block.name, block.complexity]))
        .collect();
    assert_eq!(&Value::Array(found), expected, "{text:?}");
}

/// Would catch any check that counts otherwise: every code occurs in the cases.
#[test]
fn violations_are_pycodestyles() {
    for (text, expected) in scored() {
        check_violations(&text, &expected["pycodestyle"]);
    }
    for case in read_lines(&golden("odd.jsonl")) {
        check_violations(case["text"].as_str().expect("text"), &case["pycodestyle"]);
    }
}

/// Would catch a decision overlooked, or counted for another block.
#[test]
fn complexities_are_radons() {
    for (text, expected) in scored() {
        if expected["radon_cc"].is_array() {
            check_blocks(&text, &expected["radon_cc"]);
        }
    }
    for case in read_lines(&golden("odd.jsonl")) {
        if case["radon_cc"].is_array() {
            let text = case["text"].as_str().expect("text");
            check_blocks(text, &case["radon_cc"]);
            assert_eq!(Complexity::of(text).module, case["module"], "{text:?}");
        }
    }
}

/// Would catch the seed's rules told wrongly.
#[test]
fn seed_rules_are_the_seeds() {
    for (text, expected) in scored() {
        let style = seed::style(&text);
        let found = json!([style.long_lines, style.empty_lines, style.score]);
        let of_seed = &expected["orig_style"];
        let wanted = json!([
            of_seed["long_lines"],
            of_seed["empty_lines"],
            of_seed["style_score"]
        ]);
        assert_eq!(found, wanted, "{text:?}");
        if expected["syntax_ok"] == true {
            let statements = Complexity::of(&text).statements;
            let ast = &expected["ast"];
            let found = [
                ("functions", statements.functions),
                ("classes", statements.classes),
                ("loops", statements.loops),
                ("conditionals", statements.conditionals),
            ];
            for (name, count) in found {
                assert_eq!(ast[name], count, "{name}: {text:?}");
            }
            let score = seed::complexity(&statements);
            // serde_json reads floats with an error in the last bit.
            let wanted = expected["orig_complexity_score"].as_f64().expect("number");
            assert!(
                (wanted - score).abs() < 1e-15,
                "{text:?}: {score}, {wanted}"
            );
        }
    }
}

/// A sandbox to which every text compiles that doesn't say otherwise.
struct Marked;

impl testing::Sandbox for Marked {
    fn check(&self, _language: &str, source: &str) -> Result<(), Error> {
        if source.contains("def f(:") {
            return Err(Error::new("syntax-error", "invalid syntax"));
        }
        Ok(())
    }

    fn execute(
        &self,
        _language: &str,
        source: &str,
        _stdin: &[u8],
    ) -> Result<rlhf_sdk::Outcome, Error> {
        let kind = if source.contains("raise") {
            "exception"
        } else {
            "finished"
        };
        Ok(rlhf_sdk::Outcome {
            kind: kind.to_owned(),
            ..Default::default()
        })
    }

    /// A test passes if the candidate contains it.
    fn judge(
        &self,
        _language: &str,
        _prompt: &str,
        candidate: &str,
        tests: &[String],
    ) -> Result<host::Verdict, Error> {
        let (passed, failed): (Vec<&String>, Vec<&String>) =
            tests.iter().partition(|test| candidate.contains(*test));
        let passed = u32::try_from(passed.len()).expect("few tests");
        let failures = failed.into_iter().cloned().collect();
        Ok(host::Verdict::new(passed, failures))
    }
}

/// Would catch parts that are put together otherwise than the README says.
#[test]
fn scores_follow_from_parts() {
    testing::with_sandbox(Marked, || {
        testing::check_metric::<Ruby>("golden/cases.jsonl");
    });
}
