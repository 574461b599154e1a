//! Runs of a second each, by which whole runs are compared.

use std::path::{Path, PathBuf};

use rlhf_test_support::{Rlhf, Workspace, component, rlhf};

/// Steps of a few examples, with a checkpoint after every second one.
const SETTINGS: &str = "\
seed = 11
[training]
batch_size = 2
epochs = 9
steps = 10
learning_rate = 1e-3
max_length = 64
save_steps = 2
save_total_limit = 2
[warm_up]
steps = 6
batch_size = 4
[generation]
max_new_tokens = 6
[rollout]
prompts_per_step = 3
samples_per_prompt = 2
[evaluation]
metrics = [\"edit-similarity\"]
tasks_max = 4
bootstrap_samples = 100
";

/// What a run leaves that is the same for an equal one.
pub const RESULTS: [&str; 5] = [
    "metrics.jsonl",
    "completions.jsonl",
    "summary.json",
    "evaluations.json",
    "final/model.safetensors",
];

/// A workspace with settings and data for small runs.
pub fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("small.toml", SETTINGS);
    let (mut pairs, mut rows) = (
        String::from("prompt,chosen,rejected\n"),
        String::from("prompt,response\n"),
    );
    for at in 0..24 {
        pairs.push_str(&format!("say {at},\"return {at}\",\"print({at}, {at})\"\n"));
        rows.push_str(&format!("say {at},\"return {at}\"\n"));
    }
    workspace.write("pairs.csv", pairs);
    workspace.write("rows.csv", rows);
    workspace
}

/// The model of the runs.
pub fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models/tiny-llama")
}

/// The command without a word, but with plugins.
pub fn bare(workspace: &Workspace) -> Rlhf {
    let plugins = [
        "metric-bleu",
        "adapter-csv",
        "adapter-json",
        "adapter-parquet",
    ]
    .map(component);
    let plugins = plugins[0].ancestors().nth(2).expect("plugins/metrics/…");
    rlhf!(workspace).env("RLHF_PLUGIN_PATH", plugins)
}

/// A small run of a method into `folder`: DPO on preferences, or another with the similarity to the
/// reference as the reward.
/// The method `file` is DPO on the data that the configuration names.
pub fn run(workspace: &Workspace, method: &str, folder: &str, more: &[&str]) -> Rlhf {
    let (method, data): (&str, &[&str]) = match method {
        "dpo" => ("dpo", &["--train-data-path", "pairs.csv"]),
        "file" => ("dpo", &[]),
        method => (method, &["--train-data-path", "rows.csv"]),
    };
    bare(workspace)
        .args([
            "--mode",
            "fast",
            "--config",
            "small.toml",
            "--method",
            method,
        ])
        .arg("--model-name")
        .arg(model())
        .args(data)
        .args(["--plugin", "edit-similarity,weight=1"])
        .args(["--output-dir", folder])
        .args(more)
}

/// The first of a run's results in which two runs differ.
pub fn difference(workspace: &Workspace, one: &str, two: &str) -> Option<&'static str> {
    let bytes = |folder: &str, file: &str| {
        let path = workspace.join(folder).join(file);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    RESULTS
        .into_iter()
        .find(|file| bytes(one, file) != bytes(two, file))
}
