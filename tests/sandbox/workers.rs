//! Workers through the library: what a run sees of them.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use rlhf::plugin::host::Sandbox;
use rlhf::sandbox::demo::{self, FORGERIES};
use rlhf::sandbox::{Policy, Pool};

use crate::pool;

/// Process ids of this test's workers: children that run `sandbox-worker`.
fn workers_of(parent: u32) -> Vec<u32> {
    let children = std::fs::read_dir("/proc").expect("this is Linux");
    children
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process: &u32| {
            let read = |file| std::fs::read_to_string(format!("/proc/{process}/{file}"));
            let parent_line = format!("PPid:\t{parent}\n");
            read("status").is_ok_and(|status| status.contains(&parent_line))
                && read("cmdline").is_ok_and(|line| line.contains("sandbox-worker"))
        })
        .collect()
}

fn kill(process: u32) {
    let status = Command::new("kill")
        .args(["-KILL", &process.to_string()])
        .status();
    assert!(status.expect("kill is there").success());
}

/// Held by tests whose workers must live.
fn undisturbed() -> RwLockReadGuard<'static, ()> {
    WORKERS.read().unwrap_or_else(PoisonError::into_inner)
}

fn printed(pool: &Pool, source: &str) -> (String, String, u64) {
    let execution = pool.run("python", source, b"").expect("there is a runner");
    let outcome = execution.outcome;
    let text = String::from_utf8_lossy(&outcome.stdout).trim().to_owned();
    (outcome.kind, text, execution.fuel)
}

/// Tests share a process, and the first kills all workers that it finds.
static WORKERS: RwLock<()> = RwLock::new(());

// Would catch a dead worker that takes the run with it, or a place in the pool.
#[test]
fn a_worker_that_dies_is_replaced_and_none_outlives_the_pool() {
    let _alone = WORKERS.write().unwrap_or_else(PoisonError::into_inner);
    let pool = Arc::new(pool(1, Policy::Guarded, ""));
    let honest = ("finished".to_owned(), "42".to_owned());
    let ask = |pool: &Pool| {
        let (kind, text, _) = printed(pool, "print(6 * 7)");
        (kind, text)
    };
    assert_eq!(ask(&pool), honest);
    let mine = |before: &BTreeSet<u32>| -> Vec<u32> {
        let now = workers_of(std::process::id());
        now.into_iter().filter(|id| !before.contains(id)).collect()
    };
    let others = BTreeSet::new();
    let first = mine(&others);
    assert!(!first.is_empty(), "a worker waits");
    // While it idles.
    first.iter().copied().for_each(kill);
    assert_eq!(ask(&pool), honest);
    // While it runs a program: that one is tried once more.
    let running = {
        let pool = Arc::clone(&pool);
        std::thread::spawn(move || printed(&pool, "sum(range(3_000_000))\nprint('done')"))
    };
    std::thread::sleep(Duration::from_millis(60));
    let second = mine(&first.iter().copied().collect());
    second.iter().copied().for_each(kill);
    let (kind, text, _) = running.join().expect("it ends");
    assert_eq!((kind.as_str(), text.as_str()), ("finished", "done"));
    assert_eq!(ask(&pool), honest);
    // What a worker gave up, as the kernel sees it.
    let third = mine(&first.iter().chain(&second).copied().collect());
    assert!(!third.is_empty(), "a worker waits");
    for worker in &third {
        let status =
            std::fs::read_to_string(format!("/proc/{worker}/status")).expect("it is alive");
        for line in ["NoNewPrivs:\t1\n", "Seccomp:\t2\n"] {
            assert!(status.contains(line), "{line}{status}");
        }
    }
    drop(pool);
    let start = Instant::now();
    while mine(&BTreeSet::new()).iter().any(|id| third.contains(id)) {
        assert!(start.elapsed() < Duration::from_secs(5), "a worker is left");
        std::thread::sleep(Duration::from_millis(10));
    }
}

// Would catch an outcome that hangs on the process, on what ran before it, or on the clock.
#[test]
fn outcomes_and_fuel_are_the_same_everywhere() {
    let _workers = undisturbed();
    let source = "import random, time, uuid, os\n\
                  start = time.time()\n\
                  time.sleep(3600)\n\
                  print(time.time() - start >= 3600, random.random(), hash('a'))\n\
                  print(sorted(os.environ), {chr(i) for i in range(97, 117)}, uuid.uuid4())\n";
    let (first, second) = (pool(1, Policy::Guarded, ""), pool(1, Policy::Guarded, ""));
    let expected = printed(&first, source);
    assert_eq!(expected.0, "finished", "{expected:?}");
    assert!(expected.1.starts_with("True "), "{expected:?}");
    printed(&first, "import random\nrandom.seed(7)\nx = [0] * 1000000");
    printed(&first, "while True: pass");
    assert_eq!(printed(&first, source), expected);
    assert_eq!(printed(&second, source), expected);
}

