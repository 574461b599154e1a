//! A run's folder: made new, filled file by file, each written beside and renamed.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{Error, completions};
use crate::config::{Config, tracking};
use crate::files;
use crate::models::weights;
use crate::report::StageEvaluation;
use crate::tracking::jsonl::Jsonl;
use crate::tracking::once::Once;
use crate::tracking::pace::Timing;
use crate::tracking::tensorboard::TensorBoard;
use crate::tracking::wandb::Wandb;
use crate::tracking::warnings::{self, Warnings};
use crate::tracking::{All, Tracker, retell};
use crate::trainer::checkpoint;

/// Evaluations so far, for a run that is gone on with.
const EVALUATIONS: &str = "evaluations.json";

/// What the run has warned of.
const WARNINGS: &str = "warnings.jsonl";

/// Files whose presence says that a run has been here.
const TRACES: [&str; 3] = ["config.json", "metrics.jsonl", "summary.json"];

/// `folder`, or the first of `folder-2`, `folder-3`, … that holds no earlier run.
pub fn unused_folder(folder: &Path) -> PathBuf {
    let numbered = |number: u32| match number {
        1 => folder.to_owned(),
        _ => PathBuf::from(format!("{}-{number}", folder.display())),
    };
    (1..)
        .map(numbered)
        .find(|folder| RunFolder::check(folder, false).is_ok())
        .expect("numbers do not end")
}

