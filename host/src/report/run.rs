//! A run's folder as the report reads it: what is there, and nothing that is not.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Why a report can't be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{}` holds no run: there is neither a summary.json nor a metrics.jsonl\nhint: give the folder that --output-dir named", .0.display())]
    NoRun(PathBuf),
    #[error("cannot read `{}`: {source}", .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}`{line} is no JSON: {problem}", .path.display(), line = .line.map(|line| format!(", line {line},")).unwrap_or_default())]
    Json {
        path: PathBuf,
        line: Option<usize>,
        problem: String,
    },
    #[error("cannot write `{}`: {source}", .path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// One row of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    pub stage: String,
    pub step: u64,
    pub values: Vec<(String, f64)>,
}

/// What one plugin took over the whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    pub samples: f64,
    pub seconds: f64,
    /// Of the sample that took the longest.
    pub slowest: f64,
    pub fuel: f64,
    pub memory_bytes: f64,
    pub failures: BTreeMap<String, f64>,
}

/// The files of a run. Values are null, and lists empty, where a file is not there.
#[derive(Clone, Debug, Default)]
pub struct RunFiles {
    /// The folder's name.
    pub name: String,
    pub folder: PathBuf,
    pub config: Value,
    pub manifest: Value,
    pub summary: Value,
    /// What the run has warned of.
    pub warnings: Vec<String>,
    pub metrics: Vec<Numbers>,
    /// Rows of the evaluations, by stage in the order of the file.
    pub evaluations: Vec<(String, Vec<Value>)>,
    /// Responses of the last step that was learned from.
    pub learned: Vec<Value>,
    pub costs: BTreeMap<String, Cost>,
    /// References by task.
    pub references: HashMap<String, String>,
}

