//! What `rlhf eval` prints, and its file of one line a sample.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::{Output, System};
use crate::evaluate::paired::Comparison;
use crate::evaluate::pass_at::PassAt;
use crate::evaluate::{MetricResult, Scored};
use crate::plugin::{Metric, Sample};
use crate::report::tables;

/// Everything that was found out.
pub struct Report<'a> {
    pub systems: &'a [System],
    pub metrics: &'a [Metric],
    /// By system and metric.
    pub results: &'a [Vec<MetricResult>],
    /// By system, from the second on.
    pub comparisons: &'a [Vec<Comparison>],
    /// By system.
    pub pass_at: &'a [Vec<PassAt>],
}

impl Report<'_> {
    pub fn print(&self, output: Output) -> Result<()> {
        let Self {
            systems,
            metrics,
            results,
            comparisons,
            pass_at,
        } = self;
        let mut out = std::io::stdout().lock();
        match output {
            Output::Table => {
                for ((system, results), pass_at) in systems.iter().zip(*results).zip(*pass_at) {
                    if systems.len() > 1 {
                        writeln!(out, "{} ({} samples)", system.name, system.samples.len())?;
                    }
                    write!(out, "{}", tables::metrics(results))?;
                    write!(out, "{}", tables::pass_at(pass_at))?;
                }
                for (system, comparisons) in systems[1..].iter().zip(*comparisons) {
                    writeln!(out, "{} against {}", system.name, systems[0].name)?;
                    write!(out, "{}", tables::comparisons(comparisons))?;
                    for metric in *metrics {
                        if !comparisons.iter().any(|one| one.metric == metric.name()) {
                            writeln!(
                                out,
                                "  {:22} not compared: it takes two samples that both were scored on, and a metric that adds",
                                metric.name()
                            )?;
                        }
                    }
                }
                for result in &results[0] {
                    writeln!(out, "  {}", result.signature)?;
                }
            }
            Output::Json if systems.len() == 1 && pass_at[0].is_empty() => {
                writeln!(out, "{}", serde_json::to_string_pretty(&results[0])?)?;
            }
            Output::Json => {
                let named: Vec<serde_json::Value> = systems
                    .iter()
                    .zip(*results)
                    .zip(*pass_at)
                    .map(|((system, results), pass_at)| {
                        let mut named = json!({ "predictions": system.name, "metrics": results });
                        if !pass_at.is_empty() {
                            named["pass_at"] = json!(pass_at);
                        }
                        named
                    })
                    .collect();
                let against: Vec<serde_json::Value> = systems[1..]
                    .iter()
                    .zip(*comparisons)
                    .map(|(system, comparisons)| {
                        json!({
                            "predictions": system.name,
                            "baseline": systems[0].name,
                            "metrics": comparisons,
                        })
                    })
                    .collect();
                let all = json!({ "systems": named, "comparisons": against });
                writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
            }
        }
        Ok(())
    }
}

/// One JSON line a sample, in the order of the input: scores, or why there are none.
pub fn write_per_sample(
    path: &Path,
    samples: &[Sample],
    metrics: &[Metric],
    scored: &[Scored],
) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for (at, sample) in samples.iter().enumerate() {
        let scores: BTreeMap<&str, serde_json::Value> = metrics
            .iter()
            .zip(scored)
            .map(|(metric, scored)| {
                let value = match &scored.per_sample[at] {
                    Ok(score) => {
                        let components: BTreeMap<&String, f64> = metric
                            .descriptor()
                            .components
                            .iter()
                            .zip(score.components.iter().copied())
                            .collect();
                        json!({ "value": score.value, "components": components })
                    }
                    Err(failure) => json!({ "failure": failure.to_string() }),
                };
                (metric.name(), value)
            })
            .collect();
        writeln!(out, "{}", json!({ "id": sample.id, "scores": scores }))?;
    }
    out.flush()?;
    Ok(())
}
