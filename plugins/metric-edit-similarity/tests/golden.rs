//! Does the metric give the numbers of Levenshtein and fuzzywuzzy? Cases:
//! `golden/` (see its README).

use metric_edit_similarity::EditSimilarity;

/// Would catch bytes counted for code points, another rounding, an edit that is not the cheapest.
#[test]
fn cases_score_as_in_python() {
    rlhf_sdk::testing::check_metric::<EditSimilarity>("golden/cases.jsonl");
}

/// Would catch an option that is ignored in silence.
#[test]
fn unknown_variant_is_refused() {
    let options = rlhf_sdk::options::parse(r#"{"variant": "fuzz"}"#).expect("options");
    let error = <EditSimilarity as rlhf_sdk::Metric>::new(options).expect_err("refused");
    assert_eq!(
        error.message,
        "option `variant`: expected `levenshtein` or `codexglue`, found `fuzz`"
    );
}
