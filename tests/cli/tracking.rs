//! What a run leaves for others to read: rows that say all, event files, an offline run, and a
//! replay that finds what was changed.

use std::path::Path;
use std::process::Command;

use rlhf_test_support::{Run, Workspace, component, rlhf};
use serde_json::Value;

use crate::{SMALL, call};

/// A short PPO run whose reward is a metric in the workspace and a shipped shaper.
fn train(workspace: &Workspace) -> Run {
    let small = SMALL
        .replace("steps = 2\n", "steps = 3\nbatch_size = 8\n")
        .replace("samples_per_prompt = 4", "samples_per_prompt = 2");
    workspace.write("small.toml", small);
    std::fs::copy(component("metric-bleu"), workspace.join("mine.wasm")).expect("copied");
    let arguments = [
        ["--mode", "fast"],
        ["--config", "small.toml"],
        ["--method", "ppo"],
        ["--plugin", "mine.wasm,name=mine,weight=2"],
        ["--plugin", "length,weight=0.5,on-failure=penalty:-1"],
        ["--output-dir", "run"],
        ["--wandb", "offline"],
    ];
    call(workspace, &arguments.concat()).expect_code(0)
}

fn rows(workspace: &Workspace, file: &str) -> Vec<Value> {
    let text = workspace.read(format!("run/{file}"));
    let row = |line| serde_json::from_str(line).expect("a row is JSON");
    text.lines().map(row).collect()
}

/// Tags and steps of the scalars in a run's event file: TFRecords of `Event` messages.
pub fn scalars(run: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(run).expect("a folder");
    let files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("events.out.tfevents."))
        .collect();
    let [file] = files.as_slice() else {
        panic!("{files:?}");
    };
    let bytes = std::fs::read(file).expect("a file");
    let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
    while let Some((length, tail)) = rest.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length) as usize;
        let event = fields(&tail[4..4 + length]);
        rest = &tail[4 + length + 4..];
        let step = event.iter().find_map(|(number, value)| match value {
            Field::Varint(step) if *number == 2 => Some(*step),
            _ => None,
        });
        for (_, summary) in event.iter().filter(|(number, _)| *number == 5) {
            let Field::Bytes(summary) = summary else {
                continue;
            };
            for (_, value) in fields(summary) {
                let Field::Bytes(value) = value else { continue };
                let value = fields(value);
                let is_scalar = value.iter().any(|(number, _)| *number == 2);
                let tag = value.iter().find(|(number, _)| *number == 1);
                if let (true, Some((_, Field::Bytes(tag)))) = (is_scalar, tag) {
                    let tag = String::from_utf8_lossy(tag).into_owned();
                    found.push((tag, step.unwrap_or(0)));
                }
            }
        }
    }
    found
}

/// Rows of the history in a run's offline Weights & Biases run: the keys of each, without the
/// clock's, and its step where it has one. Records lie in blocks, in parts where they must.
pub fn history(run: &Path) -> Vec<(Vec<String>, Option<u64>)> {
    const BLOCK: usize = 32 << 10;
    const HEADER: usize = 7;
    let only = |folder: &Path, end: &str| {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let found: Vec<_> = paths
            .filter(|path| path.to_string_lossy().ends_with(end))
            .collect();
        let [path] = found.as_slice() else {
            panic!("{found:?}");
        };
        path.clone()
    };
    let bytes = std::fs::read(only(&only(&run.join("wandb"), ""), ".wandb")).expect("a file");
    let (mut at, mut record, mut found) = (HEADER, Vec::new(), Vec::new());
    while at < bytes.len() {
        let room = BLOCK - at % BLOCK;
        if room < HEADER {
            at += room;
            continue;
        }
        let length = usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
        record.extend_from_slice(&bytes[at + HEADER..at + HEADER + length]);
        // The only part of a record, or its last.
        if [1, 4].contains(&bytes[at + 6]) {
            let whole = std::mem::take(&mut record);
            for (_, field) in fields(&whole).iter().filter(|(number, _)| *number == 2) {
                let Field::Bytes(row) = field else { continue };
                found.push(history_row(row));
            }
        }
        at += HEADER + length;
    }
    let steps = found.iter().map(|(_, _, at)| *at);
    assert!(steps.eq((0..found.len()).map(Some)), "rows are not counted");
    let rows = found.into_iter();
    rows.map(|(keys, step, _)| (keys, step.map(|step| step as u64)))
        .collect()
}

