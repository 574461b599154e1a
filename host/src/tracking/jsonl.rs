//! `metrics.jsonl`: one JSON object a line, flushed as it is written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value};

use super::Tracker;

/// Writes every number of the run.
pub struct Jsonl {
    out: BufWriter<File>,
    stage: String,
    broken: bool,
}

impl Jsonl {
    /// Writes behind what is in the file, which is made where there is none.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn append(path: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self {
            out: BufWriter::new(file),
            stage: String::new(),
            broken: false,
        })
    }
}

impl Tracker for Jsonl {
    fn stage(&mut self, name: &str, _total: u64, _unit: &str) {
        name.clone_into(&mut self.stage);
    }

    fn progress(&mut self, _done: u64) {}

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        let mut line = Map::new();
        line.insert("stage".into(), self.stage.clone().into());
        line.insert("step".into(), step.into());
        for (tag, value) in values {
            // JSON has no NaN: null says that there was no number.
            let value = serde_json::Number::from_f64(*value).map_or(Value::Null, Value::Number);
            line.insert((*tag).to_owned(), value);
        }
        let written = serde_json::to_writer(&mut self.out, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .and_then(|()| self.out.flush());
        // A full disk must not end the training; say it once.
        if let Err(error) = written
            && !self.broken
        {
            self.broken = true;
            tracing::error!("metrics.jsonl can no longer be written: {error}");
        }
    }

    fn warn(&mut self, _message: &str) {}
}
