//! `warnings.jsonl`: what a person should see although the run goes on, once each.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::Tracker;

/// Keeps a run's warnings, with where they came up.
pub struct Warnings {
    out: File,
    stage: String,
    done: u64,
    /// What has been said: a run that goes on comes upon much of it again.
    said: HashSet<String>,
}

impl Warnings {
    /// Writes behind what is in the file, which is made where there is none.
    ///
    /// # Errors
    /// The file can't be opened or read.
    pub fn append(path: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(path)?;
        Ok(Self {
            out,
            stage: String::new(),
            done: 0,
            said: read(path).into_iter().collect(),
        })
    }
}

/// The messages in the file, in their order; none where there is no file.
pub fn read(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let row: Value = serde_json::from_str(line).ok()?;
            Some(row["message"].as_str()?.to_owned())
        })
        .collect()
}

impl Tracker for Warnings {
    fn stage(&mut self, name: &str, _total: u64, _unit: &str) {
        name.clone_into(&mut self.stage);
        self.done = 0;
    }

    fn progress(&mut self, done: u64) {
        self.done = done;
    }

    fn log(&mut self, _step: u64, _values: &[(&str, f64)]) {}

    fn warn(&mut self, message: &str) {
        if !self.said.insert(message.to_owned()) {
            return;
        }
        let row = json!({ "stage": self.stage, "done": self.done, "message": message });
        // The warning was told as well: a full disk must not end the training.
        if let Err(error) = writeln!(self.out, "{row}") {
            tracing::error!("warnings.jsonl can't be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a warning that is kept twice by a run that goes on, and one that is lost.
    #[test]
    fn each_is_kept_once() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("warnings.jsonl");
        let told = |messages: &[&str]| {
            let mut warnings = Warnings::append(&path).expect("made");
            warnings.stage("ppo", 9, "steps");
            warnings.progress(4);
            messages.iter().for_each(|message| warnings.warn(message));
        };
        told(&["one", "two\nlines", "one"]);
        told(&["one", "three"]);
        assert_eq!(read(&path), ["one", "two\nlines", "three"]);
        let text = std::fs::read_to_string(&path).expect("read");
        let first: Value = serde_json::from_str(text.lines().next().expect("a row")).expect("JSON");
        assert_eq!(first, json!({"stage": "ppo", "done": 4, "message": "one"}));
    }
}