/// Keys of a row, its step and its number.
fn history_row(bytes: &[u8]) -> (Vec<String>, Option<usize>, Option<usize>) {
    let (mut keys, mut step, mut number) = (Vec::new(), None, None);
    for (_, item) in fields(bytes) {
        let Field::Bytes(item) = item else { continue };
        let item = fields(item);
        let texts = |wanted: u64| -> Vec<String> {
            let of_item = item.iter().filter(|(number, _)| *number == wanted);
            let texts = of_item.filter_map(|(_, field)| match field {
                Field::Bytes(text) => Some(String::from_utf8_lossy(text).into_owned()),
                _ => None,
            });
            texts.collect()
        };
        let (key, value) = (texts(2).join("/"), texts(16).concat());
        match key.as_str() {
            "_step" => number = value.parse().ok(),
            "_timestamp" | "_runtime" => {}
            _ if key.ends_with("global_step") => {
                step = value.parse().ok();
                keys.push(key);
            }
            _ => keys.push(key),
        }
    }
    keys.sort();
    (keys, step, number)
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a protocol buffer's message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (inside, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(inside)
            }
            kind => {
                bytes = &bytes[if kind == 1 { 8 } else { 4 }..];
                Field::Other
            }
        };
        found.push((key >> 3, field));
    }
    found
}