/// The folder of a run.
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Refuses a folder that holds an earlier run, unless that is to be replaced.
    ///
    /// # Errors
    /// It does, and `overwrite` is off.
    pub fn check(folder: &Path, overwrite: bool) -> Result<(), Error> {
        if overwrite || !TRACES.iter().any(|file| folder.join(file).exists()) {
            return Ok(());
        }
        Err(Error::Input(format!(
            "the output folder `{}` holds an earlier run\nhint: name another with --output-dir or --experiment-name, or replace it with --overwrite",
            folder.display()
        )))
    }

    /// Makes the folder and takes what an earlier run left out of the way.
    ///
    /// # Errors
    /// It can't be made.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|error| {
            Error::Input(format!(
                "the output folder `{}` can't be made: {error}\nhint: name a folder that can be written with --output-dir",
                folder.display()
            ))
        })?;
        for file in TRACES.iter().chain(&[
            "completions.jsonl",
            "rewards.jsonl",
            "costs.jsonl",
            "timing.jsonl",
            WARNINGS,
            "tasks.jsonl",
            "manifest.json",
            "report.html",
            EVALUATIONS,
        ]) {
            match std::fs::remove_file(folder.join(file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Self(folder.to_owned()).write_error("earlier result", file, error));
                }
                _ => {}
            }
        }
        let this = Self(folder.to_owned());
        for inside in ["wandb", "plots"] {
            this.remove(inside)?;
        }
        // Nor may a checkpoint of that run be taken for one of this.
        checkpoint::remove_all(folder)
            .map_err(|error| this.write_error("earlier checkpoints", "", error))?;
        this.remove_partial()?;
        Ok(this)
    }

    /// Takes a folder inside away, where there is one.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&self, inside: &str) -> Result<(), Error> {
        match std::fs::remove_dir_all(self.path(inside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(self.write_error("earlier result", inside, error))
            }
            _ => Ok(()),
        }
    }

    /// What a run was writing when it was ended.
    fn remove_partial(&self) -> Result<(), Error> {
        let removed = weights::remove_partial(&self.0);
        let removed = removed.and_then(|()| files::remove_unfinished(&self.0));
        removed.map_err(|error| self.write_error("leftovers", "", error))
    }

    /// The folder of a run that goes on, with the stages in `judged` behind it. `again` are the
    /// trainings that are not, with the step of each that it goes on from; the first is the one
    /// that the run is about. What was written of later steps, and of what is done again, is
    /// taken out of its files.
    ///
    /// # Errors
    /// A file can't be read or written.
    pub fn reopen(
        folder: &Path,
        again: &[(&str, u64)],
        judged: &[StageEvaluation],
    ) -> Result<Self, Error> {
        let this = Self(folder.to_owned());
        this.remove_partial()?;
        let stage = again.first().map_or("", |(stage, _)| *stage);
        let later = |row: &serde_json::Value| {
            let after = |step: u64| row["step"].as_u64().is_none_or(|at| at > step);
            again
                .iter()
                .any(|(stage, step)| row["stage"] == *stage && after(*step))
        };
        // An evaluation that did not come to its end is done again from its beginning.
        let evaluated = |of: &str| judged.iter().any(|done| done.stage == of);
        let stage_of =
            |row: &serde_json::Value| row["stage"].as_str().unwrap_or_default().to_owned();
        let done_again = |row: &serde_json::Value| {
            let of = stage_of(row);
            later(row) || (of != stage && !evaluated(&of))
        };
        // Pairs of own samples are sampled again, and everything behind a step that is done again
        // as well.
        this.rewrite("rewards.jsonl", |_| true)?;
        this.rewrite("metrics.jsonl", |row| {
            let of = stage_of(row);
            let evaluation = of.strip_prefix("evaluate ");
            later(row) || evaluation.is_some_and(|of| !evaluated(of))
        })?;
        this.rewrite("completions.jsonl", done_again)?;
        this.rewrite("costs.jsonl", done_again)?;
        // What is said again is known; but its last line may have been cut.
        this.rewrite(WARNINGS, |_| false)?;
        Ok(this)
    }

    /// Leaves the rows of a file that stand before the first one which is `gone`.
    fn rewrite(&self, name: &str, gone: impl Fn(&serde_json::Value) -> bool) -> Result<(), Error> {
        let path = self.path(name);
        if !path.exists() {
            return Ok(());
        }
        let rewritten = || {
            let mut kept = String::new();
            for line in std::fs::read_to_string(&path)?.lines() {
                // A line that was cut by whatever ended the run is no JSON.
                match serde_json::from_str(line) {
                    Ok(row) if !gone(&row) => {
                        kept.push_str(line);
                        kept.push('\n');
                    }
                    _ => break,
                }
            }
            files::replace(&path, kept.as_bytes())
        };
        rewritten().map_err(|error| self.write_error("results", name, error))
    }

    /// Has the system write the rows so far to the disk: a checkpoint without them would leave a
    /// gap where the machine is ended.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn sync(&self) -> std::io::Result<()> {
        for name in ["metrics.jsonl", "completions.jsonl", "costs.jsonl"] {
            match std::fs::File::open(self.path(name)) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What the run has warned of, in order.
    pub fn warnings(&self) -> Vec<String> {
        warnings::read(&self.path(WARNINGS))
    }

    /// The evaluations that an interrupted run left in a folder.
    pub fn evaluations(folder: &Path) -> Vec<StageEvaluation> {
        let text = std::fs::read_to_string(folder.join(EVALUATIONS)).unwrap_or_default();
        let value = serde_json::from_str(&text).unwrap_or_default();
        serde_json::from_value(from_exact(value)).unwrap_or_default()
    }

    /// Keeps the evaluations so far, for a run that goes on.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep_evaluations(&self, evaluations: &[StageEvaluation]) -> Result<(), Error> {
        let value = serde_json::to_value(evaluations).expect("results are plain data");
        self.json(EVALUATIONS, &exact(value))
    }

    /// A file of the run; the folder itself for an empty name.
    pub fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.0.clone()
        } else {
            self.0.join(name)
        }
    }

    pub fn write_error(&self, what: &'static str, name: &str, source: std::io::Error) -> Error {
        Error::Write {
            what,
            path: self.path(name),
            source,
        }
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn json(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(value).expect("results are plain data");
        text.push('\n');
        files::replace(&self.path(name), text.as_bytes())
            .map_err(|error| self.write_error("result", name, error))
    }

    /// What writes the run's numbers into its folder. Of a run that goes on, those that make a new
    /// file are told what `metrics.jsonl` has already.
    ///
    /// # Errors
    /// A file can't be made.
    pub fn trackers(&self, config: &Config, main: &str) -> Result<Vec<Box<dyn Tracker>>, Error> {
        let metrics = "metrics.jsonl";
        let failed = |name: &'static str| move |error| self.write_error("metrics", name, error);
        let rows: Vec<serde_json::Value> = std::fs::read_to_string(self.path(metrics))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let settings = serde_json::to_value(config).expect("settings are plain data");
        let mut others: Vec<Box<dyn Tracker>> = Vec::new();
        if config.tracking.tensorboard {
            let tensorboard = TensorBoard::create(&self.0, main, &settings);
            others.push(Box::new(tensorboard.map_err(failed("events"))?));
        }
        if config.tracking.wandb != tracking::Wandb::Off {
            let name = self.0.file_name().unwrap_or(self.0.as_os_str());
            let name = name.to_string_lossy();
            let wandb = Wandb::create(&self.0, &name, main, &config.tracking, &settings);
            others.push(Box::new(wandb.map_err(failed("wandb"))?));
        }
        for tracker in &mut others {
            retell(&rows, tracker.as_mut());
            completions::retell(&self.path("completions.jsonl"), tracker.as_mut())?;
        }
        let jsonl = Jsonl::append(&self.path(metrics)).map_err(failed(metrics))?;
        others.insert(0, Box::new(jsonl));
        let mut others: Vec<Box<dyn Tracker>> = vec![Box::new(Once::new(All(others), &rows))];
        let timing = Timing::append(&self.path("timing.jsonl"), &config.evaluation, main);
        others.push(Box::new(timing.map_err(failed("timing.jsonl"))?));
        let warnings = Warnings::append(&self.path(WARNINGS)).map_err(failed(WARNINGS))?;
        others.push(Box::new(warnings));
        Ok(others)
    }

    /// Adds rows to a file of JSON Lines.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn append_rows(
        &self,
        name: &str,
        rows: impl IntoIterator<Item = serde_json::Value>,
    ) -> Result<(), Error> {
        let mut text = String::new();
        for row in rows {
            text.push_str(&row.to_string());
            text.push('\n');
        }
        self.append(name, &text)
    }

    /// Writes a file of JSON Lines in place of what was there.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_rows(
        &self,
        name: &str,
        rows: impl IntoIterator<Item = serde_json::Value>,
    ) -> Result<(), Error> {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(self.write_error("results", name, error))
            }
            _ => self.append_rows(name, rows),
        }
    }

    fn append(&self, name: &str, text: &str) -> Result<(), Error> {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| self.write_error("results", name, error))
    }
}

