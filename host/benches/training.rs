//! Steps and tokens beside torch's: `cargo bench -p rlhf --bench training`, with
//! `RLHF_PEER_PYTHON` naming a Python that has torch 2.15.0, transformers 5.23.0 and peft 0.21.2.
//!
//! Random weights of SmolLM2-135M's shape. Each workload runs in a process of ours and in one of
//! the peer's, alternately, so that both see the same machine and each has a peak of its own; the
//! first unit of each is shown apart. `training [WORKLOAD…]` runs some of them; with `cuda:f32`,
//! `cuda:bf16` or `cuda:f16` among the arguments both compute on a GPU in that type (built with
//! the feature `cuda`), and peaks are those of the GPU's memory.
//!
//! What the processor and the memory could do is measured in the same run: products in registers
//! and a sum over memory, both on all cores.

mod smollm2;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use candle_core::{DType, Device};
use rayon::prelude::*;
use rlhf::config::Training;
use rlhf::config::generation::{Generation, Weights};
use rlhf::config::model::Lora;
use rlhf::models::memory::{Trained, pass_tokens};
use rlhf::models::spec::Spec;
use rlhf::models::{self, CausalLm, LanguageModel, Model, Packed, Targets};
use rlhf::rollout::{Stop, generate};
use rlhf::trainer::optimizer::AdamW;
use rlhf_test_support::bench::{
    self, Measured, Process, load_average, peak, peak_mib, show, show_ratio,
};
use serde_json::json;
use smollm2::{shape, tokens};

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: rlhf::allocator::Allocator = rlhf::allocator::Allocator::new();

const ROUNDS: usize = 5;
/// The shapes of `training_peer.py`.
const SEQUENCES: usize = 4;
const LENGTH: usize = 256;
const PROMPT: usize = 64;
const NEW: usize = 128;

/// A workload, what is asked of ours in turn, and the bar in `design.md`'s terms.
struct Workload {
    name: &'static str,
    what: &'static str,
    ours: &'static [&'static str],
    bar: &'static str,
}

const WORKLOADS: [Workload; 4] = [
    Workload {
        name: "train",
        what: "forward, backward, clipping, AdamW; 4 sequences of 256 tokens",
        ours: &["step", "checkpointed"],
        bar: "time ≤ 0.9, peak ≤ 0.6",
    },
    Workload {
        name: "lora",
        what: "the same with adapters of rank 16 on seven projections",
        ours: &["step"],
        bar: "time ≤ 0.8",
    },
    Workload {
        name: "generate-8",
        what: "8 prompts of 64 tokens, 128 sampled tokens each",
        ours: &["f32", "bf16", "int8"],
        bar: "time ≤ 0.33",
    },
    Workload {
        name: "generate-1",
        what: "1 prompt of 64 tokens, 128 sampled tokens",
        ours: &["f32", "bf16", "int8"],
        bar: "time ≤ 0.33",
    },
];

/// One unit of a workload: how many tokens it had.
type Unit = Box<dyn FnMut(&str) -> usize>;

fn training(mut model: LanguageModel, rank: usize) -> Unit {
    if rank > 0 {
        let lora = Lora {
            rank,
            alpha: 2.0 * rank as f64,
            ..Lora::default()
        };
        model.add_adapters(&lora, 1).expect("fits");
    }
    model.train().expect("room for gradients");
    let settings = Training::default();
    let mut optimizer = AdamW::new(&model, &settings).expect("room for moments");
    let (mut batch, mut targets) = (Packed::default(), Targets::default());
    for row in 0..SEQUENCES as u64 {
        let sequence = batch.push(&tokens(LENGTH, row));
        targets.push(&batch, sequence.start, sequence.start + 1..sequence.end);
        targets.close_group();
    }
    let weight = -1.0 / targets.ids.len() as f32;
    Box::new(move |way| {
        let checkpointed = way == "checkpointed";
        model
            .backbone_mut()
            .set_gradient_checkpointing(checkpointed);
        let mut objective = |_: usize, logprobs: &[f32]| vec![weight; logprobs.len()];
        let step = model.accumulate(&batch, &targets, &mut objective);
        step.expect("a step");
        optimizer
            .step(&mut model, 1e-5, 1.0, 1.0)
            .expect("an update");
        SEQUENCES * LENGTH
    })
}

fn generation(model: LanguageModel, rows: usize) -> Unit {
    let prompts: Vec<Vec<u32>> = (0..rows as u64).map(|row| tokens(PROMPT, row)).collect();
    Box::new(move |weights| {
        let config = Generation {
            max_new_tokens: NEW,
            batch_size: rows,
            weights: weights_of(weights),
            ..Generation::default()
        };
        let stop = Stop::tokens(&[]);
        let responses = generate(&model, &prompts, 1, &config, &stop, 3, &mut |_| true);
        responses
            .expect("responses")
            .iter()
            .map(|r| r.ids.len())
            .sum()
    })
}

