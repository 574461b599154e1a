//! Does strict mode give nothing for nothing, and is it compat mode otherwise?

use std::path::Path;

use metric_codebleu::CodeBleu;
use metric_codebleu::languages::LANGUAGES;
use metric_codebleu::mode::Mode;
use metric_codebleu::options::Options;
use rlhf_sdk::{AdditiveMetric, Error, Level, Sample, Score};
use serde_json::Value;

fn metric(mode: Mode, language: &str) -> CodeBleu {
    let options = Options {
        language: Some(language.to_owned()),
        mode,
        ..Options::default()
    };
    CodeBleu::new(options).expect("options")
}

fn score(metric: &CodeBleu, response: &str, reference: &str) -> Result<Score, Error> {
    let statistics = metric.measure(&Sample::new(response, [reference]))?;
    metric.score(&statistics, Level::Sample)
}

fn part(score: &Score, name: &str) -> f64 {
    let mut parts = score.components.iter();
    parts.find(|part| part.name == name).expect("a part").value
}

/// Would catch an operator, or any other token without a name, that makes no difference.
#[test]
fn operators_count() {
    let check = |language: &str, response: &str, reference: &str| {
        let syntax = |mode: Mode, response: &str| {
            let score = score(&metric(mode, language), response, reference);
            part(&score.expect("a score"), "syntax_match")
        };
        let what = format!("{language} {response}");
        assert_eq!(syntax(Mode::Compat, response), 1.0, "{what}");
        assert!(syntax(Mode::Strict, response) < 1.0, "{what}");
        assert_eq!(syntax(Mode::Strict, reference), 1.0, "{what}");
    };
    check("python", "x = a - b", "x = a + b");
    check("python", "x = a or b", "x = a and b");
    check("python", "x -= a", "x += a");
    check("python", "if a != b: pass", "if a == b: pass");
    check("java", "x = a - b;", "x = a + b;");
    check("javascript", "x = a === b;", "x = a == b;");
    check("go", "func f() { x = a &^ b }", "func f() { x = a & b }");
    check("c", "int f() { i--; }", "int f() { i++; }");
    check("cpp", "int f() { x = !a; }", "int f() { x = ~a; }");
    check(
        "c_sharp",
        "class A { int f() { x = a - b; } }",
        "class A { int f() { x = a + b; } }",
    );
    check("php", "<?php $x = $a - $b;", "<?php $x = $a + $b;");
    check("ruby", "x = a - b", "x = a + b");
    check("rust", "fn f() { x = a - b; }", "fn f() { x = a + b; }");
}

/// Would catch points for an empty response, or for one that is nothing but a comment.
#[test]
fn no_code_scores_nothing() {
    for language in LANGUAGES {
        let (compat, strict) = (
            metric(Mode::Compat, language.name),
            metric(Mode::Strict, language.name),
        );
        for reference in ["x = y", ""] {
            for response in ["", " \n\t\n"] {
                let value = |metric| score(metric, response, reference).expect("a score").value;
                assert!(value(&compat) >= 0.25, "{} {reference:?}", language.name);
                assert_eq!(value(&strict), 0.0, "{} {reference:?}", language.name);
            }
        }
    }
    let check = |language: &str, comment: &str| {
        let score = score(&metric(Mode::Strict, language), comment, comment).expect("a score");
        assert_eq!(part(&score, "syntax_match"), 0.0, "{language}");
    };
    check("python", "# nothing");
    check("c", "/* nothing */ // at all");
}

/// Would catch a difference between the modes that isn't one of those three.
#[test]
fn strict_is_at_most_compat() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut compared = 0;
    for file in ["humaneval.jsonl", "languages.jsonl"] {
        let lines = std::fs::read_to_string(golden.join(file)).expect("golden file");
        for line in lines.lines() {
            let pair: Value = serde_json::from_str(line).expect("golden line");
            let text = |key: &str| pair[key].as_str().expect("a text");
            let language = pair["lang"].as_str().unwrap_or("python");
            let scored = |mode| {
                score(
                    &metric(mode, language),
                    text("prediction"),
                    text("reference"),
                )
            };
            let compat = scored(Mode::Compat).expect("a score");
            let strict = scored(Mode::Strict).expect("a score");
            let id = text("id");
            for name in ["ngram_match", "weighted_ngram_match"] {
                assert_eq!(part(&strict, name), part(&compat, name), "{id} {name}");
            }
            for name in ["syntax_match", "dataflow_match"] {
                assert!(part(&strict, name) <= part(&compat, name), "{id} {name}");
            }
            // Not so of the value where there is no flow: an identical pair is allowed its 1.
            if part(&strict, "dataflow_match") > 0.0 {
                assert!(strict.value <= compat.value, "{id}");
                compared += 1;
            }
            if text("prediction") == text("reference") {
                assert_eq!(part(&strict, "syntax_match"), 1.0, "{id}");
            }
        }
    }
    assert!(compared > 100, "{compared}");
}

/// Would catch examples in the README that aren't true.
#[test]
fn examples_are_true() {
    let readme = include_str!("../README.md");
    let rows: Vec<Vec<&str>> = (readme.lines())
        .filter(|line| line.starts_with("| ") && line.matches('|').count() == 6)
        .skip(2)
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let text = |cell: &str| cell.trim_matches('`').replace("(empty)", "");
        for (mode, expected) in [(Mode::Compat, row[3]), (Mode::Strict, row[4])] {
            let found = score(&metric(mode, "python"), &text(row[1]), &text(row[2]));
            let found = format!("{:.3}", found.expect("a score").value);
            assert_eq!(found, expected, "{row:?}");
        }
    }
}

/// Would catch a score where there is nothing that could be scored.
#[test]
fn weights_on_a_flow_that_is_not_there_are_an_error() {
    let options = Options {
        weights: Some(vec![0.0, 0.0, 0.0, 1.0]),
        mode: Mode::Strict,
        ..Options::default()
    };
    let metric = CodeBleu::new(options).expect("options");
    let error = score(&metric, "pass", "pass").expect_err("refused");
    assert_eq!(error.code, "no-dataflow");
    let flowing = "a = 1\nb = a";
    assert_eq!(
        score(&metric, flowing, flowing).expect("a score").value,
        1.0
    );
    assert_eq!(score(&metric, "pass", flowing).expect("a score").value, 0.0);
}
