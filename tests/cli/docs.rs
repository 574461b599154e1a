//! Is every command in the documentation one that works?
//!
//! Lines of `sh` blocks that call `rlhf` are run as they stand, in a workspace with the files and
//! models that they name; trainings get `--dry-run`.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;

use rlhf_test_support::{Workspace, commands, rlhf};
use serde_json::json;

use crate::seed::{copy, hub, with_hub};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A training is planned; a metric that asks for something is granted it, which a binary that
/// `cargo xtask` has not built does not do by itself.
fn prepared(command: &str) -> String {
    let mut command = command
        .replace("--plugin unit-tests", "--plugin unit-tests,grant=sandbox")
        .replace("--metric ruby", "--metric ruby,grant=sandbox")
        .replace("--metric bertscore", "--metric bertscore,grant=encoder")
        .replace("--pass-at ", "--plugin unit-tests,grant=sandbox --pass-at ");
    if command.starts_with("rlhf --")
        && !command.contains("--dry-run")
        && !command.contains("--version")
    {
        command.push_str(" --dry-run");
    }
    // The documents' runs have the same names, and some go on with a run that is there.
    if command.starts_with("rlhf --")
        && command.contains("--dry-run")
        && !command.contains("--resume")
    {
        command.push_str(" --overwrite");
    }
    command
}

fn lines(rows: impl IntoIterator<Item = serde_json::Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

/// Everything that the documents name.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    hub(&workspace);
    for model in ["path/to/SmolLM2-135M", "path/to/model"] {
        copy(&workspace, "tiny-llama", model);
    }
    copy(&workspace, "tiny-roberta", "MODEL");
    let ten = || 0..10;
    let prompt = |at: usize| format!("Return {at}.\n");
    workspace.write(
        "preferences.jsonl",
        lines(ten().map(|at| json!({"prompt": prompt(at), "chosen": format!("return {at}"), "rejected": "pass"}))),
    );
    workspace.write(
        "demonstrations.jsonl",
        lines(ten().map(|at| json!({"prompt": prompt(at), "completion": format!("return {at}")}))),
    );
    workspace.write(
        "tasks.jsonl",
        lines(ten().map(|at| json!({"prompt": format!("def f{at}():\n"), "tests": [format!("assert f{at}() == {at}")]}))),
    );
    let predictions = lines(ten().map(|at| {
        json!({"id": at, "prediction": format!("return {at}"), "reference": format!("return {}", at % 9)})
    }));
    workspace.write("predictions.jsonl", &predictions);
    workspace.write("mine.jsonl", &predictions);
    for (file, more) in [("baseline.csv", ""), ("mine.csv", " + 1")] {
        let rows: String = ten()
            .map(|at| format!("{at},return {at}{more},return {at}\n"))
            .collect();
        workspace.write(file, format!("id,prediction,reference\n{rows}"));
    }
    workspace.write(
        "answers.jsonl",
        lines(ten().map(|at| json!({"prompt": prompt(at), "response": "pass"}))),
    );
    let feedback: Vec<serde_json::Value> = ten()
        .flat_map(|at| {
            [(1.0, "pass"), (5.0, "return")].map(|(rating, response)| {
                json!({"prompt": prompt(at), "response": response, "rating": rating, "logits": [0.1, 0.2, 0.3]})
            })
        })
        .collect();
    workspace.write("feedback.json", json!(feedback).to_string());
    let rows: String = ten().map(|at| format!("Why {at}?,because,no\n")).collect();
    workspace.write(
        "pairwise_prefs.csv",
        format!("question,preferred_answer,other_answer\n{rows}"),
    );
    let rows: String = ten().map(|at| format!("Why {at}?,because\n")).collect();
    workspace.write("sft_dataset.csv", format!("question,best_answer\n{rows}"));
    workspace.write(
        "prompts.jsonl",
        lines(ten().take(2).map(|at| json!({"prompt": prompt(at)}))),
    );
    workspace.write("program.py", "print(input())\n");
    workspace.write("input.txt", "hello\n");
    workspace.write("run.toml", "[training]\nepochs = 2\n");
    let humaneval = root().join("tests/golden/humaneval/HumanEval.jsonl");
    let humaneval = std::fs::read_to_string(humaneval).expect("it lies there");
    let humaneval: Vec<&str> = humaneval.lines().take(2).collect();
    workspace.write("HumanEval.jsonl", humaneval.join("\n"));
    let samples = humaneval.iter().flat_map(|task| {
        let task: serde_json::Value = serde_json::from_str(task).expect("it is JSON");
        (0..10).map(move |at| {
            let solution = task["canonical_solution"].as_str().expect("a text");
            let completion = if at % 2 == 0 { solution } else { "    pass\n" };
            json!({"task_id": task["task_id"], "completion": completion})
        })
    });
    workspace.write("samples.jsonl", lines(samples));
    let exact = rlhf_test_support::component("metric-exact-match");
    let exact = std::fs::read(exact).expect("it was built");
    workspace.write("metrics/mine.wasm", &exact);
    workspace.write("mine.wasm", &exact);
    // A run that was made for real, which others look at or go on with.
    with_hub(&workspace, rlhf!(&workspace))
        .args([
            "--model-name",
            "path/to/SmolLM2-135M",
            "--train-data-path",
            "preferences.jsonl",
        ])
        .args([
            "--lora-rank",
            "2",
            "--steps",
            "1",
            "--output-dir",
            "runs/mine",
        ])
        .args([
            "--set",
            "generation.max_new_tokens=4",
            "--set",
            "evaluation.bootstrap_samples=100",
        ])
        .run()
        .expect_code(0);
    for run in ["runs/fast", "runs/baseline"] {
        let mut copy = Command::new("cp");
        copy.args(["-r", "runs/mine", run])
            .current_dir(workspace.path());
        assert!(copy.status().expect("there is `cp`").success());
    }
    workspace
}

