//! Computes logged scores and rewards again and names what differs.
//!
//! A row of `completions.jsonl` or `rewards.jsonl` and its task in `tasks.jsonl` are all that a
//! plugin saw. What the plugins say of it now is put into a row of the same form, and the rows
//! are compared number by number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value;

use super::completions::{Judged, task_of};
use super::plugins::{Rankable, TESTS};
use super::samples::{Judging, measure};
use super::{Error, Plugins, human, reward_model, steps};
use crate::config::{Config, Method};
use crate::plugin::reward_shaper::Rollout;
use crate::plugin::{Runtime, Sample, Spec};
use crate::report::run::{self, text};
use crate::reward::LearnedReward;

/// Numbers of plugins are the same on every machine; JSON keeps 17 digits of them.
const TOLERANCE: f64 = 1e-12;
/// A reward model's are sums in single precision, in another order on another machine.
const MODEL_TOLERANCE: f64 = 1e-4;

/// Which rows are computed again.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of this step.
    pub step: Option<u64>,
    /// With this id, or at this place in their step, from 0.
    pub sample: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Rows that were computed again.
    pub rows: usize,
    /// Rows that differ.
    pub different: usize,
    /// Each number that differs, a line each.
    pub differences: Vec<String>,
    /// Plugins whose bytes are others than those that were pinned, a line each.
    pub plugins: Vec<String>,
    /// What could not be computed again, and why.
    pub notes: Vec<String>,
}

/// What a task adds to a row.
struct Task {
    references: Vec<String>,
    tests: Vec<String>,
    language: String,
}

/// By split, id and prompt: ids may be those of rows in several files.
type Tasks = HashMap<(String, String, String), Task>;

/// A row, and the line where it stands.
type Row = (usize, Value);

/// Computes the selected rows of the run in `folder` again. Rows that were judged together are
/// judged together again, since some metrics look at the whole set.
///
/// # Errors
/// The folder holds no run with such files, a plugin can't be loaded, or fails so that the run
/// would have ended.
pub fn replay(folder: &Path, selection: &Selection) -> Result<Outcome, Error> {
    let config = config(folder)?;
    let specs = config.plugins.iter().map(Spec::of_entry);
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let runtime = Runtime::of_user()?;
    let mut plugins = Plugins::load(&runtime, &config, &specs)?;
    let mut outcome = Outcome::default();
    let pins = pins(folder)?;
    if let Some(method) = config.training.method {
        // A run without tests in its tasks has no plugin for them.
        let tasks = Rankable {
            tests: pins.iter().any(|(name, _)| name == TESTS),
            references: true,
        };
        plugins.default_reward(&runtime, &config, method, tasks)?;
    }
    for (name, pinned) in &pins {
        let now = plugins.pins.iter().find(|pin| pin.name == *name);
        match now {
            Some(now) if now.sha256 == *pinned => {}
            Some(now) => outcome.plugins.push(format!(
                "plugin `{name}` is another: the run pinned sha256 {pinned}, `{}` has {}",
                now.path, now.sha256
            )),
            // An adapter has no part in a reward.
            None if is_adapter(folder, name)? => {}
            None => outcome
                .plugins
                .push(format!("plugin `{name}` of the run was not found")),
        }
    }
    let own = Some(folder.join(human::FOLDER)).filter(|own| own.is_dir());
    let model = own
        .or_else(|| reward_model::trained(&config))
        .map(|path| LearnedReward::load(&path, config.training.max_length, &Device::Cpu))
        .transpose()?;
    let mut replay = Replay {
        judging: Judging {
            config: &config,
            plugins: &plugins,
            reward_model: false,
            steps_total: steps_total(folder, &config)?,
        },
        model,
        tasks: tasks(folder)?,
        pins,
        selection,
        outcome,
    };
    for file in ["completions.jsonl", "rewards.jsonl"] {
        let mut group: Vec<Row> = Vec::new();
        let mut line = 0;
        let mut failed = Ok(());
        run::rows(&folder.join(file), |row| {
            line += 1;
            let same =
                |(_, first): &Row| first["stage"] == row["stage"] && first["step"] == row["step"];
            if failed.is_ok() && !group.first().is_none_or(same) {
                failed = replay.group(file, &std::mem::take(&mut group));
            }
            group.push((line, row));
        })?;
        failed?;
        replay.group(file, &group)?;
    }
    let mut outcome = replay.outcome;
    if outcome.rows == 0 {
        return Err(Error::Input(format!(
            "`{}` has no such row\nhint: `step` and `id` of its completions.jsonl and rewards.jsonl say which there are",
            folder.display()
        )));
    }
    outcome.notes.dedup();
    Ok(outcome)
}

