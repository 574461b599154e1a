//! What the plugin boundary costs: `cargo bench -p rlhf --bench plugins`, or for some metrics only
//! `… -- bleu chrf`.
//!
//! Alternated rounds in one process, over the golden pairs of the metrics: the same metric code as
//! a component and natively, and the Python package it is equal to where `RLHF_PEER_PYTHON` names
//! a Python that has it (`plugins_peer.py` says which). One worker, and medians over the rounds,
//! with their spread. No text is met twice: what a metric remembers of earlier ones is no help.
//! Then ROUGE on ever longer texts, a metric that does nothing, for the host's overhead, and two
//! workers against one; and, where `RLHF_MINILM` names a folder with the model all-MiniLM-L6-v2, BERTScore
//! against `bertscore_peer.py`, both on all cores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rlhf::config::Device;
use rlhf::pipeline::TokenEncoder;
use rlhf::plugin::grants::Grant;
use rlhf::plugin::{Component, Metric, Runtime, Sample, Services, Spec};
use rlhf_sdk::__private::{Additive, Mean, MetricImplementation};
use rlhf_sdk::Level;
use rlhf_test_support::bench::{self, Process, spread};
use rlhf_test_support::{component, guest};
use serde_json::Value;
use xtask::workspace::root;

/// What can be asked for by name.
const METRICS: [&str; 7] = [
    "bleu",
    "sacrebleu",
    "chrf",
    "rouge",
    "codebleu",
    "edit-similarity",
    "ruby-paper",
];

/// Many short ones: what else the machine does then falls on both sides alike.
const ROUNDS: usize = 28;
/// Of those, the ones in which the Python package is measured, which takes its time: one of four.
const ROUNDS_PER_PEERS: usize = 4;
const BATCH: usize = 64;
/// How long one measurement of a round takes.
const TIME: Duration = Duration::from_millis(100);

/// The golden pairs: all where `RLHF_GOLDENS` names their folder, 60 of HumanEval otherwise.
fn pairs_file() -> PathBuf {
    let all = std::env::var_os("RLHF_GOLDENS")
        .map(|folder| PathBuf::from(folder).join("metrics/pairs.jsonl"));
    let own = || root().join("plugins/metric-codebleu/golden/humaneval.jsonl");
    all.filter(|file| file.is_file()).unwrap_or_else(own)
}

/// The pairs' texts, response first.
fn pairs() -> Vec<[String; 2]> {
    let file = pairs_file();
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let rows = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"));
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    rows.map(|row: Value| [text(&row, "prediction"), text(&row, "reference")])
        .collect()
}

