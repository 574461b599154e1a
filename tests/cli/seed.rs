//! Does what the Python project promised work here, to the letter?
//!
//! `seed/` holds the commands, the configuration and the data of its README; its `...` in a list
//! of logits stands for nothing. Model names are the README's, found in a hub cache of tiny models.

use std::path::Path;

use rlhf_test_support::{Rlhf, Run, Workspace, rlhf};
use serde_json::Value;

use crate::with_plugins;

fn golden(model: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden/models")
        .join(model)
}

/// Puts tiny models into the workspace's hub cache, under the names of large ones.
pub fn hub(workspace: &Workspace) {
    for (name, model) in [
        ("microsoft/CodeGPT-small-py", "tiny-gpt2-code"),
        ("microsoft/codebert-base", "tiny-roberta"),
        ("FacebookAI/roberta-large", "tiny-roberta"),
        ("HuggingFaceTB/SmolLM2-135M", "tiny-llama"),
    ] {
        let cache = format!("hub/models--{}", name.replace('/', "--"));
        workspace.write(format!("{cache}/refs/main"), "0000");
        copy(workspace, model, &format!("{cache}/snapshots/0000"));
    }
}

/// Copies a golden model.
pub fn copy(workspace: &Workspace, model: &str, to: &str) {
    for entry in std::fs::read_dir(golden(model)).expect("the golden models lie there") {
        let path = entry.expect("the entry can be read").path();
        let name = path.file_name().expect("it has a name").to_string_lossy();
        let bytes = std::fs::read(&path).expect("it can be read");
        workspace.write(format!("{to}/{name}"), bytes);
    }
}

/// `rlhf`, offline, with that cache.
pub fn with_hub(workspace: &Workspace, rlhf: Rlhf) -> Rlhf {
    with_plugins(rlhf).env("HF_HUB_CACHE", workspace.join("hub"))
}

fn call(workspace: &Workspace, arguments: &[&str]) -> Run {
    with_hub(workspace, rlhf!(workspace)).args(arguments).run()
}

/// The flags of the README's list, each with the key that it sets.
const FLAGS: &[(&str, &str)] = &[
    ("--learning-rate", "/training/learning_rate"),
    ("--batch-size", "/training/batch_size"),
    ("--epochs", "/training/epochs"),
    ("--steps", "/training/steps"),
    ("--model-name", "/model/base_model_name"),
    ("--reward-model-name", "/model/reward_model_name"),
    ("--device", "/model/device"),
    ("--train-data-path", "/data/train_data_path"),
    ("--eval-data-path", "/data/eval_data_path"),
    ("--human-feedback-path", "/data/human_feedback_path"),
    ("--output-dir", "/output_dir"),
    ("--experiment-name", "/experiment_name"),
    ("--target-bertscore", "/evaluation/target_bertscore"),
    ("--target-codebleu", "/evaluation/target_codebleu"),
];

fn config(workspace: &Workspace, arguments: &[&str]) -> Value {
    let all = [&["config", "--output", "json"], arguments].concat();
    let run = call(workspace, &all).expect_code(0);
    serde_json::from_str(&run.stdout).expect("it is JSON")
}

/// A flag's value as the configuration has it.
fn check_flags(workspace: &Workspace, arguments: &[&str]) {
    let config = config(workspace, arguments);
    for pair in arguments.windows(2) {
        let Some((_, key)) = FLAGS.iter().find(|(flag, _)| *flag == pair[0]) else {
            continue;
        };
        let found = config.pointer(key).expect("the key is there");
        let same = match (found, pair[1].parse::<f64>()) {
            (Value::Number(found), Ok(given)) => found.as_f64() == Some(given),
            (found, _) => found == pair[1],
        };
        assert!(same, "{arguments:?}: {key} is {found}");
    }
}

/// Would catch a command of the README that no longer does what it says.
#[test]
fn every_command_has_a_plan() {
    let workspace = Workspace::new();
    hub(&workspace);
    let commands = include_str!("seed/commands.txt").lines();
    for command in commands {
        let arguments = command.strip_prefix("python main.py ").expect("its form");
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        check_flags(&workspace, &arguments);
        if !cfg!(feature = "cuda")
            && let Some(cuda) = arguments.iter_mut().find(|argument| **argument == "cuda")
        {
            *cuda = "cpu";
        }
        arguments.push("--dry-run");
        let plan = call(&workspace, &arguments).expect_code(0);
        for part in [
            "model      ",
            "steps      ",
            "memory     at most ",
            "tokens     ",
        ] {
            assert!(plan.stdout.contains(part), "{command}: {}", plan.stdout);
        }
        assert!(
            !workspace.join("runs").exists(),
            "{command}: work was begun"
        );
    }
    let cuda = ["--mode", "production", "--device", "cuda", "--dry-run"];
    if !cfg!(feature = "cuda") {
        call(&workspace, &cuda)
            .expect_code(2)
            .expect_stderr("this build of rlhf has no CUDA");
    }
    // What the first command's numbers come to: 960 embedded tasks, 16 a step, 10 times.
    let first = [
        "--mode",
        "research",
        "--epochs",
        "10",
        "--steps",
        "2000",
        "--dry-run",
    ];
    call(&workspace, &first)
        .expect_code(0)
        .expect_stdout("600 of 16 prompts (10 epochs end before the 2000 of --steps)");
}

