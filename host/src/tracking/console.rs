//! The console: a progress bar in a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Tracker;
use super::pace::{Pace, short, since_epoch};
use crate::config::Evaluation;

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Values a person watches, in this order, and what they are called beside a bar; everything is in
/// `metrics.jsonl`.
const SHOWN: [(&str, &str); 7] = [
    ("loss", "loss"),
    ("reward", "reward"),
    ("kl", "kl"),
    ("rewards/margins", "margin"),
    ("rewards/accuracies", "accuracy"),
    ("accuracy", "accuracy"),
    ("learning_rate", "lr"),
];

/// Talks to people on stderr.
pub struct Console {
    bar: Option<ProgressBar>,
    stage: String,
    unit: String,
    total: u64,
    done: u64,
    /// When the stage began, and with how many units behind it: a run that goes on has some.
    start: Instant,
    start_done: Option<u64>,
    /// Tokens at the stage's first step, and when that was.
    first_tokens: Option<(f64, Instant)>,
    values: String,
    pace: Pace,
    last_line: Instant,
    terminal: bool,
    /// Only warnings.
    quiet: bool,
}

impl Console {
    /// Shows progress, unless it is `quiet`.
    pub fn new(quiet: bool) -> Self {
        // A dumb terminal can't move its cursor.
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            bar: None,
            stage: String::new(),
            unit: String::new(),
            total: 0,
            done: 0,
            start: Instant::now(),
            start_done: None,
            first_tokens: None,
            values: String::new(),
            pace: Pace::default(),
            last_line: Instant::now(),
            terminal: std::io::stderr().is_terminal() && !dumb,
            quiet,
        }
    }

    /// Of a run whose stage `main` is judged as `evaluation` says: that takes time, too.
    #[must_use]
    pub fn judging(mut self, evaluation: &Evaluation, main: &str) -> Self {
        self.pace = Pace::new(evaluation, main);
        self
    }

    /// Talks above the bar.
    fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("{message}"),
        }
    }

    /// Ends the stage at hand with a line of what came of it.
    fn finish_stage(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.quiet || self.stage.is_empty() || self.done == 0 {
            return;
        }
        let taken = self.start.elapsed().as_secs_f64();
        eprintln!("{} in {}{}", self.position(), short(taken), self.values);
        self.stage.clear();
    }

    /// `dpo: 12/40 steps`.
    fn position(&self) -> String {
        let Self {
            stage,
            done,
            total,
            unit,
            ..
        } = self;
        format!("{stage}: {done}/{total} {unit}")
    }

    fn line(&mut self) {
        self.last_line = Instant::now();
        let left = self.left().map(|left| format!(", {} left", short(left)));
        let left = left.unwrap_or_default();
        eprintln!("{}{}{left}", self.position(), self.values);
    }

    /// Seconds that the stage still takes at the speed so far.
    fn left(&self) -> Option<f64> {
        let done = self.done.checked_sub(self.start_done?)?;
        if done == 0 || self.done >= self.total {
            return None;
        }
        let taken = self.start.elapsed().as_secs_f64();
        Some(taken / done as f64 * (self.total - self.done) as f64)
    }

    /// Tokens a second since the stage's first step.
    fn speed(&mut self, tokens: f64) -> Option<f64> {
        let (first, start) = *self.first_tokens.get_or_insert((tokens, Instant::now()));
        let taken = start.elapsed().as_secs_f64();
        (tokens > first && taken > 0.0).then(|| (tokens - first) / taken)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Tracker for Console {
    fn stage(&mut self, name: &str, total: u64, unit: &str) {
        self.finish_stage();
        name.clone_into(&mut self.stage);
        unit.clone_into(&mut self.unit);
        (self.total, self.done) = (total, 0);
        self.start = Instant::now();
        self.pace.stage(name, total, unit, self.start);
        (self.start_done, self.first_tokens) = (None, None);
        self.values.clear();
        if self.quiet {
            return;
        }
        if self.terminal {
            // Colours are left out where `NO_COLOR` is set.
            let style = ProgressStyle::with_template(
                "{prefix:24.bold} {bar:30.cyan/dim} {pos}/{len} {msg} [{elapsed}, {eta} left]",
            )
            .expect("the template is well-formed");
            let bar = ProgressBar::new(total).with_style(style);
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            self.bar = Some(bar);
        } else {
            self.line();
        }
    }

    fn progress(&mut self, done: u64) {
        self.done = done;
        // The first word of a run that goes on says where it does.
        if self.start_done.is_none() {
            self.start_done = Some(done);
        }
        let (_, estimate) = self.pace.progress(done, Instant::now());
        if let Some(estimate) = estimate.filter(|_| !self.quiet) {
            self.say(&estimate.describe(since_epoch()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if !self.quiet && self.last_line.elapsed() > LINE_EVERY {
            self.line();
        }
    }

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        self.pace.log(step, values);
        let find = |tag: &str| values.iter().find(|(of, _)| *of == tag).map(|(_, v)| *v);
        self.values = SHOWN
            .iter()
            .filter_map(|(tag, name)| Some((*tag, *name, find(tag)?)))
            .map(|(tag, name, value)| match tag {
                "learning_rate" => format!(", {name} {value:.1e}"),
                _ => format!(", {name} {value:.3}"),
            })
            .collect();
        if let Some(speed) = find("num_tokens").and_then(|tokens| self.speed(tokens)) {
            self.values.push_str(&format!(", {speed:.0} tokens/s"));
        }
        if let Some(bar) = &self.bar {
            let values = self.values.strip_prefix(", ").unwrap_or_default();
            bar.set_message(values.to_owned());
        }
    }

    fn warn(&mut self, message: &str) {
        self.say(&format!("warning: {message}"));
    }

    fn finish(&mut self, _results: &[(String, f64)]) {
        self.finish_stage();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a time left that counts what an earlier process did, and tokens a second that
    /// count those before the first step.
    #[test]
    fn what_is_left_comes_from_what_was_done() {
        let mut console = Console::new(true);
        console.stage("dpo", 100, "steps");
        console.start = Instant::now() - Duration::from_secs(10);
        console.progress(50);
        assert_eq!(console.left(), None);
        console.progress(60);
        let left = console.left().expect("ten steps were done");
        assert!((39.0..42.0).contains(&left), "{left}");
        console.log(1, &[("loss", 0.25), ("num_tokens", 1000.0), ("lr", 1.0)]);
        assert_eq!(console.values, ", loss 0.250");
        console.first_tokens = Some((1000.0, Instant::now() - Duration::from_secs(2)));
        console.log(2, &[("reward", 0.5), ("kl", 0.1), ("num_tokens", 3000.0)]);
        assert!(
            console.values.starts_with(", reward 0.500, kl 0.100, ")
                && console.values.ends_with(" tokens/s"),
            "{}",
            console.values
        );
    }
}