/// Key of an object that stands for a number.
const NUMBER: &str = "number";

/// The value with its fractions as text: the JSON reader's may differ from what was written in
/// the last bit, and with it what a run that goes on reports.
fn exact(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => serde_json::json!({
            NUMBER: format!("{:?}", number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::Array(all) => all.into_iter().map(exact).collect(),
        Value::Object(all) => {
            let all = all.into_iter().map(|(key, value)| (key, exact(value)));
            Value::Object(all.collect())
        }
        other => other,
    }
}

/// What [`exact`] was made of.
fn from_exact(value: Value) -> Value {
    match value {
        Value::Array(all) => all.into_iter().map(from_exact).collect(),
        Value::Object(all) => {
            let text = all.get(NUMBER).filter(|_| all.len() == 1);
            if let Some(number) = text.and_then(|text| text.as_str()?.parse::<f64>().ok()) {
                return number.into();
            }
            let all = all.into_iter().map(|(key, value)| (key, from_exact(value)));
            Value::Object(all.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    // Would catch a number that comes back as its neighbour, as some do from the JSON reader.
    #[test]
    fn numbers_come_back_bit_by_bit() {
        let mut rng = Stream::new(3, Purpose::Split, 0, 0);
        let numbers: Vec<f64> = (0..2000).map(|_| rng.uniform() / 3.0).collect();
        let value = serde_json::json!({ "mean": numbers, "count": 3, "name": null });
        let text = exact(value.clone()).to_string();
        let read = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(from_exact(read), value);
    }
}
