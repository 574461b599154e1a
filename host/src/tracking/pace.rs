//! How long steps take, and when a run will be done: an estimate after a few measured steps, and
//! `timing.jsonl` with what each took.
//!
//! The first step is left out of it: it is slower, since memory and caches are cold. Held-out
//! evaluations are taken to last as long as the one before the training.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Tracker;
use crate::calendar;
use crate::config::Evaluation;

/// Steps behind the estimate. Chosen: few enough to be early, and more than one, since responses
/// differ in length.
pub const MEASURED: u64 = 3;

/// What is left of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    pub stage: String,
    /// The step after which it was made.
    pub step: u64,
    pub seconds_per_step: f64,
    pub steps_left: u64,
    /// Held-out evaluations to come, the last one included, and what they take together.
    pub evaluations_left: u64,
    pub evaluation_seconds: f64,
}

impl Estimate {
    /// Until the stage is done and judged.
    pub fn seconds_left(&self) -> f64 {
        self.seconds_per_step * self.steps_left as f64 + self.evaluation_seconds
    }

    /// For people, who are told the hour as well.
    pub fn describe(&self, now: Duration) -> String {
        let Self {
            stage,
            seconds_per_step,
            steps_left,
            ..
        } = self;
        let evaluations = match self.evaluations_left {
            0 => String::new(),
            1 => " and an evaluation".to_owned(),
            count => format!(" and {count} evaluations"),
        };
        let left = self.seconds_left();
        let then = now + Duration::from_secs_f64(left);
        format!(
            "{stage}: {} a step; {steps_left} steps{evaluations} are left, about {}: done at {}",
            short(*seconds_per_step),
            short(left),
            &utc(then)[11..],
        )
    }

    fn row(&self, now: Duration) -> Value {
        let left = self.seconds_left();
        json!({
            "stage": self.stage,
            "step": self.step,
            "seconds_per_step": self.seconds_per_step,
            "steps_left": self.steps_left,
            "evaluations_left": self.evaluations_left,
            "seconds_left": left,
            "done_at": utc(now + Duration::from_secs_f64(left)),
        })
    }
}

/// Watches how a run goes on.
#[derive(Debug, Default)]
pub struct Pace {
    evaluation: Evaluation,
    /// The stage that is judged in its middle and at its end.
    main: String,
    stage: String,
    /// Whether the stage is one of steps.
    steps: bool,
    total: u64,
    done: u64,
    /// When the stage began.
    start: Option<Instant>,
    /// When the first steps to be counted began, and how many were done by then.
    measured_from: Option<(u64, Instant)>,
    /// When the step at hand began.
    step_start: Option<Instant>,
    steps_per_epoch: Option<f64>,
    told: bool,
    /// What the last evaluation took, its parts together.
    evaluated: (String, f64),
}

impl Pace {
    /// Of a run whose stage `main` is judged as `evaluation` says.
    pub fn new(evaluation: &Evaluation, main: &str) -> Self {
        Self {
            evaluation: evaluation.clone(),
            main: main.to_owned(),
            ..Self::default()
        }
    }

    /// A stage begins.
    pub fn stage(&mut self, name: &str, total: u64, unit: &str, now: Instant) {
        if self.stage.starts_with("evaluate ")
            && let Some(start) = self.start
        {
            let taken = now.duration_since(start).as_secs_f64();
            match self.evaluated.0 == self.stage {
                true => self.evaluated.1 += taken,
                false => self.evaluated = (self.stage.clone(), taken),
            }
        }
        name.clone_into(&mut self.stage);
        self.steps = unit == "steps";
        (self.total, self.done) = (total, 0);
        self.start = Some(now);
        (self.measured_from, self.step_start) = (None, None);
        (self.steps_per_epoch, self.told) = (None, false);
    }

    /// Numbers of a step.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        let epoch = values.iter().find(|(tag, _)| *tag == "epoch");
        if let Some((_, epoch)) = epoch.filter(|(_, epoch)| self.steps && *epoch > 0.0) {
            self.steps_per_epoch = Some(step as f64 / epoch);
        }
    }

    /// So much is done; what the step at hand took, in seconds, and the estimate, once in a stage.
    pub fn progress(&mut self, done: u64, now: Instant) -> (Option<f64>, Option<Estimate>) {
        let before = self.step_start.replace(now);
        let Some(before) = before.filter(|_| self.steps && done > self.done) else {
            self.done = done;
            return (None, None);
        };
        let seconds = now.duration_since(before).as_secs_f64() / (done - self.done) as f64;
        self.done = done;
        let (from, start) = *self.measured_from.get_or_insert((done, now));
        let measured = done - from;
        if self.told || measured < MEASURED || done >= self.total {
            return (Some(seconds), None);
        }
        self.told = true;
        let taken = now.duration_since(start).as_secs_f64();
        let of_one = self.evaluated.1;
        let last = u64::from(self.stage == self.main && of_one > 0.0);
        let evaluations_left = match last {
            0 => 0,
            _ => self.evaluations(done) + last,
        };
        // Those between the steps that were measured are a part of them.
        let counted = match self.evaluations(from) == self.evaluations(done) {
            true => evaluations_left,
            false => last,
        };
        let estimate = Estimate {
            stage: self.stage.clone(),
            step: done,
            seconds_per_step: taken / measured as f64,
            steps_left: self.total - done,
            evaluations_left,
            evaluation_seconds: of_one * counted as f64,
        };
        (Some(seconds), Some(estimate))
    }

    /// Evaluations that follow after step `done` and before the last step.
    fn evaluations(&self, done: u64) -> u64 {
        let per_epoch = self.steps_per_epoch.map_or(0, |steps| steps.round() as u64);
        match self.evaluation.every(per_epoch) {
            Some(every) => self.total.saturating_sub(1) / every - done / every,
            None => 0,
        }
    }
}

