//! PPO, GRPO, RLOO and supervised training from the command line: do they run, repeat, and go on
//! where they were ended?

use std::path::Path;

use rlhf_test_support::{Run, Workspace};
use serde_json::Value;

use crate::{SMALL, call};

/// Steps of a few responses, with a checkpoint after every second one.
const MORE: &str = "\
[rollout]
prompts_per_step = 4
samples_per_prompt = 4
";

fn settings(workspace: &Workspace, warm_up: usize) {
    let small = SMALL
        .replace("steps = 2\n", "steps = 6\nsave_steps = 2\nbatch_size = 8\n")
        .replace("steps = 30", &format!("steps = {warm_up}"));
    workspace.write("small.toml", small + MORE);
}

fn train(workspace: &Workspace, method: &str, folder: &str, more: &[&str]) -> Run {
    let mut arguments = vec!["--mode", "fast", "--config", "small.toml"];
    arguments.extend(["--method", method, "--plugin", "bleu,weight=1"]);
    arguments.extend(["--output-dir", folder]);
    arguments.extend(more);
    call(workspace, &arguments)
}

fn bytes(workspace: &Workspace, file: &str) -> Vec<u8> {
    std::fs::read(workspace.path().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// What a run leaves that must be the same for an equal run.
fn same(workspace: &Workspace, one: &str, two: &str) {
    for file in [
        "metrics.jsonl",
        "completions.jsonl",
        "summary.json",
        "final/model.safetensors",
    ] {
        let [a, b] = [one, two].map(|folder| bytes(workspace, &format!("{folder}/{file}")));
        assert!(a == b, "{one} and {two} differ in {file}");
    }
}

/// Would catch a method that cannot be run, one whose seed does not decide everything, and a
/// continued run that is another one: the files of both must be the same bytes.
#[test]
fn runs_repeat_and_go_on() {
    let workspace = Workspace::new();
    settings(&workspace, 30);
    for method in ["ppo", "grpo", "rloo"] {
        let [whole, cut] = ["whole", "cut"].map(|name| format!("{method}-{name}"));
        let run = train(&workspace, method, &whole, &[]).expect_code(0);
        assert!(
            run.stdout
                .contains(&format!("{method} (6 steps, 96 responses)")),
            "{}",
            run.stdout
        );
        train(&workspace, method, &cut, &[]).expect_code(0);
        same(&workspace, &whole, &cut);
        // As if it had been ended in its last steps.
        let folder = workspace.path().join(&cut);
        for gone in ["checkpoint-6", "final"] {
            std::fs::remove_dir_all(folder.join(gone)).expect("it was there");
        }
        std::fs::remove_file(folder.join("summary.json")).expect("it was there");
        train(&workspace, method, &cut, &["--resume"])
            .expect_code(0)
            .expect_stdout("after warm-up");
        same(&workspace, &whole, &cut);
        let text = workspace.read(format!("{whole}/completions.jsonl"));
        let rows: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("it is JSON"))
            .filter(|row: &Value| row["stage"] == method)
            .collect();
        assert_eq!(rows.len(), 96);
        assert_eq!(rows[0]["reward"], rows[0]["parts"]["bleu"]["value"]);
    }
}

/// Would catch demonstrations that are not learned, or checkpoints of them that are not found.
#[test]
fn supervised_training_goes_on() {
    let workspace = Workspace::new();
    settings(&workspace, 0);
    train(&workspace, "sft", "whole", &[]).expect_code(0);
    train(&workspace, "sft", "cut", &[]).expect_code(0);
    for gone in ["checkpoint-6", "checkpoint-4", "final"] {
        std::fs::remove_dir_all(workspace.path().join("cut").join(gone)).expect("it was there");
    }
    let from = Path::new("cut").join("checkpoint-2").display().to_string();
    train(&workspace, "sft", "elsewhere", &["--resume", &from]).expect_code(0);
    same(&workspace, "whole", "cut");
    // Another learning rate is another run.
    let other = ["--resume", "cut", "--learning-rate", "0.5"];
    let run = train(&workspace, "sft", "elsewhere", &other);
    assert!(
        run.stderr.contains("training.learning_rate is"),
        "{}",
        run.stderr
    );
    train(&workspace, "sft", "none", &["--resume"])
        .expect_code(2)
        .expect_stderr("`none` holds no run");
}
