//! Is the right program judged, and the verdict told as it is? Cases: `golden/` (see its README).

use metric_unit_tests::{Options, UnitTests};
use rlhf_sdk::{Error, Metric, Sample, host, testing};

/// A test passes if the candidate contains it, or the prompt, where the test says so.
struct Containing;

impl testing::Sandbox for Containing {
    fn judge(
        &self,
        language: &str,
        prompt: &str,
        candidate: &str,
        tests: &[String],
    ) -> Result<host::Verdict, Error> {
        if language == "cobol" {
            return Err(Error::new("unsupported-language", "no runner for `cobol`"));
        }
        if candidate == "nothing" {
            return Ok(host::Verdict::default());
        }
        let passes = |test: &&String| match test.strip_prefix("prompt:") {
            Some(text) => prompt.contains(text),
            None => candidate.contains(test.as_str()),
        };
        let failures: Vec<String> = tests
            .iter()
            .filter(|test| !passes(test))
            .map(|test| format!("{test:?} is missing"))
            .collect();
        let passed = u32::try_from(tests.len() - failures.len()).expect("few tests");
        Ok(host::Verdict::new(passed, failures))
    }
}

/// Would catch half a program that is judged, or a verdict turned round.
#[test]
fn cases_score_as_worked_out() {
    testing::with_sandbox(Containing, || {
        testing::check_metric::<UnitTests>("golden/cases.jsonl");
    });
}

/// Would catch a score without a judge.
#[test]
fn no_sandbox_is_a_failure() {
    let metric = UnitTests::new(Options::default()).expect("defaults");
    let mut sample = Sample::new("x", [""; 0]);
    sample.tests.push("x".to_owned());
    let error = metric.score(&sample).expect_err("no sandbox");
    assert_eq!(error.code, "unavailable");
}

/// Would catch options that are taken for others.
#[test]
fn bad_options_are_refused() {
    let check = |options: &str, expected: &str| {
        let error = rlhf_sdk::options::parse(options)
            .and_then(UnitTests::new)
            .expect_err("refused");
        assert_eq!(error.message, expected);
    };
    check(
        r#"{"candidate": "body"}"#,
        "option `candidate`: unknown variant `body`, expected one of `auto`, `completion`, `program`",
    );
    check(
        r#"{"language": ""}"#,
        "option `language`: expected a language, found nothing",
    );
}