struct Replay<'a> {
    judging: Judging<'a>,
    model: Option<LearnedReward>,
    tasks: Tasks,
    /// Name and sha256 of each plugin.
    pins: Vec<(String, String)>,
    selection: &'a Selection,
    outcome: Outcome,
}

impl Replay<'_> {
    /// Judges rows that were judged together.
    fn group(&mut self, file: &str, rows: &[Row]) -> Result<(), Error> {
        let selected: Vec<usize> = (0..rows.len())
            .filter(|at| self.is_selected(*at, &rows[*at].1))
            .collect();
        if selected.is_empty() {
            return Ok(());
        }
        let (stage, step) = {
            let first = &rows[0].1;
            (text(&first["stage"]), first["step"].as_u64().unwrap_or(0))
        };
        let mut rollouts = Vec::with_capacity(rows.len());
        for (line, row) in rows {
            rollouts.push(self.rollout(file, *line, stage, row)?);
        }
        let logged_scores = rollouts.iter().any(|r| r.reward_model_score.is_some());
        let judged = if rows[0].1.get("parts").is_some() {
            let judging = Judging {
                reward_model: logged_scores,
                ..self.judging
            };
            if logged_scores && self.model.is_none() {
                let name = &self.judging.config.model.reward_model_name;
                self.outcome.notes.push(format!(
                    "the reward model `{name}` is not there: its logged scores were taken as they are"
                ));
            }
            let model = self.model.as_ref().filter(|_| logged_scores);
            // Rows count steps from 1, and shapers from 0.
            judging.judge(step.saturating_sub(1), rollouts, model)?
        } else {
            let mut judged = Judged::of(rollouts);
            for metric in &self.judging.plugins.metrics {
                measure(&mut judged, metric);
            }
            judged
        };
        let again = judged.rows(stage, step, &self.judging.plugins.hashes());
        for at in selected {
            let (line, logged) = &rows[at];
            self.compare(file, *line, logged, &again[at]);
        }
        Ok(())
    }

    fn is_selected(&self, at: usize, row: &Value) -> bool {
        let Selection { step, sample } = self.selection;
        let of_step = step.is_none_or(|step| row["step"] == step);
        let of_sample = sample
            .as_ref()
            .is_none_or(|sample| row["id"] == **sample || *sample == at.to_string());
        of_step && of_sample
    }

    /// The response as the plugins saw it.
    fn rollout(&self, file: &str, line: usize, stage: &str, row: &Value) -> Result<Rollout, Error> {
        let split = match stage {
            "sample held-out" => "development",
            stage if stage.starts_with("before ") || stage.starts_with("after ") => "evaluation",
            _ => "train",
        };
        let (id, prompt) = (text(&row["id"]), text(&row["prompt"]));
        let key = (split.to_owned(), task_of(id).to_owned(), prompt.to_owned());
        let task = self.tasks.get(&key).ok_or_else(|| {
            Error::Input(format!(
                "{file}, line {line}: tasks.jsonl has no {split} task `{}` with its prompt",
                task_of(id)
            ))
        })?;
        let tokens = match row["token_texts"].as_array() {
            Some(tokens) => tokens.iter().map(|token| text(token).to_owned()).collect(),
            None => {
                let count = row["tokens"].as_u64().unwrap_or(0);
                vec![String::new(); usize::try_from(count).unwrap_or(0)]
            }
        };
        Ok(Rollout {
            sample: Sample {
                id: id.to_owned(),
                prompt: prompt.to_owned(),
                response: text(&row["response"]).to_owned(),
                references: task.references.clone(),
                language: task.language.clone(),
                tests: task.tests.clone(),
            },
            tokens,
            reward_model_score: row["reward_model"].as_f64(),
            metrics: Vec::new(),
            execution: None,
            kl: row["kl"].as_f64(),
            finish_reason: text(&row["finish"]).to_owned(),
        })
    }

    fn compare(&mut self, file: &str, line: usize, logged: &Value, again: &Value) {
        self.outcome.rows += 1;
        let before = self.outcome.differences.len();
        let place = format!(
            "{file}, line {line} ({}, step {}, sample {})",
            text(&logged["stage"]),
            logged["step"],
            text(&logged["id"])
        );
        for key in ["metrics", "reward_model", "reward", "parts"] {
            let mut differ = |path: &str, logged: &Value, again: &Value| {
                self.outcome.differences.push(format!(
                    "{place}: `{path}`: logged {}, computed again {}",
                    shown(logged),
                    shown(again)
                ));
            };
            compare(key, &logged[key], &again[key], &mut differ);
        }
        for (name, hash) in logged["plugins"].as_object().into_iter().flatten() {
            let pin = self.pins.iter().find(|(of, _)| of == name);
            if !pin.is_some_and(|(_, pin)| pin.starts_with(text(hash))) {
                self.outcome.differences.push(format!(
                    "{place}: `plugins.{name}`: the row says {}, the manifest {}",
                    text(hash),
                    pin.map_or("nothing of it", |(_, pin)| pin)
                ));
            }
        }
        self.outcome.different += usize::from(self.outcome.differences.len() > before);
    }
}

