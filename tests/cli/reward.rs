//! Does `rlhf reward` learn, save, score and refuse as it says?

use rlhf_test_support::{Run, Workspace, rlhf};
use serde_json::{Value, json};

use super::with_plugins;

fn model(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models");
    folder.join(name).display().to_string()
}

fn reward(workspace: &Workspace, arguments: &[&str]) -> Run {
    let mut all = vec!["reward"];
    all.extend(arguments);
    with_plugins(rlhf!(workspace)).args(all).run()
}

fn train(workspace: &Workspace, name: &str, more: &[&str]) -> Run {
    let model = model(name);
    let mut all = vec![
        "train",
        "--device",
        "cpu",
        "--reward-model-name",
        &model,
        "--learning-rate",
        "1e-3",
        "--epochs",
        "2",
        "--max-length",
        "64",
    ];
    all.extend(more);
    reward(workspace, &all)
}

/// People prefer what returns to what prints, whatever the prompt.
fn preferences(workspace: &Workspace) {
    let rows: Vec<String> = (0..40)
        .map(|i| {
            let row = json!({
                "prompt": format!("def f{i}(x):\n"),
                "chosen": format!("    return x + {i}\n"),
                "rejected": format!("    print(x, {i})\n"),
            });
            row.to_string()
        })
        .collect();
    workspace.write("pairs.jsonl", rows.join("\n"));
}

fn summary(workspace: &Workspace, folder: &str) -> Value {
    serde_json::from_str(&workspace.read(format!("{folder}/summary.json"))).expect("JSON")
}

/// Would catch a model that does not learn, is saved otherwise than it was trained, or scores in
/// another order; on an encoder and on a causal backbone.
#[test]
fn preferences_are_learnt_saved_and_used() {
    for name in ["tiny-roberta", "tiny-llama"] {
        let workspace = Workspace::new();
        preferences(&workspace);
        let more = [
            "--human-feedback-path",
            "pairs.jsonl",
            "--output-dir",
            "out",
        ];
        let run = train(&workspace, name, &more).expect_code(0);
        assert!(
            run.stdout.contains("the shorter response wins"),
            "{}",
            run.stdout
        );
        let report = summary(&workspace, "out");
        assert_eq!(report["accuracy"]["pairs"], 8, "{report}");
        assert!(
            report["accuracy"]["value"].as_f64() >= Some(0.9),
            "{report}"
        );
        assert_eq!(report["accuracy_with_human_logits"], Value::Null);
        let config: Value =
            serde_json::from_str(&workspace.read("out/final/config.json")).expect("JSON");
        assert_eq!(config["num_labels"], 1);
        workspace.write(
            "answers.jsonl",
            "{\"id\": \"p\", \"prompt\": \"def g(x):\\n\", \"response\": \"    print(x, 3)\\n\"}\n\
             {\"id\": \"r\", \"prompt\": \"def g(x):\\n\", \"response\": \"    return x + 3\\n\"}",
        );
        let arguments = [
            "score",
            "--device",
            "cpu",
            "--model",
            "out/final",
            "--predictions",
            "answers.jsonl",
        ];
        let run = reward(&workspace, &arguments).expect_code(0);
        let lines: Vec<Value> = run
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(
            (&lines[0]["id"], &lines[1]["id"]),
            (&json!("p"), &json!("r"))
        );
        let score = |at: usize| lines[at]["score"].as_f64().expect("a number");
        assert!(score(1) > score(0), "{name}: {}", run.stdout);
    }
}

/// Ratings of two responses to each prompt, with what people said where `logits` has it.
fn ratings(workspace: &Workspace, logits: impl Fn(usize) -> Option<Vec<f64>>) {
    let rows: Vec<Value> = (0..40)
        .map(|i| {
            let good = i % 2 == 0;
            let response = match good {
                true => format!("    return x + {i}\n"),
                false => format!("    print(x, {i})\n"),
            };
            let mut row = json!({
                "prompt": format!("def f{}(x):\n", i / 2),
                "response": response,
                "rating": if good { 5.0 } else { 2.0 },
            });
            if let Some(logits) = logits(i) {
                row["logits"] = json!(logits);
            }
            row
        })
        .collect();
    workspace.write("ratings.json", json!(rows).to_string());
}