/// A device, and the type in which models compute there.
fn place(name: &str) -> (Device, DType) {
    let dtype = match name {
        "cpu" => return (Device::Cpu, DType::F32),
        "cuda:f32" => DType::F32,
        "cuda:bf16" => DType::BF16,
        "cuda:f16" => DType::F16,
        other => panic!("`{other}` is no place to compute at"),
    };
    (
        models::cuda().expect("a CUDA device, and a build for it"),
        dtype,
    )
}

/// The largest memory so far: of the process, or of its tensors on a GPU.
fn peak_at(device: &Device) -> f64 {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        let bytes = rlhf::ops::cuda::peak_bytes(0).expect("the device tells");
        return bytes as f64 / f64::from(1 << 20);
    }
    let _ = device;
    peak_mib()
}

/// Starts a measured process. Its model is loaded before anything else begins: no first unit has
/// another one's start beside it.
fn ready(command: &mut Command) -> Process {
    let mut process = Process::start(command);
    assert_eq!(process.line().trim(), "ready");
    process
}

/// The measured process: a unit for each line.
fn work(workload: &str, folder: &Path, at: &str) {
    let (device, dtype) = place(at);
    let mut model = models::load(folder, &device).expect("the model loads");
    model.backbone_mut().set_compute(dtype);
    let mut unit = match workload.strip_prefix("generate-") {
        Some(rows) => generation(model, rows.parse().expect("a number")),
        None => training(model, if workload == "lora" { 16 } else { 0 }),
    };
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let start = Instant::now();
        let tokens = unit(&line);
        device.synchronize().expect("the device is done");
        let seconds = start.elapsed().as_secs_f64();
        let reply = json!({"seconds": seconds, "tokens": tokens, "peak_mib": peak_at(&device)});
        println!("{reply}");
    }
}

/// What the machine can do: multiply-adds in registers in Gflop/s, reading memory in GB/s.
fn floor() -> (f64, f64) {
    let threads = rayon::current_num_threads();
    let best = |rounds: usize, run: &dyn Fn() -> f64| {
        (0..rounds).map(|_| run()).fold(f64::INFINITY, f64::min)
    };
    const STEPS: usize = 20_000_000;
    let seconds = best(3, &|| {
        let start = Instant::now();
        (0..threads).into_par_iter().for_each(|i| {
            black_box(multiply_adds(STEPS, black_box(i as f32)));
        });
        start.elapsed().as_secs_f64()
    });
    let flops = (2 * STEPS * SUMS * threads) as f64 / seconds / 1e9;
    let memory = vec![1f32; 1 << 28];
    let seconds = best(3, &|| {
        let start = Instant::now();
        let sums = memory.par_chunks(1 << 20).map(|part| {
            let mut sums = [0f32; 64];
            for chunk in part.as_chunks::<64>().0 {
                for (sum, x) in sums.iter_mut().zip(chunk) {
                    *sum += x;
                }
            }
            sums.iter().sum::<f32>()
        });
        black_box(sums.sum::<f32>());
        start.elapsed().as_secs_f64()
    });
    let bytes = (4 * memory.len()) as f64 / seconds / 1e9;
    (flops, bytes)
}

/// Sums at a time: sixteen registers of AVX-512, enough to hide an addition's latency. One array:
/// the compiler leaves an array of arrays in memory.
const SUMS: usize = 256;

fn multiply_adds(steps: usize, x: f32) -> f32 {
    #[inline(always)]
    fn body(steps: usize, x: f32) -> f32 {
        let mut sums = [x; SUMS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = sum.mul_add(0.999, x);
            }
        }
        sums.iter().sum()
    }
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,fma")]
        fn wide(steps: usize, x: f32) -> f32 {
            body(steps, x)
        }
        #[target_feature(enable = "avx2,fma")]
        fn medium(steps: usize, x: f32) -> f32 {
            body(steps, x)
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the instructions are there.
            return unsafe { wide(steps, x) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { medium(steps, x) };
        }
    }
    body(steps, x)
}

/// What a unit has to do at least: products in Gflop, weights read in GB.
fn least(workload: &str) -> (f64, f64) {
    let shape = shape();
    let (hidden, inner) = (shape.hidden_size, shape.intermediate_size);
    let (q, kv) = (
        shape.num_attention_heads * shape.head_dim,
        shape.num_key_value_heads * shape.head_dim,
    );
    let layer = hidden * (2 * q + 2 * kv) + 3 * hidden * inner;
    let head = shape.vocab_size * hidden;
    let body = shape.num_hidden_layers * layer;
    let weights = (body + head) as f64;
    match workload.strip_prefix("generate-") {
        Some(rows) => {
            let rows: f64 = rows.parse().expect("a number");
            let steps = (NEW - 1) as f64;
            (
                2e-9 * rows * (weights * steps + body as f64 * PROMPT as f64),
                4e-9 * weights * steps,
            )
        }
        None => {
            // Forward, gradient of the inputs, gradient of the weights where they are trained.
            let passes = if workload == "lora" { 2.0 } else { 3.0 };
            let tokens = (SEQUENCES * LENGTH) as f64;
            (2e-9 * passes * weights * tokens, 4e-9 * passes * weights)
        }
    }
}

