//! Does the job learn, does a run that was ended go on as if it had not been, and do runs that
//! must agree? Learning is slow: `cargo xtask deep` tests it.

mod best;
mod broken;
mod job;
mod judging;
mod kills;
mod workers;

#[cfg(target_os = "linux")]
mod memory;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rlhf_test_support::{Workspace, component, rlhf};
use serde_json::Value;

/// `--mode fast` with further arguments on each of three seeds; what each leaves as its summary.
fn three_seeds(plugins: &Path, arguments: &[&str], limit: Duration) -> Vec<(&'static str, Value)> {
    let workspace = Workspace::new();
    let one = |seed| {
        let run = rlhf!(&workspace)
            .env("RLHF_PLUGIN_PATH", plugins)
            .args(["--mode", "fast", "--seed", seed, "--output-dir", seed])
            .args(arguments)
            .timeout(limit)
            .run()
            .expect_code(0);
        println!(
            "seed {seed}: {:.0} s\n{}",
            run.elapsed.as_secs_f64(),
            run.stdout
        );
        let summary = workspace.read(format!("{seed}/summary.json"));
        (seed, serde_json::from_str(&summary).expect("it is JSON"))
    };
    ["1", "2", "3"].map(one).into()
}

/// A metric on the held-out tasks of a stage: its value and interval.
fn held_out(summary: &Value, stage: &str, metric: &str) -> (f64, [f64; 2]) {
    let all = summary["evaluations"].as_array().expect("a list");
    let one = all.iter().find(|e| e["stage"] == stage).expect(stage);
    assert!(one["tasks"].as_u64() >= Some(200), "too few held-out tasks");
    let metrics = one["metrics"].as_array().expect("a list");
    let found = metrics.iter().find(|m| m["name"] == metric).expect(metric);
    let number = |value: &Value| value.as_f64().expect("a number");
    let interval = [0, 1].map(|at| number(&found["interval"][at]));
    (number(&found["value"]), interval)
}

/// Would catch a change after which `--mode fast --method dpo` no longer learns: on each of
/// three seeds, warm-up and DPO each raise the held-out BLEU by more than the
/// intervals could explain, and the held-out preference accuracy rises.
#[test]
#[ignore = "three runs of a minute each; `cargo xtask deep` has the time"]
fn own_preferences_teach_on_three_seeds() {
    let bleu = component("metric-bleu");
    component("metric-codebleu");
    let plugins = bleu.ancestors().nth(2).expect("plugins/metrics/bleu.wasm");
    for (seed, summary) in three_seeds(plugins, &["--method", "dpo"], Duration::from_secs(900)) {
        let intervals = ["before warm-up", "after warm-up", "after dpo"]
            .map(|stage| held_out(&summary, stage, "bleu").1);
        for pair in intervals.windows(2) {
            assert!(pair[0][1] < pair[1][0], "seed {seed}: {intervals:?}");
        }
        let preferences = &summary["preferences"];
        let accuracy = |when: &str| preferences[when]["accuracy"].as_f64().expect("a number");
        assert!(
            accuracy("after") > accuracy("before") + 0.1,
            "seed {seed}: {preferences}"
        );
    }
}

/// Would catch a change after which `--mode fast` no longer learns from rewards: on each of three
/// seeds, PPO with executed tests as its reward starts from a warm-up that passes 15 to 40 % of the held-out
/// tasks, and at least doubles that, with intervals apart.
#[test]
#[ignore = "three runs of some minutes each; `cargo xtask deep` has the time"]
fn ppo_learns_from_executed_tests_on_three_seeds() {
    let plugins = with_unit_tests();
    let tests = ["--plugin", "unit-tests,weight=1,grant=sandbox"];
    for (seed, summary) in three_seeds(&plugins, &tests, Duration::from_secs(1800)) {
        let passed = |stage| held_out(&summary, stage, "unit-tests");
        let (before, after) = (passed("after warm-up"), passed("after ppo"));
        assert!((0.15..=0.40).contains(&before.0), "seed {seed}: {before:?}");
        assert!(
            after.0 >= 2.0 * before.0 && after.1[0] > before.1[1],
            "seed {seed}: {before:?} to {after:?}"
        );
        assert_eq!(summary["rollouts"]["bad_batches"], 0);
    }
}

/// Would catch a change after which a model of 135 million parameters no longer learns from executed
/// tests: GRPO with adapters starts from a warm-up that passes 10 to 60 % of the held-out tasks, and
/// adds ten points at least.
#[test]
#[ignore = "three quarters of an hour; `cargo xtask deep` has the time where RLHF_PEER_GGUF names SmolLM2-135M-Instruct"]
fn grpo_teaches_a_real_model() {
    let Some(model) = std::env::var_os("RLHF_PEER_GGUF") else {
        eprintln!("not run: RLHF_PEER_GGUF is not set");
        return;
    };
    let plugins = with_unit_tests();
    let tasks = xtask::workspace::root().join("host/assets/tasks");
    let workspace = Workspace::new();
    let run = rlhf!(&workspace)
        .env("RLHF_PLUGIN_PATH", &plugins)
        .args(["--mode", "fast", "--method", "grpo", "--output-dir", "run"])
        .arg("--model-name")
        .arg(model)
        .arg("--train-data-path")
        .arg(tasks.join("train.jsonl"))
        .arg("--eval-data-path")
        .arg(tasks.join("heldout.jsonl"))
        .args(GRPO_OF_A_REAL_MODEL)
        .timeout(Duration::from_secs(3600))
        .run()
        .expect_code(0);
    println!("{:.0} s\n{}", run.elapsed.as_secs_f64(), run.stdout);
    let summary = serde_json::from_str(&workspace.read("run/summary.json")).expect("it is JSON");
    let passed = |stage| held_out(&summary, stage, "unit-tests").0;
    let (before, after) = (passed("after warm-up"), passed("after grpo"));
    assert!((0.10..=0.60).contains(&before), "{before}");
    assert!(after >= before + 0.10, "{before} to {after}");
}

/// The settings of `host/docs/learning.md`.
const GRPO_OF_A_REAL_MODEL: [&str; 26] = [
    "--plugin",
    "unit-tests,weight=1,grant=sandbox",
    "--lora-rank",
    "16",
    "--max-new-tokens",
    "48",
    "--warm-up-steps",
    "40",
    "--set",
    "warm_up.batch_size=8",
    "--set",
    "warm_up.learning_rate=5e-4",
    "--set",
    "training.schedule=constant",
    "--learning-rate",
    "1e-3",
    "--steps",
    "45",
    "--batch-size",
    "48",
    "--set",
    "rollout.prompts_per_step=12",
    "--set",
    "rollout.resample_rounds=2",
    "--set",
    "generation.batch_size=64",
];

/// The plugins' folder, with what executed tests need.
fn with_unit_tests() -> PathBuf {
    for package in ["metric-bleu", "metric-codebleu", "runner-python"] {
        component(package);
    }
    let tests = component("metric-unit-tests");
    let plugins = tests.ancestors().nth(2).expect("plugins/metrics/…");
    plugins.to_owned()
}
