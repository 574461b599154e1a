//! Scores predictions block by block; of a sample only its scores are kept.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use super::output;
use super::predictions::{Reader, Source};
use crate::cli::Usage;
use crate::evaluate::{Scored, Scoring};
use crate::plugin::{Metric, Sample};

/// What was scored under one name.
pub struct System {
    pub name: String,
    /// Of the samples, in their order.
    pub ids: Vec<String>,
    /// By metric.
    pub scored: Vec<Scored>,
    /// Fingerprints of each sample's prompt and references.
    questions: Vec<[u64; 2]>,
}

/// Scores all predictions of a source with all metrics in one pass (two, where a metric has to
/// see all references first). Each sample becomes a line of the file `per_sample`.
///
/// # Errors
/// A row can't be read, the file can't be written, or a metric needs two passes over stdin.
pub fn score(
    reader: &Reader,
    source: &Source,
    metrics: &[Metric],
    per_sample: Option<&Path>,
) -> Result<System> {
    let writing = || match per_sample {
        Some(path) => format!("per-sample file `{}`", path.display()),
        None => String::new(),
    };
    let mut scorings: Vec<Scoring> = metrics.iter().map(Scoring::new).collect();
    if let Some(metric) = metrics.iter().find(|metric| metric.descriptor().fits) {
        if matches!(source, Source::Stdin) {
            return Err(needs_all(metric).into());
        }
        let bar = Bar::new("references");
        reader.each_block(source, |samples| {
            for scoring in &mut scorings {
                scoring.look_at(samples);
            }
            bar.add(samples.len());
            Ok(())
        })?;
    }
    let mut lines = match per_sample {
        Some(path) => Some(BufWriter::new(File::create(path).with_context(writing)?)),
        None => None,
    };
    let mut system = System {
        name: source.name(),
        ids: Vec::new(),
        scored: Vec::new(),
        questions: Vec::new(),
    };
    let bar = Bar::new("scored");
    reader.each_block(source, |samples| {
        let scores: Vec<_> = scorings
            .iter_mut()
            .map(|scoring| scoring.add(samples))
            .collect();
        for (at, sample) in samples.iter().enumerate() {
            if let Some(lines) = &mut lines {
                let scores = metrics.iter().zip(scores.iter().map(|of| &of[at]));
                let line = output::sample_line(&sample.id, scores);
                writeln!(lines, "{line}").with_context(writing)?;
            }
            system.ids.push(sample.id.clone());
            system.questions.push(question(sample));
        }
        bar.add(samples.len());
        Ok(())
    })?;
    if let Some(mut lines) = lines {
        lines.flush().with_context(writing)?;
    }
    system.scored = scorings.into_iter().map(Scoring::finish).collect();
    Ok(system)
}

/// What a metric that has to see all references first is told where they come one by one.
pub fn needs_all(metric: &Metric) -> Usage {
    Usage(format!(
        "`{}` has to see the references of all predictions before it scores any, and stdin can be read only once\nhint: put the predictions into a file",
        metric.name()
    ))
}

fn question(sample: &Sample) -> [u64; 2] {
    let hash = |of: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        of(&mut hasher);
        hasher.finish()
    };
    [
        hash(&|hasher| sample.prompt.hash(hasher)),
        hash(&|hasher| sample.references.hash(hasher)),
    ]
}

/// Two systems can be compared only if they answered the same questions.
///
/// # Errors
/// They differ in number, an id, a prompt or references.
pub fn same_questions(baseline: &System, system: &System) -> Result<(), Usage> {
    let (first, name) = (&baseline.name, &system.name);
    if baseline.ids.len() != system.ids.len() {
        return Err(Usage(format!(
            "`{first}` has {} predictions, `{name}` {}\nhint: systems are compared row by row",
            baseline.ids.len(),
            system.ids.len()
        )));
    }
    for at in 0..system.ids.len() {
        let ([prompt, references], [other_prompt, other_references]) =
            (baseline.questions[at], system.questions[at]);
        let what = if baseline.ids[at] != system.ids[at] {
            "another id"
        } else if prompt != other_prompt {
            "another prompt"
        } else if references != other_references {
            "other references"
        } else {
            continue;
        };
        return Err(Usage(format!(
            "`{name}`, sample `{}`: {what} than sample `{}` of `{first}`\nhint: systems are compared row by row",
            system.ids[at], baseline.ids[at]
        )));
    }
    Ok(())
}

/// A count of rows in a terminal; nothing elsewhere.
struct Bar(ProgressBar);

impl Bar {
    fn new(what: &'static str) -> Self {
        let style = ProgressStyle::with_template("{spinner} {prefix} {pos} rows, {per_sec}");
        let bar = ProgressBar::new_spinner().with_prefix(what);
        Self(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    fn add(&self, rows: usize) {
        self.0.inc(rows as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
