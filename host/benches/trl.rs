//! The trainers beside TRL's: `cargo bench -p rlhf --bench trl`, with `RLHF_PEER_PYTHON` naming a
//! Python that has torch 2.15.0, transformers 5.23.0 and TRL 1.16.0, and `RLHF_PEER_TRL_PPO` a
//! folder that holds TRL 1.10.0, the last one with a PPO
//! (`pip install --no-deps --target FOLDER trl==1.10.0`).
//!
//! Random weights of SmolLM2-135M's shape in f32, all of them trained, and rows of exactly the
//! lengths that are named, so that both sides learn from the same number of tokens. Each trainer
//! runs in a process of its own and waits before every step until it is asked for it: steps
//! alternate, both see the same machine, and each has a peak of its own. Ours are the trainers that `rlhf
//! train` calls. The first step of each is shown apart. Last, both are started: until the first
//! step could begin. `trl [WORKLOAD…]` runs some of them; `RLHF_BENCH_ROUNDS` is the number of
//! rounds, 5 unless it is set.

mod smollm2;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Device;
use rlhf::config::training::Schedule;
use rlhf::config::{Dpo, Generation, Grpo, Method, Ppo, Rollout, Training};
use rlhf::models::{self, LanguageModel};
use rlhf::rollout::Response;
use rlhf::tracking::Tracker;
use rlhf::trainer::on_policy::{Environment, Job, Scores};
use rlhf::trainer::{self, Pair, Run, dpo, grpo, ppo};
use rlhf_test_support::bench::{self, Process, load_average, peak_mib, show, show_ratio, spread};
use rlhf_test_support::component;
use serde_json::{Value, json};
use smollm2::tokens;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: rlhf::allocator::Allocator = rlhf::allocator::Allocator::new();

/// The shapes of `trl_peer.py`.
const PAIRS: usize = 4;
const LENGTH: usize = 256;
const PPO_PROMPTS: usize = 8;
const GRPO_PROMPTS: usize = 4;
const GRPO_SAMPLES: usize = 4;
const PROMPT: usize = 32;
const NEW: usize = 64;
/// Examples for so many steps; then they come again.
const STEPS_AN_EPOCH: usize = 2;
/// More than anybody asks for.
const EPOCHS: usize = 1000;

struct Workload {
    name: &'static str,
    what: &'static str,
    bar: &'static str,
}

const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "dpo",
        what: "4 pairs of 2 x 256 tokens, half of them the prompt; with the reference's log-probabilities",
        bar: "time ≤ 0.7, peak ≤ 0.5",
    },
    Workload {
        name: "ppo",
        what: "8 prompts of 32 tokens, 64 new ones each, 2 passes, value model and reference",
        bar: "time ≤ 0.6, peak ≤ 0.5",
    },
    Workload {
        name: "grpo",
        what: "4 responses of 64 tokens to each of 4 prompts of 32, no reference",
        bar: "time ≤ 0.6",
    },
];

/// A tracker that makes the trainer wait before each step until a line is read, and tells after
/// it how long it took.
struct Paced {
    /// The stage whose steps are measured.
    stage: &'static str,
    tokens: usize,
    begun: Instant,
    /// Seconds of a step's share in what was done for all steps before the first.
    share: f64,
}

impl Paced {
    fn new(stage: &'static str, tokens: usize) -> Self {
        Self {
            stage,
            tokens,
            begun: Instant::now(),
            share: 0.0,
        }
    }

    /// Until the next line; the process ends with the lines.
    fn wait(&mut self) {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        if read.expect("a line") == 0 {
            std::process::exit(0);
        }
        self.begun = Instant::now();
    }
}

impl Tracker for Paced {
    fn stage(&mut self, name: &str, total: u64, _unit: &str) {
        if name != self.stage {
            // The reference's log-probabilities of all pairs: TRL computes them step by step.
            self.begun = Instant::now();
            self.share = PAIRS as f64 / total as f64;
            return;
        }
        self.share *= self.begun.elapsed().as_secs_f64();
        println!("{}", json!({ "ready": true, "share": self.share }));
        self.wait();
    }

    fn progress(&mut self, _done: u64) {}

    fn log(&mut self, _step: u64, _values: &[(&str, f64)]) {
        let seconds = self.begun.elapsed().as_secs_f64() + self.share;
        let reply = json!({"seconds": seconds, "tokens": self.tokens, "peak_mib": peak_mib()});
        println!("{reply}");
        self.wait();
    }

    fn warn(&mut self, message: &str) {
        eprintln!("warning: {message}");
    }
}

