//! What the plugin boundary costs: `cargo bench -p rlhf --bench plugins`.
//!
//! Alternated rounds in one process: the same metric code as a component and
//! natively, on the same samples; a metric that does nothing, for the host's
//! overhead; one worker and two. Medians over the rounds, with their spread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rlhf::plugin::{Metric, Runtime, Sample, Spec};
use rlhf_sdk::__private::{Additive, MetricImplementation};
use rlhf_sdk::Level;
use rlhf_test_support::{component, guest};

const ROUNDS: usize = 7;
const BATCH: usize = 64;
/// How long one measurement of a round takes.
const TIME: Duration = Duration::from_millis(400);

/// The embedded tasks' references, each against another one's; `functions` of
/// them a sample. One has two lines, ten are as long as a HumanEval solution.
fn samples(count: usize, functions: usize) -> Vec<Sample> {
    let tasks = rlhf::data::builtin::train();
    let code = |from: usize| -> String {
        let references = (from..from + functions).map(|at| &*tasks[at % tasks.len()].reference);
        references.collect::<Vec<&str>>().join("\n")
    };
    (0..count)
        .map(|at| Sample {
            id: at.to_string(),
            prompt: tasks[at % tasks.len()].prompt.clone(),
            response: code(at + 1),
            references: vec![code(at)],
            language: "python".into(),
            tests: Vec::new(),
        })
        .collect()
}

fn sdk_sample(sample: &Sample) -> rlhf_sdk::Sample {
    rlhf_sdk::Sample {
        id: sample.id.clone(),
        prompt: sample.prompt.clone(),
        response: sample.response.clone(),
        references: sample.references.clone(),
        language: sample.language.clone(),
        tests: sample.tests.clone(),
        extra: Vec::new(),
    }
}

/// Seconds a sample, over at least `TIME`.
fn seconds_each(items: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < TIME {
        work();
        rounds += 1;
    }
    start.elapsed().as_secs_f64() / (rounds * items) as f64
}

fn score(metric: &Metric, samples: &[Sample]) {
    let statistics: Vec<Vec<f64>> = metric
        .measure(samples)
        .into_iter()
        .map(|measured| measured.expect("ordinary samples are measured"))
        .collect();
    for score in metric.score_samples(&statistics) {
        std::hint::black_box(score.expect("statistics are scored"));
    }
}

fn score_natively<I: MetricImplementation>(metric: &I, samples: &[rlhf_sdk::Sample]) {
    for sample in samples {
        // A component gets a copy of every sample, so the native side makes one, too.
        let sample = std::hint::black_box(sample.clone());
        let statistics = metric.measure(&sample).expect("ordinary samples");
        let score = metric.score(&statistics, Level::Sample);
        std::hint::black_box(score.expect("statistics are scored"));
    }
}

fn load(path: &std::path::Path, workers: usize) -> Metric {
    let cache = rlhf::plugin::engine::cache_folder();
    let runtime: Arc<Runtime> = Runtime::new(cache, workers).expect("the engine starts");
    Metric::load(&runtime, &Spec::of(&path.display().to_string())).expect("it loads")
}

fn line(name: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    println!(
        "{name:46} {:10.3} {unit:8} ({:.3} to {:.3})",
        values[values.len() / 2],
        values[0],
        values[values.len() - 1]
    );
}

fn against_native<I: MetricImplementation>(name: &str, package: &str, count: usize) {
    let metric = load(&component(package), 1);
    let native = I::configure("").expect("default options");
    let samples = samples(count, 1);
    let natives: Vec<rlhf_sdk::Sample> = samples.iter().map(sdk_sample).collect();
    score(&metric, &samples);
    score_natively(&native, &natives);
    let (mut wasm, mut plain, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let inside = seconds_each(count, || score(&metric, &samples)) * 1e6;
        let outside = seconds_each(count, || score_natively(&native, &natives)) * 1e6;
        wasm.push(inside);
        plain.push(outside);
        ratio.push(inside / outside);
    }
    line(&format!("{name}, component"), "µs", wasm);
    line(&format!("{name}, native"), "µs", plain);
    line(&format!("{name}, component / native"), "x", ratio);
}

fn overhead() {
    let metric = load(&guest("host/benches/constant"), 1);
    let samples = samples(BATCH, 1);
    score(&metric, &samples);
    let rounds = (0..ROUNDS).map(|_| seconds_each(BATCH, || score(&metric, &samples)) * 1e6);
    line("overhead a sample, batch of 64", "µs", rounds.collect());
}

fn scaling(package: &str, name: &str) {
    let path = component(package);
    let (one, two) = (load(&path, 1), load(&path, 2));
    let samples = samples(1024, 10);
    score(&one, &samples);
    score(&two, &samples);
    let ratios = (0..ROUNDS).map(|_| {
        let alone = seconds_each(samples.len(), || score(&one, &samples));
        alone / seconds_each(samples.len(), || score(&two, &samples))
    });
    line(
        &format!("{name}, 2 workers against 1"),
        "x",
        ratios.collect(),
    );
}

fn main() {
    overhead();
    against_native::<Additive<metric_bleu::Bleu>>("bleu", "metric-bleu", 256);
    against_native::<Additive<metric_codebleu::CodeBleu>>("codebleu", "metric-codebleu", 64);
    scaling("metric-bleu", "bleu");
    scaling("metric-codebleu", "codebleu");
}
