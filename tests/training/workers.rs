//! One worker or several, and workers that die: the run is the same.

use rlhf_test_support::{Rlhf, Workspace, component, rlhf};

use crate::job::difference;

/// PPO on embedded tasks, rewarded by their tests.
const SETTINGS: &str = "\
[generation]
max_new_tokens = 24
[warm_up]
steps = 60
[training]
steps = 6
batch_size = 8
[rollout]
prompts_per_step = 8
samples_per_prompt = 2
[evaluation]
metrics = [\"bleu\"]
tasks_max = 6
bootstrap_samples = 100
";

fn run(workspace: &Workspace, folder: &str, threads: &str, workers: usize) -> Rlhf {
    let packages = ["metric-bleu", "metric-unit-tests", "runner-python"].map(component);
    let plugins = packages[0].ancestors().nth(2).expect("plugins/metrics/…");
    let settings = format!("{SETTINGS}[sandbox]\nworkers = {workers}\n");
    workspace.write(format!("{folder}.toml"), settings);
    rlhf!(workspace)
        .env("RLHF_PLUGIN_PATH", plugins)
        .env("RAYON_NUM_THREADS", threads)
        .args(["--mode", "fast", "--method", "ppo", "--output-dir", folder])
        .arg("--config")
        .arg(format!("{folder}.toml"))
        .args(["--plugin", "unit-tests,weight=1,grant=sandbox"])
        .args(["--plugin", "bleu,weight=0.1"])
}

/// Sandbox workers of a process.
#[cfg(target_os = "linux")]
fn workers_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("this is Linux");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process: &u32| {
            let read = |file| std::fs::read_to_string(format!("/proc/{process}/{file}"));
            let parent = format!("PPid:\t{parent}\n");
            read("status").is_ok_and(|status| status.contains(&parent))
                && read("cmdline").is_ok_and(|line| line.contains("sandbox-worker"))
        })
        .collect()
}

// Would catch a sum whose order hangs on the number of threads, a reward that hangs on which
// worker ran the program, and a dead worker that ends the run or costs a sample its reward: the
// run's files must be the same bytes.
#[cfg(target_os = "linux")]
#[test]
fn workers_change_nothing() {
    let workspace = Workspace::new();
    run(&workspace, "one", "1", 1).run().expect_code(0);
    let tests = workspace.read("one/completions.jsonl");
    assert!(
        tests.contains("\"unit-tests\":{\"value\":"),
        "no program was run: {tests}"
    );
    run(&workspace, "two", "2", 2).run().expect_code(0);
    assert_eq!(difference(&workspace, "one", "two"), None);
    let mut running = run(&workspace, "killed", "3", 2).start();
    let process = running.id();
    let rows = workspace.join("killed/completions.jsonl");
    let mut killed = 0;
    // One a step: a program that loses two workers is to blame itself.
    for step in 1..=3 {
        let step = format!("{{\"stage\":\"ppo\",\"step\":{step},");
        running
            .wait_until(|| std::fs::read_to_string(&rows).is_ok_and(|text| text.contains(&step)));
        for worker in workers_of(process).into_iter().take(1) {
            let mut kill = std::process::Command::new("kill");
            let _ = kill.args(["-s", "KILL", &worker.to_string()]).status();
            killed += 1;
        }
    }
    running.wait().expect_code(0);
    assert!(killed > 0, "no worker was found");
    assert_eq!(difference(&workspace, "one", "killed"), None);
}