/// Would catch a flag, a key, a preset or a target that is not what the README says.
#[test]
fn flags_keys_and_targets() {
    let workspace = Workspace::new();
    let all = [
        "--learning-rate",
        "1e-5",
        "--batch-size",
        "2",
        "--epochs",
        "3",
        "--steps",
        "7",
        "--model-name",
        "m",
        "--reward-model-name",
        "r",
        "--device",
        "cpu",
        "--train-data-path",
        "t.csv",
        "--eval-data-path",
        "e.csv",
        "--human-feedback-path",
        "h.json",
        "--output-dir",
        "o",
        "--experiment-name",
        "x",
    ];
    check_flags(&workspace, &all);
    let help = call(&workspace, &["--help"]).expect_code(0).stdout;
    for (flag, _) in FLAGS {
        assert!(help.contains(flag), "{flag} is not in --help");
    }
    for mode in ["research", "production", "fast"] {
        let config = config(&workspace, &["--mode", mode]);
        for (metric, target) in [
            ("bertscore", 0.7),
            ("codebleu", 0.6),
            ("bleu", 0.4),
            ("rouge", 0.5),
            ("ruby", 0.3),
        ] {
            let found = &config["evaluation"][format!("target_{metric}")];
            assert_eq!(found, target, "{mode}, {metric}");
        }
    }
    workspace.write("seed.json", include_str!("seed/config.json"));
    let given: Value = serde_json::from_str(include_str!("seed/config.json")).expect("JSON");
    let config = config(&workspace, &["--config", "seed.json"]);
    for (section, keys) in given.as_object().expect("sections") {
        for (key, value) in keys.as_object().expect("keys") {
            assert_eq!(&config[section][key], value, "{section}.{key}");
        }
    }
}

/// Further prompts, so that some can be held out, in the README's formats.
fn data(workspace: &Workspace) {
    let mut train = include_str!("seed/train.csv").to_owned();
    let mut eval = include_str!("seed/eval.csv").to_owned();
    let mut feedback: Vec<Value> =
        serde_json::from_str(include_str!("seed/feedback.json")).expect("JSON");
    for at in 0..6 {
        train.push_str(&format!(
            "\"Return {at}\",\"def f():\\n    return {at}\",1.0\n"
        ));
        eval.push_str(&format!("\"Print {at}\",\"def f():\\n    print({at})\"\n"));
        for (rating, verb) in [(5.0, "return"), (1.0, "print")] {
            feedback.push(serde_json::json!({
                "prompt": format!("Return {at}"),
                "response": format!("def f():\n    {verb} {at}"),
                "rating": rating,
                "logits": [0.1, 0.2, 0.3],
            }));
        }
    }
    workspace.write("train.csv", train);
    workspace.write("eval.csv", eval);
    workspace.write(
        "feedback.json",
        serde_json::to_string(&feedback).expect("JSON"),
    );
    workspace.write("seed.json", include_str!("seed/config.json"));
}

/// Would catch a promise that holds in a plan only: the README's configuration, models, data and
/// targets, trained for two steps.
#[test]
fn two_steps_for_real() {
    let workspace = Workspace::new();
    hub(&workspace);
    data(&workspace);
    let run = |method: &str, more: &[&str]| {
        let common = [
            "--config",
            "seed.json",
            "--train-data-path",
            "train.csv",
            "--eval-data-path",
            "eval.csv",
            "--human-feedback-path",
            "feedback.json",
            "--data-option",
            "csv.escapes=true",
            "--steps",
            "2",
            "--output-dir",
            "out",
            "--experiment-name",
            method,
            "--method",
            method,
            "--target-codebleu",
            "0.7",
        ];
        with_hub(&workspace, rlhf!(&workspace))
            .args([common.as_slice(), more].concat())
            .env("RLHF_GENERATION__MAX_NEW_TOKENS", "8")
            .env("RLHF_EVALUATION__BOOTSTRAP_SAMPLES", "100")
            .env("RLHF_TRAINING__MAX_LENGTH", "96")
            .run()
    };
    run("dpo", &["--dry-run"])
        .expect_code(0)
        .expect_stdout("train: train.csv: 7 ratings")
        .expect_stdout("human feedback: feedback.json: 13 ratings")
        .expect_stdout("evaluation: eval.csv: 7 tasks")
        .expect_stdout("cut        at 96 tokens: nothing");
    run("dpo", &[]).expect_code(0).expect_stdout("targets");
    let ppo = ["--plugin", "bleu,weight=1"];
    run("ppo", &ppo).expect_code(0).expect_stdout("targets");
    for method in ["dpo", "ppo"] {
        let summary: Value =
            serde_json::from_str(&workspace.read(format!("out/{method}/summary.json")))
                .expect("it is JSON");
        let targets: Vec<(&str, f64)> = summary["targets"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|target| {
                let name = target["metric"].as_str().expect("a name");
                (name, target["target"].as_f64().expect("a number"))
            })
            .collect();
        let expected = [
            ("bertscore", 0.7),
            ("codebleu", 0.7),
            ("bleu", 0.4),
            ("rouge", 0.5),
            ("ruby", 0.3),
        ];
        assert_eq!(targets, expected, "{method}");
        let tasks = workspace.read(format!("out/{method}/tasks.jsonl"));
        assert!(tasks.contains("reverse_string(s):\\n    return"), "{tasks}");
        assert!(workspace.join(format!("out/{method}/final")).is_dir());
    }
}

