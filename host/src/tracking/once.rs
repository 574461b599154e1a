//! Numbers of a run that goes on, each told once: part of what an earlier process did is done
//! again, to the last bit.

use std::collections::HashSet;

use serde_json::Value;

use super::{All, Text, Tracker};

/// Hands on what is not known yet.
pub struct Once {
    inner: All,
    stage: String,
    /// What tells the known rows apart.
    known: HashSet<String>,
}

impl Once {
    /// `rows` of `metrics.jsonl` are known.
    pub fn new(inner: All, rows: &[Value]) -> Self {
        let of_row = |row: &Value| {
            let tags = row.as_object().into_iter().flatten().map(|(tag, _)| tag);
            let tags = tags.filter(|tag| !["stage", "step"].contains(&tag.as_str()));
            key(
                row["stage"].as_str().unwrap_or_default(),
                row["step"].as_u64().unwrap_or(0),
                tags.map(String::as_str),
            )
        };
        Self {
            inner,
            stage: String::new(),
            known: rows.iter().map(of_row).collect(),
        }
    }
}

/// Stage, step and tags.
fn key<'a>(stage: &str, step: u64, tags: impl Iterator<Item = &'a str>) -> String {
    // The order is the writer's, and no part of the row.
    let mut tags: Vec<&str> = tags.collect();
    tags.sort_unstable();
    format!("{stage}\n{step}\n{}", tags.join("\n"))
}

impl Tracker for Once {
    fn stage(&mut self, name: &str, total: u64, unit: &str) {
        name.clone_into(&mut self.stage);
        self.inner.stage(name, total, unit);
    }

    fn progress(&mut self, done: u64) {
        self.inner.progress(done);
    }

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        let tags = values.iter().map(|(tag, _)| *tag);
        if !self.known.is_empty() && self.known.contains(&key(&self.stage, step, tags)) {
            return;
        }
        self.inner.log(step, values);
    }

    fn warn(&mut self, message: &str) {
        self.inner.warn(message);
    }

    fn texts(&mut self, step: u64, tag: &str, texts: &[Text]) {
        self.inner.texts(step, tag, texts);
    }

    fn histogram(&mut self, step: u64, tag: &str, values: &[f64]) {
        self.inner.histogram(step, tag, values);
    }

    fn finish(&mut self, results: &[(String, f64)]) {
        self.inner.finish(results);
    }
}

#[cfg(test)]
mod tests {
    use super::super::jsonl::Jsonl;
    use super::*;

    // Would catch a step that a run which is gone on with tells a second time, and one that it
    // takes for another.
    #[test]
    fn rows_that_are_there_are_not_told_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("metrics.jsonl");
        let rows = [
            ("reference", 0, "eval/loss", 0.7),
            ("dpo", 1, "loss", f64::NAN),
            ("dpo", 2, "loss", 0.5),
            ("dpo", 2, "eval/loss", 0.4),
        ];
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        for end in [2, 4, 4] {
            let known: Vec<Value> = read()
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect();
            let jsonl = Jsonl::append(&path).expect("opens");
            let mut once = Once::new(All(vec![Box::new(jsonl)]), &known);
            for (stage, step, tag, value) in &rows[..end] {
                once.stage(stage, 2, "steps");
                once.log(*step, &[(tag, *value)]);
            }
        }
        let text = read();
        let found: Vec<&str> = text.lines().collect();
        assert_eq!(
            found,
            [
                "{\"stage\":\"reference\",\"step\":0,\"eval/loss\":0.7}",
                "{\"stage\":\"dpo\",\"step\":1,\"loss\":null}",
                "{\"stage\":\"dpo\",\"step\":2,\"loss\":0.5}",
                "{\"stage\":\"dpo\",\"step\":2,\"eval/loss\":0.4}",
            ]
        );
    }
}
