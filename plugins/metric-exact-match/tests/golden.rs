//! Does the metric say what Python's comparison says? Cases: `golden/` (see its README).

use metric_exact_match::ExactMatch;

/// Would catch whitespace that is not Python's, and a reference that is not looked at.
#[test]
fn cases_match_as_in_python() {
    rlhf_sdk::testing::check_metric::<ExactMatch>("golden/cases.jsonl");
}

/// Would catch an option that is ignored in silence.
#[test]
fn unknown_comparison_is_refused() {
    let options = rlhf_sdk::options::parse(r#"{"compare": "strip"}"#).expect("options");
    let error = <ExactMatch as rlhf_sdk::Metric>::new(options).expect_err("refused");
    assert_eq!(
        error.message,
        "option `compare`: expected `stripped`, `tokens` or `text`, found `strip`"
    );
}