/// Runs the commands of documents.
fn check(documents: &[&str]) {
    let workspace = workspace();
    let program = Path::new(env!("CARGO_BIN_EXE_rlhf"));
    let path = format!(
        "{}:{}",
        program.parent().expect("it lies in a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut all = 0;
    for document in documents {
        let text = std::fs::read_to_string(root().join(document)).expect(document);
        for (line, command) in commands(&text) {
            all += 1;
            assert!(
                !command.contains('…'),
                "{document}:{line}: `{command}` can't be run"
            );
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &prepared(&command)])
                .current_dir(workspace.path())
                .env("PATH", &path)
                .env("HOME", workspace.path())
                .env("HF_HUB_CACHE", workspace.join("hub"))
                .env("HF_HUB_OFFLINE", "1")
                .env("RLHF_PLUGIN_PATH", crate::plugins());
            if let Ok(target) = xtask::workspace::target_dir() {
                shell.env("RLHF_CACHE", target.join("test-cache"));
            }
            let output = shell.output().expect("there is a shell");
            // A missed target is what `--require-targets` is for.
            let missed = command.contains("--require-targets") && output.status.code() == Some(4);
            assert!(
                output.status.success() || missed,
                "{document}:{line}: `{command}`: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    assert!(all > 0, "no commands in {documents:?}");
}

/// Would catch a command for newcomers that fails at once.
#[test]
fn readme() {
    check(&["README.md"]);
}

/// Would catch the same in a guide.
#[test]
fn guides() {
    check(&[
        "host/docs/configuration.md",
        "host/docs/from-python.md",
        "host/docs/from-trl.md",
        "host/docs/plugins.md",
        "host/docs/reproduce.md",
        "host/docs/untrusted-code.md",
        "host/docs/write-a-metric.md",
        "host/docs/your-data.md",
    ]);
}

/// Would catch a training that is run where it should only be planned.
#[test]
fn trainings_are_planned() {
    assert_eq!(
        prepared("rlhf --mode fast"),
        "rlhf --mode fast --dry-run --overwrite"
    );
    assert_eq!(prepared("rlhf --version"), "rlhf --version");
}