/// Checks that a run tells each number once: no tag has two points at a step, neither in
/// `metrics.jsonl` nor in the event file. The warm-up's steps are its own, and so is what was
/// before them.
pub fn check_once(workspace: &Workspace, run: &str, main: &str) {
    let mut told = Vec::new();
    for row in workspace.read(format!("{run}/metrics.jsonl")).lines() {
        let row: Value = serde_json::from_str(row).expect("a row is JSON");
        let stage = match row["stage"].as_str().expect("a stage") {
            "evaluate before warm-up" => "warm-up",
            evaluation if evaluation.starts_with("evaluate ") => main,
            stage => stage,
        };
        let tags = row.as_object().expect("an object").keys();
        let tags = tags.filter(|tag| !["stage", "step"].contains(&tag.as_str()));
        told.extend(tags.map(|tag| (format!("{stage}: {tag}"), row["step"].as_u64().unwrap_or(0))));
    }
    assert!(told.iter().any(|(tag, _)| tag.contains("eval/")));
    for mut points in [told, scalars(&workspace.join(run))] {
        points.sort();
        let twice: Vec<_> = points.windows(2).filter(|two| two[0] == two[1]).collect();
        assert!(twice.is_empty(), "{run}: {twice:?}");
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Would catch a part, a hash or a cost that is not logged, a reward that is not the sum of its
/// parts, a change that a replay does not name, and settings that do not repeat the run.
#[test]
fn rows_say_all_and_are_what_the_plugins_say() {
    let workspace = Workspace::new();
    let run = train(&workspace);
    assert!(run.stderr.contains("ppo: 3/3 steps in"), "{}", run.stderr);
    super::report::check_page(&workspace, "run");
    let completions = rows(&workspace, "completions.jsonl");
    let (learned, judged): (Vec<&Value>, Vec<&Value>) =
        completions.iter().partition(|row| row["stage"] == "ppo");
    assert_eq!((learned.len(), judged.len()), (24, 60));
    for row in &learned {
        let [metric, shaper] = ["mine", "length"].map(|name| &row["parts"][name]);
        let shaped = shaper["value"].as_f64().map_or(-1.0, |value| 0.5 * value);
        let sum = 2.0 * number(&metric["value"]) + shaped;
        assert!((sum - number(&row["reward"])).abs() < 1e-12, "{row}");
        assert_eq!(row["metrics"]["mine"]["value"], metric["value"]);
        assert_eq!(row["plugins"]["mine"].as_str().map(str::len), Some(12));
        let tokens = row["token_texts"]
            .as_array()
            .map(|tokens| tokens.len() as u64);
        assert_eq!(tokens, row["tokens"].as_u64());
    }
    assert!((1..=3).all(|step| learned.iter().filter(|row| row["step"] == step).count() == 8));
    let last = judged.last().expect("a row");
    assert_eq!(
        (&last["stage"], &last["step"]),
        (&"after ppo".into(), &3.into())
    );
    assert!(last["metrics"]["codebleu"]["components"]["syntax_match"].is_number());
    assert!(last.get("reward").is_none());
    let costs = rows(&workspace, "costs.jsonl");
    let of_step = |plugin: &str| {
        costs
            .iter()
            .find(|row| row["plugin"] == plugin && row["step"] == 2)
            .unwrap_or_else(|| panic!("no cost of {plugin}"))
    };
    for plugin in ["mine", "length"] {
        let row = of_step(plugin);
        assert_eq!(row["samples"], 8);
        assert!(
            number(&row["fuel"]) > 1000.0 && number(&row["seconds"]) > 0.0,
            "{row}"
        );
        let each = row["sample_seconds"].as_array().expect("a list");
        assert_eq!(each.len(), 8, "{row}");
        // Shares of the calls: with all threads together they are what the calls took.
        let sum: f64 = each.iter().map(number).sum();
        assert!(
            sum > 0.0 && sum < 2.0 * number(&row["call_seconds"]) + 0.01,
            "{row}"
        );
    }
    replays(&workspace);
    // The settings that it left make the same run; this one goes up by a `wandb` that notes how it
    // was called.
    let wandb = workspace.join("bin/wandb");
    workspace.write("bin/wandb", "#!/bin/sh\necho \"$@\" > called\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wandb, mode).expect("permissions are set");
    let path = std::env::var("PATH").expect("PATH");
    let quiet = crate::with_plugins(rlhf!(&workspace))
        .env(
            "PATH",
            format!("{}:{path}", workspace.join("bin").display()),
        )
        .args(["--config", "run/config.json", "--output-dir", "again"])
        .args(["--wandb", "online", "--quiet"])
        .run()
        .expect_code(0);
    for noise in [" steps", " responses", "results are in"] {
        assert!(!quiet.stderr.contains(noise), "{}", quiet.stderr);
    }
    let called = workspace.read("called");
    assert!(
        called.starts_with("sync again/wandb/offline-run-"),
        "{called}"
    );
    for file in [
        "completions.jsonl",
        "metrics.jsonl",
        "tasks.jsonl",
        "final/model.safetensors",
    ] {
        let [a, b] = ["run", "again"].map(|folder| {
            std::fs::read(workspace.join(folder).join(file)).expect("the file is there")
        });
        // The test has changed a row of the first one.
        assert!(a == b || file == "completions.jsonl", "{file} differs");
    }
}

fn replays(workspace: &Workspace) {
    call(workspace, &["replay", "run"])
        .expect_code(0)
        .expect_stdout("84 responses computed again: all numbers are the logged ones");
    call(
        workspace,
        &["replay", "run", "--step", "2", "--sample", "0"],
    )
    .expect_code(0)
    .expect_stdout("1 responses computed again");
    call(workspace, &["replay", "run", "--step", "77"])
        .expect_code(2)
        .expect_stderr("has no such row");
    // One number of one row.
    let text = workspace.read("run/completions.jsonl");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines
        .iter()
        .position(|line| line.contains("\"stage\":\"ppo\""))
        .expect("a row");
    let mut row: Value = serde_json::from_str(&lines[at]).expect("JSON");
    row["parts"]["mine"]["value"] = (number(&row["parts"]["mine"]["value"]) + 0.25).into();
    let id = row["id"].as_str().expect("an id").to_owned();
    lines[at] = row.to_string();
    workspace.write("run/completions.jsonl", lines.join("\n") + "\n");
    let run = call(workspace, &["replay", "run"]).expect_code(2);
    let place = format!(
        "completions.jsonl, line {} (ppo, step 1, sample {id})",
        at + 1
    );
    assert!(
        run.stdout
            .starts_with(&format!("{place}: `parts.mine.value`: logged ")),
        "{}",
        run.stdout
    );
    assert!(
        run.stderr.contains("1 of 84 responses differ"),
        "{}",
        run.stderr
    );
    // Another plugin under the same name.
    let mine = workspace.join("mine.wasm");
    std::fs::copy(component("metric-edit-similarity"), &mine).expect("copied");
    let run = call(workspace, &["replay", "run", "--step", "1"]).expect_code(3);
    assert!(
        run.stdout
            .starts_with("plugin `mine` is another: the run pinned sha256 ")
            && run.stdout.contains("`metrics.mine.value`: logged "),
        "{}",
        run.stdout
    );
    std::fs::copy(component("metric-bleu"), &mine).expect("copied");
}

/// Reads both with their own libraries: argument 1 is the run's folder.
const PEER: &str = r#"
import glob, json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
run = sys.argv[1]
events = EventAccumulator(run, size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
events.Reload()
tags = events.Tags()
def scalars(tag):
    return [[e.step, e.value] for e in events.Scalars(tag)]
content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
text = events.Tensors("completions/text_summary")[-1].tensor_proto.string_val[0].decode()
histogram = events.Histograms("rewards/total")[0].histogram_value
tensorboard = {
    "scalars": {tag: scalars(tag) for tag in tags["scalars"]},
    "text": text,
    "histogram": [histogram.num, sum(histogram.bucket)],
    "rate": start.hparams["training.learning_rate"].number_value,
    "model": start.hparams["model.base_model_name"].string_value,
}
from wandb.proto import wandb_internal_pb2
path, = glob.glob(run + "/wandb/offline-run-*/run-*.wandb")
import wandb
wandb._assert_is_internal_process = True
from wandb.sdk.internal.datastore import DataStore
store = DataStore()
store.open_for_scan(path)
history, config, summary, sorts = [], {}, {}, []
while (data := store.scan_data()) is not None:
    record = wandb_internal_pb2.Record.FromString(data)
    sort = record.WhichOneof("record_type")
    sorts.append(sort)
    if sort == "history":
        history.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item})
    elif sort == "run":
        config = {i.key: json.loads(i.value_json) for i in record.run.config.update}
        project = record.run.project
    elif sort == "summary":
        summary = {i.key: json.loads(i.value_json) for i in record.summary.update}
print(json.dumps({"tensorboard": tensorboard, "wandb": {
    "history": history, "config": config, "summary": summary, "sorts": sorts, "project": project}}))
"#;

/// What the official readers find in a run's folder.
fn peer(python: &Path, run: &Path) -> Value {
    let output = Command::new(python)
        .args(["-c", PEER])
        .arg(run)
        .output()
        .expect("the peer's Python starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Would catch event files and offline runs that their own libraries do not read, numbers that are
/// not those of `metrics.jsonl`, and a resumed run that loses what came before.
#[test]
#[ignore = "needs a Python with tensorboard and wandb, which `cargo xtask deep` installs"]
fn official_readers_find_every_number() {
    let Some(python) = std::env::var_os("RLHF_READERS_PYTHON") else {
        eprintln!("not run: RLHF_READERS_PYTHON is not set");
        return;
    };
    let workspace = Workspace::new();
    train(&workspace);
    let check = || {
        let found = peer(Path::new(&python), &workspace.join("run"));
        let (board, wandb) = (&found["tensorboard"], &found["wandb"]);
        for row in rows(&workspace, "metrics.jsonl") {
            let stage = row["stage"].as_str().expect("a stage");
            let step = &row["step"];
            for (tag, value) in row.as_object().expect("an object") {
                let Some(value) = value.as_f64().filter(|_| tag != "step") else {
                    continue;
                };
                let tag = match stage {
                    "warm-up" | "evaluate before warm-up" => format!("warm-up/{tag}"),
                    _ => tag.clone(),
                };
                let close = |found: &Value| {
                    found
                        .as_f64()
                        .is_some_and(|f| (f - value).abs() <= 1e-6 * value.abs())
                };
                let points = board["scalars"][&tag].as_array().expect(&tag);
                assert!(
                    points
                        .iter()
                        .any(|point| point[0] == *step && close(&point[1])),
                    "TensorBoard has no {tag} {value} at step {step}"
                );
                let history = wandb["history"].as_array().expect("a list");
                assert!(
                    history.iter().any(|row| row[&tag].as_f64() == Some(value)),
                    "Weights & Biases has no {tag} {value}"
                );
            }
        }
        found
    };
    let found = check();
    let (board, wandb) = (&found["tensorboard"], &found["wandb"]);
    assert!(
        board["text"]
            .as_str()
            .is_some_and(|text| text.contains("**Response**"))
    );
    assert_eq!(board["histogram"], serde_json::json!([8.0, 8.0]));
    assert_eq!(board["rate"], 1e-4);
    assert_eq!(board["model"], "builtin:tiny-code");
    assert_eq!(wandb["project"], "rlhf");
    assert_eq!(wandb["config"]["training"]["steps"], 3);
    assert!(
        wandb["summary"]["eval/bleu"].is_number(),
        "{}",
        wandb["summary"]
    );
    let sorts = wandb["sorts"].as_array().expect("a list");
    assert_eq!(
        (&sorts[0], &sorts[1], &sorts[sorts.len() - 1]),
        (&"header".into(), &"run".into(), &"exit".into())
    );
    let steps: Vec<u64> = wandb["history"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["_step"].as_u64().expect("a step"))
        .collect();
    assert!(steps.iter().copied().eq(0..steps.len() as u64));
    // Gone on with, both files tell the whole run again.
    std::fs::remove_dir_all(workspace.join("run/final")).expect("it was there");
    let again = [
        "--config",
        "run/config.json",
        "--output-dir",
        "run",
        "--resume",
    ];
    call(&workspace, &again).expect_code(0);
    check();
}
