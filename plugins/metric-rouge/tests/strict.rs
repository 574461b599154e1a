//! Does strict mode keep what rouge-score throws away, and give nothing for nothing?

use std::path::Path;

use metric_rouge::Rouge;
use metric_rouge::options::Options;
use metric_rouge::tokens::Mode;
use rlhf_sdk::{Metric, Sample};
use serde_json::Value;

fn value(mode: Mode, response: &str, reference: &str) -> f64 {
    let options = Options {
        mode,
        ..Options::default()
    };
    let metric = Rouge::new(options).expect("options");
    let score = metric.score(&Sample::new(response, [reference]));
    score.expect("a score").value
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
            let found = value(mode, &text(row[1]), &text(row[2]));
            assert_eq!(format!("{found:.3}"), expected, "{row:?}");
        }
    }
}

/// Would catch a score out of range, one for an empty text, and an identical pair below 1.
#[test]
fn golden_pairs_stay_in_range() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/humaneval.jsonl");
    let lines = std::fs::read_to_string(golden).expect("golden file");
    for line in lines.lines() {
        let pair: Value = serde_json::from_str(line).expect("golden line");
        let text = |key: &str| pair[key].as_str().expect("a text");
        let (response, reference) = (text("prediction"), text("reference"));
        let strict = value(Mode::Strict, response, reference);
        assert!((0.0..=1.0).contains(&strict), "{strict}");
        assert_eq!(value(Mode::Strict, reference, reference), 1.0);
        assert_eq!(value(Mode::Strict, "", reference), 0.0);
        assert_eq!(value(Mode::Strict, " \r\n\t", ""), 0.0);
    }
}