/// Bytes at the peak, as `--dry-run` predicts them.
fn predicted(workload: &str, way: &str) -> f64 {
    let lora = Lora {
        rank: 16,
        ..Lora::default()
    };
    let lora = (workload == "lora").then_some(&lora);
    let config = shape().to_json();
    let (weights, trained) = models::count_weights(config.clone(), lora).expect("a Llama");
    let spec = Spec::from_json(&config).expect("a Llama");
    let model = Trained {
        spec: &spec,
        weights,
        trained,
        frozen_bytes: 4,
        gradient_checkpointing: way == "checkpointed",
    };
    let need = match workload.strip_prefix("generate-") {
        None => {
            let tokens = pass_tokens(SEQUENCES, LENGTH);
            model.step(tokens, tokens / LENGTH * (LENGTH - 1))
        }
        Some(rows) => {
            let frozen = Trained {
                trained: 0,
                ..model
            };
            let rows = rows.parse().expect("a number");
            frozen.decoding(rows, PROMPT + NEW, weights_of(way))
        }
    };
    need.bytes() as f64
}

fn weights_of(way: &str) -> Weights {
    match way {
        "f32" => Weights::F32,
        "bf16" => Weights::Bf16,
        "int8" => Weights::Int8,
        other => panic!("no weights `{other}`"),
    }
}

fn main() {
    let (places, arguments): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .partition(|argument| argument == "cpu" || argument.starts_with("cuda:"));
    let at = places.first().map_or("cpu", String::as_str);
    if let [flag, workload, folder] = arguments.as_slice()
        && flag == "--work"
    {
        return work(workload, Path::new(folder), at);
    }
    let folder = smollm2::folder();
    if bench::peer("training_peer.py").is_none() {
        println!("RLHF_PEER_PYTHON is not set: no peer beside these numbers");
    }
    let (flops, bytes) = floor();
    println!(
        "{} threads, load {} at the start: {flops:.0} Gflop/s in registers, {bytes:.1} GB/s from memory",
        rayon::current_num_threads(),
        load_average()
    );
    let program = std::env::current_exe().expect("this program's path");
    for workload in &WORKLOADS {
        if !arguments.is_empty() && !arguments.iter().any(|name| name == workload.name) {
            continue;
        }
        println!("{}: {}", workload.name, workload.what);
        // Each way of ours in a process of its own, as its peak is.
        let start = |_: &&str| {
            let mut command = Command::new(&program);
            let command = command.args(["--work", workload.name]).arg(&folder);
            ready(command.arg(at))
        };
        // Rounded weights are the CPU's; elsewhere the type says what is read.
        let ways = match at == "cpu" || !workload.name.starts_with("generate") {
            true => workload.ours,
            false => &workload.ours[..1],
        };
        let mut ours: Vec<Process> = ways.iter().map(start).collect();
        let mut peer = bench::peer("training_peer.py")
            .map(|mut command| ready(command.arg(workload.name).arg(&folder).arg(at)));
        let mut rounds: Vec<Vec<Measured>> = ours.iter().map(|_| Vec::new()).collect();
        let mut theirs = Vec::new();
        // One more: the first is not steady.
        for _ in 0..=ROUNDS {
            for ((process, way), rounds) in ours.iter_mut().zip(ways).zip(&mut rounds) {
                rounds.push(process.measure(way));
            }
            if let Some(peer) = &mut peer {
                theirs.push(peer.measure("unit"));
            }
        }
        if peer.is_some() {
            show("torch, transformers", &theirs);
        }
        let (work, read) = least(workload.name);
        for (way, rounds) in ways.iter().zip(&rounds) {
            let median = show(&format!("rlhf, {way}"), rounds);
            if peer.is_some() {
                show_ratio(rounds, &theirs, workload.bar);
            }
            if at != "cpu" {
                // What is predicted, and the floor, are the CPU's.
                continue;
            }
            let mib = predicted(workload.name, way) / f64::from(1 << 20);
            println!(
                "  {:24} peak {mib:.0} MiB, measured {:.3} of it",
                "predicted",
                peak(rounds) / mib
            );
            let read = match *way {
                "bf16" => read / 2.0,
                "int8" => read / 3.76,
                _ => read,
            };
            println!(
                "  {:24} {:.3} s of products, {:.3} s of reading weights",
                "floor",
                work / flops,
                read / bytes
            );
            println!(
                "  {:24} {:.2} of the floor",
                "speed",
                (work / flops).max(read / bytes) / median
            );
        }
    }
    println!("load {} at the end", load_average());
}
