//! `rlhf eval --predictions -`: a scored line for each line of stdin, as soon as it is there.
//!
//! Nothing is kept, so that it can stand behind a training run as its reward function for as long
//! as that runs; see `host/docs/from-trl.md`.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use super::lines::Lines;
use super::predictions::Reader;
use super::{Args, output, systems};
use crate::config::data::OnBadRow;
use crate::evaluate::Scoring;
use crate::plugin::Metric;

/// Lines that are scored at once, if so many are waiting.
const LINES_MAX: usize = 1024;

/// Scores lines until stdin ends.
///
/// # Errors
/// A line can't be read and `on_bad_row` says that this is an error; a metric has to see all
/// lines first.
pub fn run(args: &Args, reader: &Reader, metrics: &[Metric]) -> Result<()> {
    if let Some(metric) = metrics.iter().find(|metric| metric.descriptor().fits) {
        return Err(systems::needs_all(metric).into());
    }
    let mut lines = Lines::new(std::io::stdin().lock(), &args.language);
    loop {
        let block = lines.ready(LINES_MAX)?;
        if block.is_empty() {
            return Ok(());
        }
        let mut samples = Vec::with_capacity(block.len());
        let mut wrong = Vec::new();
        for line in block {
            let joined = line.sample.and_then(|sample| {
                let mut one = [sample];
                let joined = reader.join(&mut one, "stdin");
                let [sample] = one;
                joined.map(|()| sample).map_err(|error| error.to_string())
            });
            match joined {
                Ok(sample) => {
                    wrong.push(None);
                    samples.push(sample);
                }
                Err(problem) => {
                    wrong.push(Some((line.number, problem)));
                    if args.on_bad_row == OnBadRow::Error {
                        break;
                    }
                }
            }
        }
        let mut scorings: Vec<Scoring> = metrics.iter().map(Scoring::new).collect();
        let scores: Vec<_> = scorings
            .iter_mut()
            .map(|scoring| scoring.add(&samples))
            .collect();
        let mut out = std::io::stdout().lock();
        let mut at = 0;
        for line in &wrong {
            match line {
                None => {
                    let scores = metrics.iter().zip(scores.iter().map(|of| &of[at]));
                    writeln!(out, "{}", output::sample_line(&samples[at].id, scores))?;
                    at += 1;
                }
                Some((number, problem)) if args.on_bad_row == OnBadRow::Error => {
                    out.flush()?;
                    return Err(lines.wrong(*number, problem).into());
                }
                Some((number, problem)) => {
                    let line = json!({ "id": number.to_string(), "failure": problem });
                    writeln!(out, "{line}")?;
                }
            }
        }
        out.flush()?;
    }
}
