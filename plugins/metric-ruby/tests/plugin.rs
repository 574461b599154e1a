//! Does the metric answer as the host expects, whatever it is given?

use metric_ruby::Ruby;
use metric_ruby::complexity::Complexity;
use metric_ruby::options::Options;
use metric_ruby::style::violations;
use rlhf_sdk::{Error, Metric, Outcome, Sample, host, testing};

struct Answers {
    check: Option<&'static str>,
    outcome: &'static str,
}

impl testing::Sandbox for Answers {
    fn check(&self, _language: &str, _source: &str) -> Result<(), Error> {
        self.check.map_or(Ok(()), |code| Err(Error::new(code, "")))
    }

    fn execute(&self, _language: &str, _source: &str, _stdin: &[u8]) -> Result<Outcome, Error> {
        Ok(Outcome {
            kind: self.outcome.to_owned(),
            ..Outcome::default()
        })
    }

    fn judge(
        &self,
        _language: &str,
        _prompt: &str,
        _candidate: &str,
        _tests: &[String],
    ) -> Result<host::Verdict, Error> {
        Ok(host::Verdict::default())
    }
}

fn value(
    check: Option<&'static str>,
    outcome: &'static str,
    tests: &[&str],
) -> Result<f64, String> {
    let metric = Ruby::new(Options::default()).expect("defaults");
    let mut sample = Sample::new("x = 1\n", [""; 0]);
    sample.tests = tests.iter().map(|test| (*test).to_owned()).collect();
    testing::with_sandbox(Answers { check, outcome }, || metric.score(&sample))
        .map(|score| score.value)
        .map_err(|error| error.code)
}

/// Would catch trouble of the sandbox that is taken for trouble of the code.
#[test]
fn a_sandbox_in_trouble_is_a_failure() {
    assert_eq!(value(None, "finished", &[]), Ok(1.0));
    for outcome in ["exception", "exit", "out-of-fuel", "out-of-memory", "trap"] {
        assert_eq!(value(None, outcome, &[]), Ok(0.8), "{outcome}");
    }
    let code = |result: Result<f64, String>| result.expect_err("failure");
    assert_eq!(code(value(None, "out-of-time", &[])), "out-of-time");
    assert_eq!(
        code(value(Some("out-of-fuel"), "finished", &[])),
        "out-of-fuel"
    );
    assert_eq!(
        code(value(Some("unsupported-language"), "finished", &[])),
        "unsupported-language"
    );
    assert_eq!(code(value(None, "finished", &["assert x"])), "cannot-judge");
    // Without a sandbox there is no score at all.
    let metric = Ruby::new(Options::default()).expect("defaults");
    let error = metric
        .score(&Sample::new("x = 1", [""; 0]))
        .expect_err("no sandbox");
    assert_eq!(error.code, "unavailable");
}

/// Would catch a panic, or time that grows with the square.
#[test]
fn odd_texts_are_counted() {
    let deep = |open: &str, close: &str| {
        let depth = 20_000;
        format!("x = {}1{}", open.repeat(depth), close.repeat(depth))
    };
    let texts = [
        "\0".to_owned(),
        "\r\r\n\n\r".to_owned(),
        "😀 = '😀'\r\nif 😀:\r\n\tpass\r\n".to_owned(),
        "x = 1 +".repeat(20_000),
        format!("x = {}", "a + ".repeat(100_000)),
        format!("x = ({})", "a,\n    ".repeat(50_000)),
        format!("x = '{}'", "y".repeat(1 << 20)),
        format!("f'{}'", "{".repeat(100_000)),
        format!("f'{}'", "{x:".repeat(100_000)),
        "x".repeat(1 << 20),
        "é".repeat(1 << 19),
        " ".repeat(1 << 20),
        "\t".repeat(1 << 20),
        "not ".repeat(1 << 18),
        "type(".repeat(1 << 17),
        "None == ".repeat(1 << 17),
        "lambda: ".repeat(1 << 12),
        "\n".repeat(1 << 18),
        "def f(): pass\n".repeat(1 << 14),
        "# c\n".repeat(1 << 16),
        deep("(", ")"),
        deep("[", ""),
        deep("", ")"),
        deep("-", ""),
        (0..2000)
            .map(|i| format!("{}if a:\n", " ".repeat(i)))
            .collect(),
        (0..2000)
            .map(|i| format!("{}class a:\n", " ".repeat(i)))
            .collect(),
        (0..2000)
            .map(|i| format!("{}match a:\n", " ".repeat(i)))
            .collect(),
        "print 'python 2', x\nexec 'y'\n".to_owned(),
    ];
    for text in &texts {
        let counts = violations(text);
        assert_eq!(counts, violations(text));
        let complexity = Complexity::of(text);
        assert!(complexity.module >= 1);
    }
}