/// What can go wrong here.
#[derive(Debug)]
struct Failed(#[expect(dead_code, reason = "shown where it panics")] trainer::Error);

impl From<trainer::Error> for Failed {
    fn from(error: trainer::Error) -> Self {
        Self(error)
    }
}

/// A response is worth the share of even tokens: the peer's is as cheap.
struct Parity;

impl Environment for Parity {
    type Error = Failed;

    fn score(
        &mut self,
        _step: u64,
        _tasks: &[usize],
        responses: &[Response],
        _divergence: &[f64],
    ) -> Result<Scores, Failed> {
        let even = |r: &Response| r.ids.iter().filter(|id| *id % 2 == 0).count() as f64;
        let totals = responses.iter().map(|r| Some(even(r) / r.ids.len() as f64));
        Ok(Scores {
            totals: totals.collect(),
            ..Scores::default()
        })
    }

    fn keep_bad_batch(&mut self, step: u64, _batch: &Value) -> Result<(), Failed> {
        panic!("the batch of step {step} is bad");
    }
}

/// The measured process: a step for each line.
fn work(workload: &str, folder: &Path) {
    let model = models::load(folder, &Device::Cpu).expect("the model loads");
    let (stage, tokens) = match workload {
        "dpo" => ("dpo", 2 * PAIRS * LENGTH),
        "ppo" => ("ppo", PPO_PROMPTS * NEW),
        "grpo" => ("grpo", GRPO_PROMPTS * GRPO_SAMPLES * NEW),
        other => panic!("no workload `{other}`"),
    };
    let interrupt = AtomicBool::new(false);
    let mut run = Run {
        seed: 1,
        interrupt: &interrupt,
        tracker: &mut Paced::new(stage, tokens),
        checkpoints: None,
    };
    let training = Training {
        learning_rate: 1e-5,
        schedule: Schedule::Constant,
        warmup_ratio: 0.0,
        epochs: EPOCHS,
        max_length: LENGTH,
        ppo_epochs: 2,
        ..Training::default()
    };
    match workload {
        "dpo" => preferences(model, training, &mut run),
        "ppo" => rewards(model, training, Method::Ppo, &mut run),
        _ => rewards(model, training, Method::Grpo, &mut run),
    }
}

fn preferences(mut model: LanguageModel, mut training: Training, run: &mut Run) {
    training.batch_size = PAIRS;
    let half = LENGTH / 2;
    let pair = |at: u64| {
        let [prompt, chosen, rejected] = [0, 1, 2].map(|part| tokens(half, 3 * at + part));
        Pair::new(&prompt, &chosen, &rejected, None, LENGTH).expect("none is empty")
    };
    let pairs: Vec<Pair> = (0..(STEPS_AN_EPOCH * PAIRS) as u64).map(pair).collect();
    let settings = Dpo::default();
    dpo::train(&mut model, &pairs, &[], &training, &settings, run, None).expect("it trains");
}

fn rewards(mut model: LanguageModel, mut training: Training, method: Method, run: &mut Run) {
    let (prompts_per_step, samples_per_prompt) = match method {
        Method::Ppo => (PPO_PROMPTS, 1),
        _ => (GRPO_PROMPTS, GRPO_SAMPLES),
    };
    training.batch_size = prompts_per_step * samples_per_prompt;
    let count = STEPS_AN_EPOCH * prompts_per_step;
    let prompts: Vec<Vec<u32>> = (0..count as u64).map(|row| tokens(PROMPT, row)).collect();
    let generation = Generation {
        max_new_tokens: NEW,
        batch_size: training.batch_size,
        ..Generation::default()
    };
    let rollout = Rollout {
        prompts_per_step,
        samples_per_prompt,
        ..Rollout::default()
    };
    let job = Job {
        prompts: &prompts,
        // Nothing ends a response but its length.
        eos: &[],
        training: &training,
        generation: &generation,
        rollout: &rollout,
    };
    let trained = match method {
        Method::Ppo => ppo::train(&mut model, &job, &Ppo::default(), &mut Parity, run),
        _ => grpo::train(&mut model, &job, &Grpo::default(), &mut Parity, run),
    };
    trained.expect("it trains");
}

/// The peer's trainer for a workload, where it is there.
fn peer(workload: &str, folder: &Path) -> Option<Command> {
    let mut command = bench::peer("trl_peer.py")?;
    command.arg(workload).arg(folder);
    if workload == "ppo" {
        let trl = std::env::var_os("RLHF_PEER_TRL_PPO").filter(|folder| !folder.is_empty())?;
        command.env("PYTHONPATH", trl);
    }
    Some(command)
}

/// Seconds from the start of `rlhf` to its first step of GRPO. TRL has no evaluation before it:
/// ours is as small as one can be.
fn start_ours(folder: &Path, rows: &Path) -> f64 {
    let plugins = component("metric-bleu");
    component("metric-codebleu");
    component("adapter-json");
    component("shaper-length");
    let plugins = plugins.ancestors().nth(2).expect("plugins/metrics/bleu");
    let output = tempfile::tempdir().expect("a temporary folder");
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_rlhf"))
        .args(["train", "--method", "grpo", "--steps", "1"])
        .args(["--eval-tasks", "1", "--max-new-tokens", "1"])
        .args(["--plugin", "rewards/length.wasm,weight=1"])
        .arg("--model-name")
        .arg(folder)
        .arg("--train-data-path")
        .arg(rows)
        .arg("--output-dir")
        .arg(output.path().join("run"))
        .env("RLHF_PLUGIN_PATH", plugins)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    let stderr = BufReader::new(child.stderr.take().expect("it was piped"));
    let mut first_step = None;
    for line in stderr.lines().map_while(Result::ok) {
        if line.starts_with("grpo: 0/") {
            first_step = Some(start.elapsed().as_secs_f64());
            break;
        }
        said.push_str(&line);
        said.push('\n');
    }
    let _ = child.kill();
    let _ = child.wait();
    if let Some(seconds) = first_step {
        return seconds;
    }
    panic!("it ended before its first step:\n{said}");
}

/// Seconds from the start of the peer's process to its trainer's first step.
fn start_theirs(folder: &Path) -> Option<f64> {
    let mut command = peer("grpo", folder)?;
    let start = Instant::now();
    Process::start(&mut command).line();
    Some(start.elapsed().as_secs_f64())
}

fn starts(folder: &Path, rounds: usize) {
    let rows = folder.with_file_name("bench-prompts.jsonl");
    let text = |ids: Vec<u32>| {
        let words: Vec<String> = ids.iter().map(|id| format!("t{id}")).collect();
        words.join(" ")
    };
    let row = |at| json!({"prompt": text(tokens(PROMPT, at)), "response": text(tokens(NEW, at))});
    let all: Vec<String> = (0..20).map(|at| row(at).to_string()).collect();
    std::fs::write(&rows, all.join("\n")).expect("there is room");
    println!("start: from a process' start until the first step of GRPO could begin");
    // Compiled plugins are kept.
    start_ours(folder, &rows);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(start_ours(folder, &rows));
        theirs.extend(start_theirs(folder));
    }
    let line = |name: &str, unit: &str, values: Vec<f64>, more: &str| {
        let (median, least, most) = spread(values);
        println!("  {name:24} {median:7.3}{unit} ({least:.3} to {most:.3}){more}");
    };
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
    line("rlhf", " s", ours, "");
    if !theirs.is_empty() {
        line("TRL", " s", theirs, "");
        line("ours / peer's", "", ratios, "; bar 0.2");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if let [flag, workload, folder] = arguments.as_slice()
        && flag == "--work"
    {
        return work(workload, Path::new(folder));
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|a| a == name);
    let rounds = std::env::var("RLHF_BENCH_ROUNDS").map_or(5, |rounds| {
        rounds.parse().expect("RLHF_BENCH_ROUNDS is a number")
    });
    let folder = smollm2::folder();
    println!(
        "{} threads, load {} at the start",
        rayon::current_num_threads(),
        load_average()
    );
    let program = std::env::current_exe().expect("this program's path");
    for workload in WORKLOADS.iter().filter(|workload| wanted(workload.name)) {
        println!("{}: {}", workload.name, workload.what);
        let mut command = Command::new(&program);
        let mut ours = Process::start(command.args(["--work", workload.name]).arg(&folder));
        // What comes before the first step is over when each says that it is ready.
        let ready: Value = serde_json::from_str(&ours.line()).expect("a JSON line");
        let mut peer = peer(workload.name, &folder).map(|mut command| {
            let mut peer = Process::start(&mut command);
            peer.line();
            peer
        });
        if peer.is_none() {
            println!("  no peer: RLHF_PEER_PYTHON, for ppo RLHF_PEER_TRL_PPO as well, are not set");
        }
        let (mut measured, mut theirs) = (Vec::new(), Vec::new());
        // One more: the first is not steady.
        for _ in 0..=rounds {
            measured.push(ours.measure("step"));
            theirs.extend(peer.as_mut().map(|peer| peer.measure("step")));
        }
        if !theirs.is_empty() {
            show("TRL", &theirs);
        }
        show("rlhf", &measured);
        if let Some(share) = ready["share"].as_f64().filter(|share| *share > 0.0) {
            println!("  {:24} {share:7.3} s of it", "the reference");
        }
        if !theirs.is_empty() {
            show_ratio(&measured, &theirs, workload.bar);
        }
    }
    if wanted("start") {
        starts(&folder, rounds);
    }
    println!("load {} at the end", load_average());
}