impl RunFiles {
    /// Reads what the folder holds.
    ///
    /// # Errors
    /// It holds no run, or a file can't be read.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let has = |name: &str| folder.join(name).is_file();
        if !has("summary.json") && !has("metrics.jsonl") {
            return Err(Error::NoRun(folder.to_owned()));
        }
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = whole.file_name().unwrap_or(folder.as_os_str());
        let mut run = Self {
            name: name.to_string_lossy().into_owned(),
            folder: folder.to_owned(),
            config: json(&folder.join("config.json"))?,
            manifest: json(&folder.join("manifest.json"))?,
            summary: json(&folder.join("summary.json"))?,
            ..Self::default()
        };
        let told = run.summary["warnings"].as_array().cloned();
        run.warnings = told
            .into_iter()
            .flatten()
            .map(|w| text(&w).to_owned())
            .collect();
        if run.summary.is_null() {
            rows(&folder.join("warnings.jsonl"), |row| {
                run.warnings.push(text(&row["message"]).to_owned());
            })?;
        }
        rows(&folder.join("metrics.jsonl"), |row| {
            let values = row.as_object().into_iter().flatten();
            let values = values
                .filter(|(tag, _)| !["stage", "step"].contains(&tag.as_str()))
                .map(|(tag, value)| (tag.clone(), value.as_f64().unwrap_or(f64::NAN)));
            run.metrics.push(Numbers {
                stage: text(&row["stage"]).to_owned(),
                step: row["step"].as_u64().unwrap_or(0),
                values: values.collect(),
            });
        })?;
        rows(&folder.join("tasks.jsonl"), |row| {
            if row["split"] == "evaluation"
                && let Some(reference) = row["references"][0].as_str()
            {
                let id = text(&row["id"]).to_owned();
                run.references.insert(id, reference.to_owned());
            }
        })?;
        // A long training leaves more responses than a page, or the memory, has room for.
        let mut step = 0;
        rows(&folder.join("completions.jsonl"), |row| {
            let stage = text(&row["stage"]);
            if !is_evaluation(stage) {
                let at = row["step"].as_u64().unwrap_or(0);
                if at > step {
                    step = at;
                    run.learned.clear();
                }
                run.learned.push(row);
                return;
            }
            match run.evaluations.iter_mut().find(|(of, _)| of == stage) {
                Some((_, rows)) => rows.push(row),
                None => run.evaluations.push((stage.to_owned(), vec![row])),
            }
        })?;
        if run.learned.is_empty() {
            rows(&folder.join("rewards.jsonl"), |row| run.learned.push(row))?;
        }
        rows(&folder.join("costs.jsonl"), |row| {
            let number = |key: &str| row[key].as_f64().unwrap_or(0.0);
            let cost = run
                .costs
                .entry(text(&row["plugin"]).to_owned())
                .or_default();
            cost.samples += number("samples");
            cost.seconds += number("seconds");
            let each = row["sample_seconds"].as_array().into_iter().flatten();
            let each = each.filter_map(Value::as_f64);
            cost.slowest = each.fold(cost.slowest, f64::max);
            cost.fuel += number("fuel");
            cost.memory_bytes = cost.memory_bytes.max(number("memory_bytes"));
            for (kind, count) in row["failures"].as_object().into_iter().flatten() {
                *cost.failures.entry(kind.clone()).or_default() += count.as_f64().unwrap_or(0.0);
            }
        })?;
        Ok(run)
    }

    /// The points of a curve of a stage.
    pub fn curve(&self, stage: &str, tag: &str) -> Vec<(f64, f64)> {
        let rows = self.metrics.iter().filter(|row| row.stage == stage);
        rows.filter_map(|row| {
            let (_, value) = row.values.iter().find(|(of, _)| of == tag)?;
            Some((row.step as f64, *value))
        })
        .collect()
    }

    /// Stages with curves, in their order, evaluations left out.
    pub fn stages(&self) -> Vec<&str> {
        let mut stages: Vec<&str> = Vec::new();
        for row in &self.metrics {
            if !row.stage.starts_with("evaluate ") && !stages.contains(&row.stage.as_str()) {
                stages.push(&row.stage);
            }
        }
        stages
    }

    /// The tags of a stage, in their order.
    pub fn tags(&self, stage: &str) -> Vec<&str> {
        let mut tags: Vec<&str> = Vec::new();
        for row in self.metrics.iter().filter(|row| row.stage == stage) {
            for (tag, _) in &row.values {
                if !tags.contains(&tag.as_str()) {
                    tags.push(tag);
                }
            }
        }
        tags
    }

    /// The stage that the run is about.
    fn main_stage(&self) -> &str {
        match text(&self.config["training"]["method"]) {
            "sft" => "warm-up",
            method => method,
        }
    }

    /// Tags of the metrics that held-out tasks were judged by: `eval/METRIC`.
    pub fn judged_tags(&self) -> Vec<&str> {
        let judged = |row: &&Numbers| row.stage.starts_with("evaluate ");
        let mut tags: Vec<&str> = Vec::new();
        for row in self.metrics.iter().filter(judged) {
            for (tag, _) in &row.values {
                if !tags.contains(&tag.as_str()) {
                    tags.push(tag);
                }
            }
        }
        tags
    }

    /// A number of the held-out tasks by the epochs of the training: before, in its middle, after.
    pub fn by_epoch(&self, tag: &str) -> Vec<(f64, f64)> {
        let main = self.main_stage();
        let epochs = self.curve(main, "epoch");
        let epoch_of = |step: f64| {
            let found = epochs.iter().find(|(at, _)| *at == step);
            found.map(|(_, epoch)| *epoch)
        };
        let of_main = |row: &Numbers| row.stage == main;
        let (Some(first), Some(last), Some((_, end))) = (
            self.metrics.iter().position(of_main),
            self.metrics.iter().rposition(of_main),
            epochs.last(),
        ) else {
            return Vec::new();
        };
        let judged = |row: &Numbers| -> Option<f64> {
            let of_tag = row.values.iter().find(|(of, _)| of == tag);
            let value = of_tag.map(|(_, value)| *value);
            value.filter(|_| row.stage.starts_with("evaluate "))
        };
        let before = self.metrics[..first].iter().rev().find_map(judged);
        let after = self.metrics[last..].iter().find_map(judged);
        let middle = self.curve(main, tag).into_iter();
        let middle = middle.filter_map(|(step, value)| Some((epoch_of(step)?, value)));
        let mut points: Vec<(f64, f64)> = before.map(|value| (0.0, value)).into_iter().collect();
        points.extend(middle);
        points.extend(after.map(|value| (*end, value)));
        points
    }

    /// What a metric should come to.
    pub fn target(&self, metric: &str) -> Option<f64> {
        let mut targets = self.summary["targets"].as_array().into_iter().flatten();
        targets.find(|of| of["metric"] == metric)?["target"].as_f64()
    }

    /// Whether it is the training of a reward model.
    pub fn is_reward_model(&self) -> bool {
        self.summary.get("accuracy").is_some()
    }
}

