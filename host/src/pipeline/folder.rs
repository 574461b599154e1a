//! A run's folder: made new, filled file by file, each written beside and renamed.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Error, completions};
use crate::config::{Config, tracking};
use crate::report::StageEvaluation;
use crate::tracking::jsonl::Jsonl;
use crate::tracking::tensorboard::TensorBoard;
use crate::tracking::wandb::Wandb;
use crate::tracking::{Tracker, retell};
use crate::trainer::checkpoint::latest;

/// Evaluations so far, for a run that is gone on with.
pub const EVALUATIONS: &str = "evaluations.json";

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
        for inside in ["wandb", "plots"] {
            match std::fs::remove_dir_all(folder.join(inside)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let this = Self(folder.to_owned());
                    return Err(this.write_error("earlier result", inside, error));
                }
                _ => {}
            }
        }
        // Nor may a checkpoint of that run be taken for one of this.
        while let Some(checkpoint) = latest(folder) {
            std::fs::remove_dir_all(&checkpoint).map_err(|error| {
                let name = checkpoint.display().to_string();
                Self(folder.to_owned()).write_error("earlier checkpoint", &name, error)
            })?;
        }
        Ok(Self(folder.to_owned()))
    }

    /// The folder of a run that goes on from step `step` of `stage`. What was written of later
    /// steps, and of what is done again, is taken out of its files.
    ///
    /// # Errors
    /// A file can't be read or written.
    pub fn reopen(folder: &Path, stage: &str, step: u64) -> Result<Self, Error> {
        let this = Self(folder.to_owned());
        let keeps = |row: &serde_json::Value| {
            let of = row["stage"].as_str().unwrap_or_default();
            let of = of.strip_prefix("evaluate ").unwrap_or(of);
            if of == stage {
                return row["step"].as_u64().is_some_and(|at| at <= step);
            }
            ["warm-up", "after warm-up", "reward model"].contains(&of) || of.starts_with("before ")
        };
        // Pairs of own samples are sampled again.
        this.rewrite("rewards.jsonl", |_| false)?;
        this.rewrite("metrics.jsonl", keeps)?;
        this.rewrite("completions.jsonl", keeps)?;
        this.rewrite("costs.jsonl", keeps)?;
        Ok(this)
    }

    /// Leaves the rows of a file that `keeps` wants.
    fn rewrite(&self, name: &str, keeps: impl Fn(&serde_json::Value) -> bool) -> Result<(), Error> {
        let path = self.path(name);
        if !path.exists() {
            return Ok(());
        }
        let rewritten = || {
            let mut kept = String::new();
            for line in std::fs::read_to_string(&path)?.lines() {
                // A line that was cut by whatever ended the run is no JSON.
                let row = serde_json::from_str(line);
                if row.is_ok_and(|row| keeps(&row)) {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
            let beside = self.path(&format!("{name}.tmp"));
            std::fs::write(&beside, kept)?;
            std::fs::rename(&beside, &path)
        };
        rewritten().map_err(|error| self.write_error("results", name, error))
    }

    /// The evaluations that an interrupted run left.
    pub fn evaluations(&self) -> Vec<StageEvaluation> {
        let text = std::fs::read_to_string(self.path(EVALUATIONS)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
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
        let beside = self.path(&format!("{name}.tmp"));
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, self.path(name)))
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
