//! Does the metric answer as the host expects, whatever it is given?

use metric_codebleu::CodeBleu;
use metric_codebleu::languages::LANGUAGES;
use metric_codebleu::options::Options;
use rlhf_sdk::{AdditiveMetric, Error, Level, Sample};

fn metric() -> CodeBleu {
    CodeBleu::new(Options::default()).expect("defaults")
}

fn value(metric: &CodeBleu, response: &str, reference: &str) -> Result<f64, Error> {
    let statistics = metric.measure(&Sample::new(response, [reference]))?;
    metric
        .score(&statistics, Level::Sample)
        .map(|score| score.value)
}

/// Would catch a language that is scored by another one's rules.
#[test]
fn other_languages_are_refused() {
    let mut sample = Sample::new("a", ["a"]);
    sample.language = "cobol".to_owned();
    let error = metric().measure(&sample).expect_err("refused");
    assert_eq!(error.code, "unsupported-language");
    assert_eq!(
        error.message,
        "language: expected `python`, `java`, `javascript`, `go`, `c`, `cpp`, `c_sharp`, `php`, \
         `ruby` or `rust`, found cobol"
    );
    let options = Options {
        language: Some("cobol".to_owned()),
        ..Options::default()
    };
    assert_eq!(
        CodeBleu::new(options).expect_err("refused").code,
        "unsupported-language"
    );
}

/// Would catch an option that a host's own default for samples overrules.
#[test]
fn the_option_decides_on_the_language() {
    let options = Options {
        language: Some("c".to_owned()),
        ..Options::default()
    };
    let metric = CodeBleu::new(options).expect("options");
    let score = |language: &str| {
        let mut sample = Sample::new("x = y; // a", ["x = y;"]);
        sample.language = language.to_owned();
        let statistics = metric.measure(&sample).expect("measured");
        let score = metric.score(&statistics, Level::Sample).expect("score");
        score.components[2].value
    };
    // In Python, the comment would be a division.
    for language in ["", "c", "python", "cobol"] {
        assert_eq!(score(language), 1.0, "{language}");
    }
}

/// Would catch a sample without references that is scored as 0.
#[test]
fn references_are_needed() {
    let error = metric()
        .measure(&Sample::new("a", [""; 0]))
        .expect_err("refused");
    assert_eq!(error.code, "no-references");
}

/// Would catch a panic, a number out of range, or time that grows with the square.
#[test]
fn odd_texts_have_scores() {
    let deep = |open: &str, close: &str| {
        let depth = 5_000;
        format!("x = {}1{}", open.repeat(depth), close.repeat(depth))
    };
    let texts = [
        String::new(),
        " \t\r\n".to_owned(),
        "\0".to_owned(),
        "x = '\0'\0".to_owned(),
        "😀 = '😀'\r\nif 😀:\r\n\tpass\r\n".to_owned(),
        "é = 1; ü = é + 1".to_owned(),
        "\u{feff}x = 1".to_owned(),
        "x = 1 +".repeat(20_000),
        format!("x = {}", "a + ".repeat(100_000)),
        format!("x = '{}'", "y".repeat(1 << 20)),
        "x".repeat(1 << 20),
        deep("(", ")"),
        deep("[", "]"),
        deep("[", ""),
        deep("-", ""),
        deep("f(a, ", ")"),
        deep("a.", ""),
        (0..300)
            .map(|i| format!("{}if a:\n", " ".repeat(i)))
            .collect(),
        (0..60)
            .map(|i| format!("{}while a:\n", " ".repeat(i)))
            .collect(),
        "def f(:\n  return )\n'''".to_owned(),
        "print 'python 2', x\nexec 'y'\n".to_owned(),
    ];
    let metric = metric();
    for (i, text) in texts.iter().enumerate() {
        for (response, reference) in [(text.as_str(), "x = 1"), ("x = 1", text), (text, text)] {
            match value(&metric, response, reference) {
                Ok(value) => assert!((0.0..=1.0).contains(&value), "{i}: {value}"),
                Err(error) => assert_eq!(error.code, "too-complex", "{i}"),
            }
        }
    }
}

/// The same in the languages beside Python: what their scanners and rules meet first.
/// tree-sitter takes a time with the square of a broken text, so these are short.
#[test]
fn odd_texts_have_scores_in_all_languages() {
    let texts = [
        String::new(),
        " \t\r\n".to_owned(),
        "\0".to_owned(),
        "x = '\0'\0; // \0".to_owned(),
        "<?php $é = '😀';\r\nx = \"é\" + é; // 😀\r\n".to_owned(),
        "\u{feff}x = 1;".to_owned(),
        "x = 1 +".repeat(2_000),
        "/* ' \" ` ".repeat(500),
        "<<~A <<-B <<C\n".repeat(500),
        "r#\"".repeat(2_000),
        "R\"d(".repeat(2_000),
        "$\"{a:".repeat(500),
        "`${".repeat(2_000),
        "a ".repeat(1 << 14),
        format!("s = '{}'", "y".repeat(1 << 16)),
        format!("x = {}1", "(".repeat(5_000)),
        format!("x = {}1{}", "[".repeat(5_000), "]".repeat(5_000)),
        "if (a) { for (;;) { while (b) {\n".repeat(100),
        "if a\nwhile b\nuntil c\n".repeat(100),
        "int f( { return ) } = ;; <?php } ?> end end".to_owned(),
    ];
    for language in LANGUAGES {
        let metric = CodeBleu::new(Options {
            language: Some(language.name.to_owned()),
            ..Options::default()
        });
        let metric = metric.expect("a language");
        for (i, text) in texts.iter().enumerate() {
            for (response, reference) in [(text.as_str(), "x = 1;"), (text, text)] {
                match value(&metric, response, reference) {
                    Ok(value) => assert!(
                        (0.0..=1.0).contains(&value),
                        "{} {i}: {value}",
                        language.name
                    ),
                    Err(error) => assert_eq!(error.code, "too-complex", "{} {i}", language.name),
                }
            }
        }
    }
}

/// Would catch a score that depends on what was scored before.
#[test]
fn order_does_not_matter() {
    let texts = [
        "a = b",
        "a, b = b, a",
        "",
        "if a:\n  b = 1\nelse:\n  b = 2\nc = b",
        "f(",
        "a.b = 'c'",
    ];
    let used = metric();
    for response in texts {
        for reference in texts {
            let fresh = value(&metric(), response, reference).expect("score");
            assert_eq!(value(&used, response, reference).expect("score"), fresh);
        }
    }
}

/// Would catch several references that are scored other than in codebleu 0.7.0,
/// `calc_codebleu([["x = a + 1", "y = [a, 1]\n'''z'''"]], ["'''a'''\nx = a"], "python")`.
#[test]
fn several_references_score_as_in_codebleu() {
    let metric = metric();
    let references = ["x = a + 1", "y = [a, 1]\n'''z'''"];
    let statistics = metric
        .measure(&Sample::new("'''a'''\nx = a", references))
        .expect("measured");
    let score = metric.score(&statistics, Level::Corpus).expect("score");
    let found: Vec<f64> = score.components.iter().map(|part| part.value).collect();
    for (found, expected) in found.iter().zip(SEVERAL) {
        assert!((found - expected).abs() < 1e-14, "{found}, {expected}");
    }
}

const SEVERAL: [f64; 4] = [
    0.309_678_733_158_772_9,
    0.142_872_021_484_939_97,
    0.0,
    0.333_333_333_333_333_3,
];