/// Writes `timing.jsonl`: what each step took, and the estimates. It has a file of its own since
/// no clock is the same twice.
pub struct Timing {
    pace: Pace,
    out: File,
}

impl Timing {
    /// Writes behind what is in the file, which is made where there is none.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn append(path: &Path, evaluation: &Evaluation, main: &str) -> io::Result<Self> {
        Ok(Self {
            pace: Pace::new(evaluation, main),
            out: File::options().create(true).append(true).open(path)?,
        })
    }

    /// Times are dispensable: a full disk is told by what is not.
    fn write(&mut self, row: &Value) {
        let _ = writeln!(self.out, "{row}");
    }
}

impl Tracker for Timing {
    fn stage(&mut self, name: &str, total: u64, unit: &str) {
        self.pace.stage(name, total, unit, Instant::now());
    }

    fn progress(&mut self, done: u64) {
        let (seconds, estimate) = self.pace.progress(done, Instant::now());
        if let Some(seconds) = seconds {
            let stage = &self.pace.stage;
            let row = json!({ "stage": stage, "step": done, "seconds": seconds });
            self.write(&row);
        }
        if let Some(estimate) = estimate {
            self.write(&estimate.row(since_epoch()));
        }
    }

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        self.pace.log(step, values);
    }

    fn warn(&mut self, _message: &str) {}
}

/// Seconds for people: `25 ms`, `0.8 s`, `4 min 10 s`, `3 h 20 min`.
pub fn short(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.1 => format!("{:.0} ms", seconds * 1e3),
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The time of day, for people: nothing is measured by it.
pub fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// `2026-11-26 05:01 UTC`.
fn utc(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let (year, month, day) = calendar::date(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        minutes / 60,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A training of `total` steps that take 2 s, but for the first with 50 s, after an evaluation
    /// of 30 s; four steps an epoch.
    fn estimate(evaluation: Evaluation, total: u64, first: u64) -> Option<Estimate> {
        let begun = Instant::now();
        let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
        let mut pace = Pace::new(&evaluation, "dpo");
        pace.stage("evaluate before dpo", 10, "responses", at(0.0));
        pace.progress(10, at(20.0));
        pace.stage("evaluate before dpo", 2, "metrics", at(20.0));
        pace.stage("dpo", total, "steps", at(30.0));
        assert_eq!(pace.progress(first, at(30.0)), (None, None));
        let mut told = None;
        for step in first + 1..=total {
            let now = 80.0 + 2.0 * (step - first - 1) as f64;
            pace.log(step, &[("epoch", step as f64 / 4.0)]);
            let (seconds, estimate) = pace.progress(step, at(now));
            let expected = if step == first + 1 { 50.0 } else { 2.0 };
            assert_eq!(seconds, Some(expected));
            assert!(told.is_none() || estimate.is_none(), "told twice");
            told = told.or(estimate);
        }
        told
    }

    // Would catch a cold first step that is counted, steps before a checkpoint that are counted,
    // and evaluations that are forgotten or counted twice.
    #[test]
    fn what_is_left_comes_from_what_was_measured() {
        let check = |strategy, every, first: u64, evaluations: u64, seconds: f64| {
            let evaluation = Evaluation {
                strategy: Some(strategy),
                steps: every,
                ..Evaluation::default()
            };
            let found = estimate(evaluation, 20, first).expect("there are steps enough");
            assert_eq!(found.seconds_per_step, 2.0);
            assert_eq!((found.step, found.steps_left), (first + 4, 16 - first));
            assert_eq!(found.evaluations_left, evaluations, "{strategy:?} {first}");
            assert_eq!(found.seconds_left(), seconds, "{strategy:?} {first}");
        };
        use crate::config::evaluation::Strategy;
        check(Strategy::No, 0, 0, 1, 32.0 + 30.0);
        check(Strategy::No, 0, 10, 1, 12.0 + 30.0);
        // After 6, 12 and 18, and at the end.
        check(Strategy::Steps, 6, 0, 4, 32.0 + 4.0 * 30.0);
        // Step 4 ends an epoch, which is between those that were measured: 8, 12, 16 are to come.
        check(Strategy::Epoch, 0, 0, 4, 32.0 + 30.0);
        assert_eq!(estimate(Evaluation::default(), 4, 0), None);
    }

    #[test]
    fn people_read_it() {
        let now = Duration::from_secs(1_795_669_260);
        let estimate = Estimate {
            stage: "ppo".into(),
            step: 4,
            seconds_per_step: 2.04,
            steps_left: 100,
            evaluations_left: 1,
            evaluation_seconds: 6.0,
        };
        assert_eq!(
            estimate.describe(now),
            "ppo: 2.0 s a step; 100 steps and an evaluation are left, about 3 min 30 s: done at 05:04 UTC"
        );
        assert_eq!(utc(now), "2026-11-26 05:01 UTC");
    }

    #[test]
    fn times_are_short() {
        let check = |seconds: f64, expected: &str| assert_eq!(short(seconds), expected);
        check(0.0249, "25 ms");
        check(0.84, "0.8 s");
        check(59.4, "59 s");
        check(250.0, "4 min 10 s");
        check(12_000.0, "3 h 20 min");
    }
}