/// The pairs as samples whose texts end in a line of this round's; see `plugins_peer.py`.
fn samples(pairs: &[[String; 2]], round: usize) -> Vec<Sample> {
    let sample = |(at, [response, reference]): (usize, &[String; 2])| Sample {
        id: at.to_string(),
        response: format!("{response}\n_ = {round}\n"),
        references: vec![format!("{reference}\n_ = {round}\n")],
        language: "python".into(),
        ..Sample::default()
    };
    pairs.iter().enumerate().map(sample).collect()
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

/// Seconds a sample, over at least `TIME`; `work` is given the number of its pass.
fn seconds_each(items: usize, passes: &mut usize, mut work: impl FnMut(usize) -> Duration) -> f64 {
    let mut spent = Duration::ZERO;
    let before = *passes;
    while spent < TIME {
        spent += work(*passes);
        *passes += 1;
    }
    spent.as_secs_f64() / ((*passes - before) * items) as f64
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
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

fn load(path: &Path, options: &str, workers: usize) -> Metric {
    let mut spec = Spec::of(&path.display().to_string());
    options.clone_into(&mut spec.config);
    load_with(&spec, &Services::default(), workers)
}

fn load_with(spec: &Spec, services: &Services, workers: usize) -> Metric {
    let cache = rlhf::plugin::engine::cache_folder();
    let runtime: Arc<Runtime> = Runtime::new(cache, workers).expect("the engine starts");
    let component = Component::find(&runtime, spec).expect("it is built");
    Metric::of(component, spec, services).expect("it loads")
}

fn line(name: &str, unit: &str, values: Vec<f64>) {
    let (median, least, most) = spread(values);
    println!("{name:46} {median:10.3} {unit:8} ({least:.3} to {most:.3})");
}

/// How long one pass takes the Python package, if it is there.
fn pass(peer: &mut Process, name: &str, round: usize) -> Option<Duration> {
    let reply = peer.ask(&format!("{name} {round}"));
    reply.trim().parse().ok().map(Duration::from_secs_f64)
}

/// A metric as component, natively, and in Python. `name` is the peer's.
fn metric<I: MetricImplementation>(
    peer: &mut Option<Process>,
    name: &str,
    package: &str,
    options: &str,
) {
    let metric = load(&component(package), options, 1);
    let native = I::configure(options).expect("options that the component takes");
    let pairs = pairs();
    // Compiled code is read from disk, and memory is touched.
    score(&metric, &samples(&pairs, 0));
    let peer = peer.as_mut();
    let mut peer = peer.and_then(|peer| pass(peer, name, 0).is_some().then_some(peer));
    let (mut wasm, mut plain, mut python) = (Vec::new(), Vec::new(), Vec::new());
    let (mut against_native, mut against_python) = (Vec::new(), Vec::new());
    let mut passes = 1;
    for round in 0..ROUNDS {
        let inside = seconds_each(pairs.len(), &mut passes, |pass| {
            let samples = samples(&pairs, pass);
            timed(|| score(&metric, &samples))
        });
        let outside = seconds_each(pairs.len(), &mut passes, |pass| {
            let samples: Vec<_> = samples(&pairs, pass).iter().map(sdk_sample).collect();
            timed(|| score_natively(&native, &samples))
        });
        wasm.push(inside * 1e6);
        plain.push(outside * 1e6);
        against_native.push(inside / outside);
        if let Some(peer) = &mut peer
            && round % ROUNDS_PER_PEERS == 0
        {
            let theirs = seconds_each(pairs.len(), &mut passes, |number| {
                pass(peer, name, number).expect("it has answered before")
            });
            python.push(theirs * 1e6);
            against_python.push(theirs / inside);
        }
    }
    line(&format!("{name}, component"), "µs", wasm);
    line(&format!("{name}, native"), "µs", plain);
    line(&format!("{name}, component / native"), "x", against_native);
    beside_python(name, python, against_python);
}

/// What the Python package took, and how many times as much that is; nothing where it is not there.
fn beside_python(name: &str, python: Vec<f64>, against: Vec<f64>) {
    if python.is_empty() {
        return;
    }
    line(&format!("{name}, Python"), "µs", python);
    line(
        &format!("{name}, component faster than Python"),
        "x",
        against,
    );
}

/// ROUGE's time by the length of a text, which the table of rouge-score grows with the square of.
fn rouge_of_long_texts() {
    let metric = load(&component("metric-rouge"), "", 1);
    for kilobytes in [5, 10, 20, 40] {
        let words = |seed: usize| -> String {
            let mut state = seed;
            let mut text = String::new();
            while text.len() < kilobytes << 10 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                text.push_str(&format!("word{} ", (state >> 33) % 1000));
            }
            text
        };
        let sample = Sample {
            response: words(1),
            references: vec![words(2)],
            ..Sample::default()
        };
        let samples = vec![sample; 4];
        let mut passes = 0;
        let rounds = (0..ROUNDS).map(|_| {
            seconds_each(samples.len(), &mut passes, |_| {
                timed(|| score(&metric, &samples))
            }) * 1e6
        });
        line(
            &format!("rouge, {kilobytes} kB against {kilobytes} kB"),
            "µs",
            rounds.collect(),
        );
    }
}

fn overhead() {
    let metric = load(&guest("host/benches/constant"), "", 1);
    let pairs = pairs();
    let samples = samples(&pairs[..BATCH.min(pairs.len())], 0);
    score(&metric, &samples);
    let mut passes = 0;
    let rounds = (0..ROUNDS).map(|_| {
        seconds_each(samples.len(), &mut passes, |_| {
            timed(|| score(&metric, &samples))
        }) * 1e6
    });
    line("overhead a sample", "µs", rounds.collect());
}

/// BERTScore, whose time is the encoder's: all pairs at once, on all cores.
fn bertscore() {
    let Some(model) = std::env::var_os("RLHF_MINILM").map(PathBuf::from) else {
        return;
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut spec = Spec::of(&component("metric-bertscore").display().to_string());
    let grant = Grant::parse("encoder").expect("a grant");
    spec.grants.insert(grant);
    let name = model.display().to_string();
    let encoder = TokenEncoder::load(&name, Some(6), Device::Cpu).expect("the model loads");
    let services = Services::new(Some(Arc::new(encoder)), None);
    let metric = load_with(&spec, &services, cores);
    let mut peer = bench::peer("bertscore_peer.py")
        .map(|mut command| Process::start(command.arg(pairs_file()).arg(&model)));
    let mut theirs = |round: usize| {
        let reply = peer.as_mut()?.ask(&round.to_string());
        reply.trim().parse::<f64>().ok()
    };
    let pairs = pairs();
    score(&metric, &samples(&pairs, 0));
    theirs(0);
    let each = 1e6 / pairs.len() as f64;
    let (mut ours, mut python, mut against) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS / ROUNDS_PER_PEERS {
        let samples = samples(&pairs, round);
        let inside = timed(|| score(&metric, &samples)).as_secs_f64();
        ours.push(inside * each);
        if let Some(outside) = theirs(round) {
            python.push(outside * each);
            against.push(outside / inside);
        }
    }
    line("bertscore, component", "µs", ours);
    beside_python("bertscore", python, against);
}

fn scaling(package: &str, name: &str) {
    let path = component(package);
    let (one, two) = (load(&path, "", 1), load(&path, "", 2));
    let pairs = pairs();
    let mut passes = 0;
    let mut each = |metric: &Metric| {
        seconds_each(pairs.len(), &mut passes, |pass| {
            let samples = samples(&pairs, pass);
            timed(|| score(metric, &samples))
        })
    };
    each(&two);
    let ratios = (0..ROUNDS).map(|_| each(&one) / each(&two));
    line(
        &format!("{name}, 2 workers against 1"),
        "x",
        ratios.collect(),
    );
}

fn main() {
    // Cargo hands over flags of its own.
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    if let Some(other) = named.iter().find(|name| !METRICS.contains(&name.as_str())) {
        eprintln!(
            "error: no metric `{other}`: expected one of {}",
            METRICS.join(", ")
        );
        std::process::exit(2);
    }
    // Times of other pairs are other times.
    println!("{} pairs of {}", pairs().len(), pairs_file().display());
    let is_wanted = |name| named.is_empty() || named.iter().any(|one| one == name);
    let mut peer =
        bench::peer("plugins_peer.py").map(|mut command| Process::start(command.arg(pairs_file())));
    let of = &mut peer;
    if is_wanted("bleu") {
        metric::<Additive<metric_bleu::Bleu>>(of, "bleu", "metric-bleu", "");
    }
    if is_wanted("sacrebleu") {
        let options = r#"{"variant": "sacrebleu"}"#;
        metric::<Additive<metric_bleu::Bleu>>(of, "bleu sacrebleu", "metric-bleu", options);
    }
    if is_wanted("chrf") {
        metric::<Additive<metric_chrf::Chrf>>(of, "chrf", "metric-chrf", "");
    }
    if is_wanted("rouge") {
        metric::<Mean<metric_rouge::Rouge>>(of, "rouge", "metric-rouge", "");
    }
    if is_wanted("codebleu") {
        metric::<Additive<metric_codebleu::CodeBleu>>(of, "codebleu", "metric-codebleu", "");
    }
    if is_wanted("edit-similarity") {
        metric::<Mean<metric_edit_similarity::EditSimilarity>>(
            of,
            "edit-similarity",
            "metric-edit-similarity",
            "",
        );
    }
    if is_wanted("ruby-paper") {
        metric::<Mean<metric_ruby_paper::RubyPaper>>(of, "ruby-paper", "metric-ruby-paper", "");
    }
    drop(peer);
    if !named.is_empty() {
        return;
    }
    rouge_of_long_texts();
    overhead();
    scaling("metric-bleu", "bleu");
    scaling("metric-codebleu", "codebleu");
    bertscore();
}