// Would catch a verdict that a busy machine changes: a loop is out of fuel, not of time.
#[test]
fn a_busy_machine_changes_no_verdict() {
    let _workers = undisturbed();
    let pool = pool(2, Policy::Guarded, ",fuel=300M");
    let programs = [
        "while True: pass",
        "print(sum(i * i for i in range(20000)))",
        "def f(n): return f(n + 1)\nf(0)",
        "x = []\nwhile True: x.append(bytes(1 << 20))",
    ];
    let run = || programs.map(|source| printed(&pool, source));
    let quiet = run();
    assert_eq!(
        quiet.each_ref().map(|(kind, _, _)| kind.as_str()),
        ["out-of-fuel", "finished", "exception", "out-of-memory"],
        "{quiet:?}"
    );
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let burners: Vec<_> = (0..6)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let busy = run();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    burners
        .into_iter()
        .for_each(|thread| thread.join().expect("it ends"));
    assert_eq!(busy, quiet);
}

// Would catch a forged verdict, and a demonstration that demonstrates nothing.
#[test]
fn forgeries_fool_the_naive_check_alone() {
    let _workers = undisturbed();
    let pool = pool(1, Policy::Guarded, "");
    for forgery in &FORGERIES {
        let shown = demo::show(&pool, forgery).expect("there is a runner");
        assert!(shown.naive_passed, "{shown:?}");
        assert!(!shown.passed && !shown.reason.is_empty(), "{shown:?}");
    }
    let honest = "def double(n):\n    return 2 * n\n";
    let tests = [demo::TEST.to_owned()];
    let verdict = pool.judge("python", demo::PROMPT, honest, &tests);
    assert_eq!(verdict.expect("it is judged").passed, 1);
}

// Would catch tests of live objects that pass for judged, or run unasked.
#[test]
fn live_objects_are_unguarded_and_only_if_allowed() {
    let _workers = undisturbed();
    let candidate = "class Stack:\n    def __init__(self): self.items = []\n    \
                     def push(self, x): self.items.append(x)\n";
    let tests = [
        "s = Stack()\ns.push(1)\nassert s.items == [1]".to_owned(),
        "s = Stack()\nassert s.items == [2]".to_owned(),
    ];
    let judged = |policy| {
        pool(1, policy, "")
            .judge("python", "", candidate, &tests)
            .expect("it is judged")
    };
    let guarded = judged(Policy::Guarded);
    assert_eq!(
        (guarded.total, guarded.passed, guarded.unguarded),
        (2, 0, 0),
        "{guarded:?}"
    );
    assert!(
        guarded.failures[0].starts_with("cannot-judge"),
        "{guarded:?}"
    );
    let allowed = judged(Policy::AllowUnguarded);
    assert_eq!(
        (allowed.total, allowed.passed, allowed.unguarded),
        (2, 1, 2),
        "{allowed:?}"
    );
    // A candidate that gives back a live object where values were asked for gets no such favour.
    let forging = "class Any:\n    def __eq__(self, other): return True\n\
                   def double(n): return Any()\n";
    let verdict = pool(1, Policy::AllowUnguarded, "")
        .judge("python", demo::PROMPT, forging, &[demo::TEST.to_owned()])
        .expect("it is judged");
    assert_eq!((verdict.passed, verdict.unguarded), (0, 0), "{verdict:?}");
}

// Would catch memory that programs leave behind in the worker or in the run.
#[test]
#[ignore = "10,000 programs take a minute"]
fn memory_stays_bounded() {
    let _workers = undisturbed();
    let pool = pool(1, Policy::Guarded, ",fuel=200M");
    let programs = [
        "print('small')",
        "x = [bytes(1 << 20) for _ in range(60)]",
        "print('y' * 500000)",
        "def f(n): return f(n + 1)\nf(0)",
        "class A: pass\nx = [A() for _ in range(20000)]",
    ];
    let resident = |process: u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"));
        let status = status.unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        kib.unwrap_or_default()
    };
    let mut after = Vec::new();
    for round in 0..10_000 {
        printed(&pool, programs[round % programs.len()]);
        if round % 1000 == 999 {
            let workers = workers_of(std::process::id());
            let worker = workers.iter().map(|id| resident(*id)).max();
            after.push((resident(std::process::id()), worker.unwrap_or_default()));
        }
    }
    println!("KiB of run and worker after each 1,000 programs: {after:?}");
    let (first, last) = (after[0], after[after.len() - 1]);
    assert!(last.0 < first.0 + (20 << 10), "{after:?}");
    assert!(
        last.1 < first.1 + (20 << 10) && last.1 < 400 << 10,
        "{after:?}"
    );
}
