//! The console: a progress bar in a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Tracker;

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Values a person watches, in this order; everything is in `metrics.jsonl`.
const SHOWN: [&str; 5] = [
    "loss",
    "rewards/margins",
    "rewards/accuracies",
    "learning_rate",
    "tokens_per_second",
];

/// Talks to people on stderr.
pub struct Console {
    bar: Option<ProgressBar>,
    stage: String,
    unit: String,
    total: u64,
    done: u64,
    values: String,
    last_line: Instant,
    terminal: bool,
}

impl Console {
    pub fn new() -> Self {
        Self {
            bar: None,
            stage: String::new(),
            unit: String::new(),
            total: 0,
            done: 0,
            values: String::new(),
            last_line: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self) {
        self.last_line = Instant::now();
        let Self {
            stage,
            done,
            total,
            unit,
            values,
            ..
        } = self;
        eprintln!("{stage}: {done}/{total} {unit}{values}");
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Tracker for Console {
    fn stage(&mut self, name: &str, total: u64, unit: &str) {
        self.finish();
        name.clone_into(&mut self.stage);
        unit.clone_into(&mut self.unit);
        (self.total, self.done) = (total, 0);
        self.values.clear();
        if self.terminal {
            let style = ProgressStyle::with_template(
                "{prefix:24} {bar:30} {pos}/{len} {msg} [{elapsed}, {eta} left]",
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
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.last_line.elapsed() > LINE_EVERY {
            self.line();
        }
    }

    fn log(&mut self, _step: u64, values: &[(&str, f64)]) {
        self.values = SHOWN
            .iter()
            .filter_map(|shown| values.iter().find(|(tag, _)| tag == shown))
            .map(|(tag, value)| match *tag {
                "learning_rate" => format!(", {tag} {value:.1e}"),
                _ => format!(", {tag} {value:.3}"),
            })
            .collect();
        if let Some(bar) = &self.bar {
            bar.set_message(self.values.clone());
        }
    }

    fn warn(&mut self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("warning: {message}")),
            None => eprintln!("warning: {message}"),
        }
    }
}
