//! What a run tells about itself while it goes on.
//!
//! Trainers print nothing: they hand numbers to a [`Tracker`]. The console's
//! progress bar is one, `metrics.jsonl` another; TensorBoard and Weights & Biases have files that
//! their own programs read. [`pace`] says when a run will be done.

mod checksum;
pub mod console;
pub mod jsonl;
pub mod once;
pub mod pace;
mod protobuf;
pub mod tensorboard;
pub mod wandb;
pub mod warnings;

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;

/// Receives a run's numbers and the progress of its stages.
pub trait Tracker {
    /// A stage begins: `name` for people, `total` units of work (`unit`: `steps`, `responses`).
    fn stage(&mut self, name: &str, total: u64, unit: &str);

    /// `done` of the stage's units are behind us.
    fn progress(&mut self, done: u64);

    /// Numbers at an optimizer step, tagged as users' dashboards know them (`rewards/margins`).
    fn log(&mut self, step: u64, values: &[(&str, f64)]);

    /// Something a person should see although the run goes on.
    fn warn(&mut self, message: &str);

    /// Responses at a step, for people to read.
    fn texts(&mut self, _step: u64, _tag: &str, _texts: &[Text]) {}

    /// How numbers are spread at a step.
    fn histogram(&mut self, _step: u64, _tag: &str, _values: &[f64]) {}

    /// The run has come to its end with these numbers.
    fn finish(&mut self, _results: &[(String, f64)]) {}
}

/// A response, for people to read.
pub struct Text<'a> {
    pub prompt: &'a str,
    pub response: &'a str,
    /// What it was worth, where that is known.
    pub score: Option<f64>,
}

/// A tracker that drops everything.
pub struct Silent;

impl Tracker for Silent {
    fn stage(&mut self, _name: &str, _total: u64, _unit: &str) {}
    fn progress(&mut self, _done: u64) {}
    fn log(&mut self, _step: u64, _values: &[(&str, f64)]) {}
    fn warn(&mut self, _message: &str) {}
}

/// Several trackers as one.
#[derive(Default)]
pub struct All(pub Vec<Box<dyn Tracker>>);

impl Tracker for All {
    fn stage(&mut self, name: &str, total: u64, unit: &str) {
        for tracker in &mut self.0 {
            tracker.stage(name, total, unit);
        }
    }

    fn progress(&mut self, done: u64) {
        for tracker in &mut self.0 {
            tracker.progress(done);
        }
    }

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        for tracker in &mut self.0 {
            tracker.log(step, values);
        }
    }

    fn warn(&mut self, message: &str) {
        for tracker in &mut self.0 {
            tracker.warn(message);
        }
    }

    fn texts(&mut self, step: u64, tag: &str, texts: &[Text]) {
        for tracker in &mut self.0 {
            tracker.texts(step, tag, texts);
        }
    }

    fn histogram(&mut self, step: u64, tag: &str, values: &[f64]) {
        for tracker in &mut self.0 {
            tracker.histogram(step, tag, values);
        }
    }

    fn finish(&mut self, results: &[(String, f64)]) {
        for tracker in &mut self.0 {
            tracker.finish(results);
        }
    }
}

/// A tracker with several owners: a trainer tells it numbers, and what scores the responses in
/// between shows some of them.
#[derive(Clone)]
pub struct Shared(Rc<RefCell<All>>);

impl Shared {
    pub fn of(tracker: All) -> Self {
        Self(Rc::new(RefCell::new(tracker)))
    }
}

impl Tracker for Shared {
    fn stage(&mut self, name: &str, total: u64, unit: &str) {
        self.0.borrow_mut().stage(name, total, unit);
    }

    fn progress(&mut self, done: u64) {
        self.0.borrow_mut().progress(done);
    }

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        self.0.borrow_mut().log(step, values);
    }

    fn warn(&mut self, message: &str) {
        self.0.borrow_mut().warn(message);
    }

    fn texts(&mut self, step: u64, tag: &str, texts: &[Text]) {
        self.0.borrow_mut().texts(step, tag, texts);
    }

    fn histogram(&mut self, step: u64, tag: &str, values: &[f64]) {
        self.0.borrow_mut().histogram(step, tag, values);
    }

    fn finish(&mut self, results: &[(String, f64)]) {
        self.0.borrow_mut().finish(results);
    }
}

/// The tag of a number in a file that holds all stages of a run: the stage that the run is about,
/// and evaluations, have no name before their tags; the steps of others begin at 1 as well. Before
/// and after the warm-up there is the same step, 0: the evaluation before is the warm-up's.
fn stage_tag(main: &str, stage: &str, tag: &str) -> String {
    let stage = match stage.strip_prefix("evaluate ") {
        Some("before warm-up") => "warm-up",
        Some(_) => main,
        None => stage,
    };
    if stage == main || stage.is_empty() {
        return tag.to_owned();
    }
    format!("{}/{tag}", stage.replace(' ', "_"))
}

/// Settings as `section.key` and their values.
fn settings(config: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (key, value) in config.as_object().into_iter().flatten() {
        if value.is_object() {
            let inside = settings(value).into_iter();
            all.extend(inside.map(|(name, value)| (format!("{key}.{name}"), value)));
        } else {
            all.push((key.clone(), value.clone()));
        }
    }
    all
}

/// Tells a tracker what the rows of `metrics.jsonl` say, as if it had heard it.
pub fn retell(rows: &[Value], tracker: &mut dyn Tracker) {
    let mut stage = String::new();
    for row in rows {
        let of = row["stage"].as_str().unwrap_or_default();
        if of != stage {
            of.clone_into(&mut stage);
            tracker.stage(of, 0, "steps");
        }
        let values: Vec<(&str, f64)> = row
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(tag, value)| Some((tag.as_str(), value.as_f64()?)))
            .filter(|(tag, _)| *tag != "step")
            .collect();
        tracker.log(row["step"].as_u64().unwrap_or(0), &values);
    }
}