/// Would catch ratings that make no pairs, human logits that are lost on the way to the model or
/// its folder, and an accuracy reported only with them.
#[test]
fn ratings_and_human_logits_are_learnt() {
    let workspace = Workspace::new();
    let say = |i: usize| match i % 2 {
        0 => vec![2.0, 0.0, -1.0],
        _ => vec![-1.0, 0.0, 2.0],
    };
    ratings(&workspace, |i| (i % 4 < 3).then(|| say(i)));
    let more = [
        "--human-feedback-path",
        "ratings.json",
        "--output-dir",
        "out",
        "--human-logits-layer",
        "second_last",
        "--margin",
        "0.1",
    ];
    let run = train(&workspace, "tiny-roberta", &more).expect_code(0);
    assert!(run.stdout.contains("human logits shown"), "{}", run.stdout);
    let report = summary(&workspace, "out");
    assert_eq!(report["accuracy"]["pairs"], 4, "{report}");
    assert!(
        report["accuracy"]["value"].as_f64() >= Some(0.7),
        "{report}"
    );
    assert!(report["accuracy_with_human_logits"]["value"].is_number());
    assert!(report["squared_error"].as_f64() < Some(1.0), "{report}");
    let config: Value =
        serde_json::from_str(&workspace.read("out/final/config.json")).expect("JSON");
    assert_eq!(
        config["human_logits"],
        json!({"count": 3, "layer": "second_last"})
    );
    workspace.write("a.csv", "prompt,response\np,r\n");
    let arguments = [
        "score",
        "--device",
        "cpu",
        "--model",
        "out/final",
        "--predictions",
        "a.csv",
    ];
    reward(&workspace, &arguments).expect_code(0);
}

/// Would catch folds that share prompts or leave some out.
#[test]
fn folds_judge_every_pair_once() {
    let workspace = Workspace::new();
    preferences(&workspace);
    let more = [
        "--human-feedback-path",
        "pairs.jsonl",
        "--output-dir",
        "out",
        "--folds",
        "4",
        "--steps",
        "1",
    ];
    train(&workspace, "tiny-llama", &more).expect_code(0);
    let report = summary(&workspace, "out");
    assert_eq!(report["accuracy"]["pairs"], 40, "{report}");
    assert_eq!(report["folds"].as_array().map(Vec::len), Some(4));
    assert!(!workspace.path().join("out/final").exists());
}

/// Would catch feedback at fault that is trained on, and a folder that is no reward model.
#[test]
fn wrong_input_is_named() {
    let workspace = Workspace::new();
    ratings(&workspace, |i| Some(vec![0.5; if i == 3 { 2 } else { 3 }]));
    let more = [
        "--human-feedback-path",
        "ratings.json",
        "--output-dir",
        "out",
    ];
    train(&workspace, "tiny-roberta", &more)
        .expect_code(2)
        .expect_stderr("`logits`: 2 logits, where earlier rows have 3");
    workspace.write("tasks.csv", "prompt,reference\np,r\n");
    let more = ["--human-feedback-path", "tasks.csv", "--output-dir", "out"];
    train(&workspace, "tiny-roberta", &more)
        .expect_code(2)
        .expect_stderr("neither preferences nor ratings");
    workspace.write("a.csv", "prompt,response\np,r\n");
    let llama = model("tiny-llama");
    let arguments = ["score", "--model", &llama, "--predictions", "a.csv"];
    reward(&workspace, &arguments)
        .expect_code(2)
        .expect_stderr("is no trained reward model but llama (LlamaForCausalLM)");
    assert!(!workspace.path().join("out").exists());
}