/// Calls `differ` for each leaf that is not the same.
fn compare(
    path: &str,
    logged: &Value,
    again: &Value,
    differ: &mut impl FnMut(&str, &Value, &Value),
) {
    match (logged, again) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                compare(&format!("{path}.{key}"), value, &again[key], differ);
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                differ(&format!("{path}.{key}"), &Value::Null, value);
            }
        }
        _ => {
            let same = match (logged.as_f64(), again.as_f64()) {
                (Some(a), Some(b)) => close(path, a, b),
                _ => logged == again,
            };
            if !same {
                differ(path, logged, again);
            }
        }
    }
}

fn close(path: &str, a: f64, b: f64) -> bool {
    // A sum with a reward model's score in it is as exact as that is.
    let of_model = path.contains("reward_model") || path == "reward";
    let tolerance = if of_model { MODEL_TOLERANCE } else { TOLERANCE };
    (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        other => other.to_string(),
    }
}

/// The run's settings.
fn config(folder: &Path) -> Result<Config, Error> {
    let path = folder.join("config.json");
    let refuse = |problem: String| {
        Error::Input(format!(
            "`{}`: {problem}\nhint: give the folder that --output-dir named",
            path.display()
        ))
    };
    let bytes = std::fs::read(&path).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))
}

fn manifest(folder: &Path) -> Result<Value, Error> {
    let path = folder.join("manifest.json");
    let refuse = |problem: String| {
        Error::Input(format!(
            "`{}`: {problem}\nhint: it is written at a run's end, and has the plugins' hashes",
            path.display()
        ))
    };
    let bytes = std::fs::read(&path).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))
}

/// Name and sha256 of each plugin of the run.
fn pins(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let manifest = manifest(folder)?;
    let pins = manifest["plugins"].as_array().into_iter().flatten();
    let pin = |pin: &Value| {
        (
            text(&pin["name"]).to_owned(),
            text(&pin["sha256"]).to_owned(),
        )
    };
    Ok(pins.map(pin).collect())
}

fn is_adapter(folder: &Path, name: &str) -> Result<bool, Error> {
    let manifest = manifest(folder)?;
    let mut pins = manifest["plugins"].as_array().into_iter().flatten();
    Ok(pins.any(|pin| pin["name"] == name && pin["kind"] == "data-adapter"))
}

/// Steps of the run's training, as its shapers were told.
fn steps_total(folder: &Path, config: &Config) -> Result<u64, Error> {
    let Some(method) = config.training.method else {
        return Ok(0);
    };
    let mut prompts = 0;
    run::rows(&folder.join("tasks.jsonl"), |row| {
        prompts += usize::from(row["split"] == "train");
    })?;
    let examples = match method {
        Method::Dpo => config.preferences.prompts(prompts),
        _ => prompts,
    };
    Ok(steps::count(config, method, examples))
}

fn tasks(folder: &Path) -> Result<Tasks, Error> {
    let path: PathBuf = folder.join("tasks.jsonl");
    if !path.is_file() {
        return Err(Error::Input(format!(
            "`{}` is missing: the run is of a version that left no tasks behind",
            path.display()
        )));
    }
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.map(|one| text(one).to_owned()).collect()
    };
    let mut tasks = Tasks::new();
    run::rows(&path, |row| {
        let key = ["split", "id", "prompt"].map(|key| text(&row[key]).to_owned());
        let task = Task {
            references: texts(&row["references"]),
            tests: texts(&row["tests"]),
            language: text(&row["language"]).to_owned(),
        };
        tasks.insert(key.into(), task);
    })?;
    Ok(tasks)
}
