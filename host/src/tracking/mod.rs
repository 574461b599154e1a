//! What a run tells about itself while it goes on.
//!
//! Trainers print nothing: they hand numbers to a [`Tracker`]. The console's
//! progress bar is one, `metrics.jsonl` another.

pub mod console;
pub mod jsonl;

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
}