/// Whether responses of a stage were judged, and not learned from.
fn is_evaluation(stage: &str) -> bool {
    stage.starts_with("before ") || stage.starts_with("after ")
}

/// A JSON value's text; empty for what is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A file of JSON; null if there is none.
fn json(path: &Path) -> Result<Value, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(source) => {
            return Err(Error::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| Error::Json {
        path: path.to_owned(),
        line: None,
        problem: error.to_string(),
    })
}

/// Each row of a file of JSON Lines; none if there is no file.
///
/// # Errors
/// It can't be read, or a row but the last, which may be cut off, is no JSON.
pub fn rows(path: &Path, mut each: impl FnMut(Value)) -> Result<(), Error> {
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(read(error)),
    };
    let mut lines = BufReader::new(file).lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        match serde_json::from_str(&line.map_err(read)?) {
            Ok(row) => each(row),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => {
                return Err(Error::Json {
                    path: path.to_owned(),
                    line: Some(at + 1),
                    problem: error.to_string(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Would catch a number that stands at another epoch than it was taken at, and the warm-up's
    // evaluation taken for the training's.
    #[test]
    fn numbers_of_the_held_out_tasks_have_their_epochs() {
        let row = |stage: &str, step: u64, values: &[(&str, f64)]| Numbers {
            stage: stage.to_owned(),
            step,
            values: values.iter().map(|(t, v)| ((*t).to_owned(), *v)).collect(),
        };
        let mut metrics = vec![
            row("evaluate before warm-up", 0, &[("eval/bleu", 0.1)]),
            row("warm-up", 1, &[("epoch", 0.5)]),
            row("evaluate after warm-up", 0, &[("eval/bleu", 0.2)]),
        ];
        for step in 1..=4 {
            metrics.push(row("ppo", step, &[("epoch", step as f64 / 2.0)]));
            // What was after the last step is told once, by the evaluation after the training.
            if step < 4 {
                let value = 0.2 + step as f64 / 10.0;
                metrics.push(row("ppo", step, &[("eval/bleu", value), ("eval/x", 1.0)]));
            }
        }
        metrics.push(row("evaluate after ppo", 4, &[("eval/bleu", 0.7)]));
        let mut run = RunFiles {
            config: json!({ "training": { "method": "ppo" } }),
            metrics,
            ..RunFiles::default()
        };
        assert_eq!(run.judged_tags(), ["eval/bleu"]);
        let points = run.by_epoch("eval/bleu");
        let epochs: Vec<f64> = points.iter().map(|(epoch, _)| *epoch).collect();
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        assert_eq!(epochs, [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(values, [0.2, 0.2 + 0.1, 0.2 + 0.2, 0.2 + 0.3, 0.7]);
        // A run that is still at work.
        run.metrics.pop();
        let last = run.by_epoch("eval/bleu").pop();
        assert_eq!(last, Some((1.5, 0.2 + 0.3)));
    }
}