/// Would catch options of an adapter that pass unread.
#[test]
fn options_of_adapters() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "prompt;response\np;r\nq;s\n");
    let plan = |option: &str| {
        let file = [
            "--mode",
            "fast",
            "--dry-run",
            "--train-data-path",
            "rows.csv",
        ];
        call(
            &workspace,
            &[&file[..], &["--data-option", option]].concat(),
        )
    };
    plan("csv.delimiter=;")
        .expect_code(0)
        .expect_stdout("rows.csv: 2 demonstrations");
    plan("csv.delimitr=;")
        .expect_code(2)
        .expect_stderr("`delimitr`");
    plan("cvs.delimiter=;")
        .expect_code(2)
        .expect_stderr("options for the adapter `cvs`, which is not among csv, json, parquet");
}

/// Would catch real data, with columns of their own names, that need a file of their own each.
#[test]
fn columns_of_other_names() {
    let workspace = Workspace::new();
    let mut pairs = String::from("question,preferred_answer,other_answer,preference\n");
    let mut answers = String::from("question,best_answer,model_tag\n");
    for at in 0..5 {
        pairs.push_str(&format!("\"Why {at}?\n\",\"because {at}\",no,left\n"));
        answers.push_str(&format!("Why {at}?,\"\nbecause {at}\",T\n"));
    }
    workspace.write("pairwise_prefs.csv", pairs);
    workspace.write("sft_dataset.csv", answers);
    let files = [
        "--mode",
        "fast",
        "--dry-run",
        "--train-data-path",
        "sft_dataset.csv",
        "--human-feedback-path",
        "pairwise_prefs.csv",
    ];
    call(&workspace, &files)
        .expect_code(2)
        .expect_stderr("{\"prompt\": \"question\", \"response\": \"best_answer\"}");
    let columns = [
        "--column",
        "prompt=question",
        "--column",
        "response=best_answer",
        "--column",
        "chosen=preferred_answer",
        "--column",
        "rejected=other_answer",
    ];
    call(&workspace, &[&files[..], &columns].concat())
        .expect_code(0)
        .expect_stdout("train: sft_dataset.csv: 5 demonstrations")
        .expect_stdout("human feedback: pairwise_prefs.csv: 5 preferences");
}

/// Would catch TRL's shapes that are refused or read as something else, and a bad row that is
/// dropped without a word.
#[test]
fn trls_shapes() {
    let workspace = Workspace::new();
    copy(&workspace, "tiny-llama", "chat");
    let adapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    for (file, expected) in [
        (
            "adapter-json/golden/trl.jsonl",
            "2 preferences, 2 rows skipped",
        ),
        (
            "adapter-parquet/golden/conversations.parquet",
            "2 preferences, 2 rows skipped",
        ),
    ] {
        let path = adapters.join(file).display().to_string();
        let arguments = [
            "--model-name",
            "chat",
            "--train-data-path",
            &path,
            "--on-bad-row",
            "skip",
            "--dry-run",
        ];
        let plan = call(&workspace, &arguments).expect_code(0);
        assert!(
            plan.stdout.contains(expected)
                || plan
                    .stdout
                    .contains("3 demonstrations, 2 preferences, 2 rows skipped"),
            "{}",
            plan.stdout
        );
        assert!(
            plan.stdout.contains("data       skipped: "),
            "{}",
            plan.stdout
        );
    }
    // Without a template, a conversation of several messages has no text.
    copy(&workspace, "tiny-gpt2-code", "plain");
    let path = adapters
        .join("adapter-json/golden/trl.jsonl")
        .display()
        .to_string();
    let arguments = [
        "--model-name",
        "plain",
        "--train-data-path",
        &path,
        "--dry-run",
    ];
    call(&workspace, &arguments)
        .expect_code(2)
        .expect_stderr("found a conversation of 2 messages, and there is no chat template");
}
