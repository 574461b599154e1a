//! What `rlhf eval` prints, and its lines of one sample each.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::Output;
use super::systems::System;
use crate::evaluate::MetricResult;
use crate::evaluate::paired::Comparison;
use crate::evaluate::pass_at::PassAt;
use crate::plugin::metric::Score;
use crate::plugin::{Failure, Metric};
use crate::report::{TargetResult, tables};

/// Everything that was found out.
pub struct Report<'a> {
    pub systems: &'a [System],
    pub metrics: &'a [Metric],
    /// By system and metric; metrics that can't be computed at all stand behind the others.
    pub results: &'a [Vec<MetricResult>],
    /// By system, from the second on.
    pub comparisons: &'a [Vec<Comparison>],
    /// By system.
    pub pass_at: &'a [Vec<PassAt>],
    /// Of the last system.
    pub targets: &'a [TargetResult],
}

impl Report<'_> {
    pub fn print(&self, output: Output) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match output {
            Output::Table => self.table(&mut out),
            Output::Json => self.json(&mut out),
            Output::Jsonl => self.jsonl(&mut out),
            Output::Csv => self.csv(&mut out),
        }
    }

    fn table(&self, out: &mut impl Write) -> Result<()> {
        let (systems, first) = (self.systems, &self.systems[0].name);
        for ((system, results), pass_at) in systems.iter().zip(self.results).zip(self.pass_at) {
            if systems.len() > 1 {
                writeln!(out, "{} ({} samples)", system.name, system.ids.len())?;
            }
            write!(out, "{}", tables::metrics(results))?;
            write!(out, "{}", tables::pass_at(pass_at))?;
        }
        for (system, comparisons) in systems[1..].iter().zip(self.comparisons) {
            writeln!(out, "{} against {first}", system.name)?;
            write!(out, "{}", tables::comparisons(comparisons))?;
            for metric in self.metrics {
                if !comparisons.iter().any(|one| one.metric == metric.name()) {
                    writeln!(
                        out,
                        "  {:22} not compared: it takes two samples that both were scored on, and a metric that adds",
                        metric.name()
                    )?;
                }
            }
        }
        if !self.targets.is_empty() {
            match systems.split_last() {
                Some((tested, [_, ..])) => writeln!(out, "targets of {}", tested.name)?,
                _ => writeln!(out, "targets")?,
            }
            write!(out, "{}", tables::targets(self.targets))?;
        }
        let signatures = self.results[0].iter().map(|result| &result.signature);
        for signature in signatures.filter(|signature| !signature.is_empty()) {
            writeln!(out, "  {signature}")?;
        }
        Ok(())
    }

    /// A system's metrics; the last one's with their targets.
    fn with_targets(&self, system: usize) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for result in &self.results[system] {
            let mut value = serde_json::to_value(result)?;
            let of = self.targets.iter().find(|one| one.metric == result.name);
            if let Some(target) = of.filter(|_| system + 1 == self.systems.len()) {
                value["target"] = json!(target.target);
                value["met"] = json!(target.met);
            }
            all.push(value);
        }
        Ok(all)
    }

    fn json(&self, out: &mut impl Write) -> Result<()> {
        let systems = self.systems;
        if systems.len() == 1 && self.pass_at[0].is_empty() {
            let results = self.with_targets(0)?;
            writeln!(out, "{}", serde_json::to_string_pretty(&results)?)?;
            return Ok(());
        }
        let mut named = Vec::new();
        for (at, system) in systems.iter().enumerate() {
            let mut one = json!({ "predictions": system.name, "metrics": self.with_targets(at)? });
            if !self.pass_at[at].is_empty() {
                one["pass_at"] = json!(self.pass_at[at]);
            }
            named.push(one);
        }
        let against: Vec<Value> = systems[1..]
            .iter()
            .zip(self.comparisons)
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
        Ok(())
    }

    /// One line a metric of a system, one a pass@k, one a comparison.
    fn jsonl(&self, out: &mut impl Write) -> Result<()> {
        for (at, system) in self.systems.iter().enumerate() {
            for mut line in self.with_targets(at)? {
                line["predictions"] = json!(system.name);
                writeln!(out, "{line}")?;
            }
            for pass_at in &self.pass_at[at] {
                let line = json!({ "predictions": system.name, "pass_at": pass_at });
                writeln!(out, "{line}")?;
            }
        }
        for (system, comparisons) in self.systems[1..].iter().zip(self.comparisons) {
            for comparison in comparisons {
                let mut line = serde_json::to_value(comparison)?;
                line["predictions"] = json!(system.name);
                line["compared_with"] = json!(self.systems[0].name);
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }

    /// One row a metric of a system, with its comparison; then its pass@k.
    fn csv(&self, out: &mut impl Write) -> Result<()> {
        const HEADER: &str = "predictions,metric,value,low,high,corpus,mean,samples,failed,target,met,difference,difference_low,difference_high,p_value,signature,reason";
        writeln!(out, "{HEADER}")?;
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let bounds = |interval: Option<[f64; 2]>| {
            interval.map_or([None, None], |[low, high]| [Some(low), Some(high)])
        };
        for (at, system) in self.systems.iter().enumerate() {
            let comparisons = at.checked_sub(1).map(|at| &self.comparisons[at]);
            for result in &self.results[at] {
                let target = self.targets.iter().find(|one| one.metric == result.name);
                let target = target.filter(|_| at + 1 == self.systems.len());
                let mut comparisons = comparisons.into_iter().flatten();
                let compared = comparisons.find(|one| one.metric == result.name);
                let [low, high] = bounds(result.interval);
                let [less, more] = bounds(compared.map(|one| one.interval));
                let failed: usize = result.failures.values().sum();
                let met = target.and_then(|one| one.met);
                let cells = [
                    system.name.clone(),
                    result.name.clone(),
                    number(result.value),
                    number(low),
                    number(high),
                    number(result.corpus),
                    number(result.mean),
                    result.samples.to_string(),
                    failed.to_string(),
                    number(target.map(|one| one.target)),
                    met.map_or(String::new(), |met| met.to_string()),
                    number(compared.map(|one| one.difference)),
                    number(less),
                    number(more),
                    number(compared.map(|one| one.p_value)),
                    result.signature.clone(),
                    result.first_failure.clone().unwrap_or_default(),
                ];
                writeln!(out, "{}", cells.map(|cell| quoted(&cell)).join(","))?;
            }
            for pass_at in &self.pass_at[at] {
                let [low, high] = bounds(pass_at.interval);
                let cells = [
                    system.name.clone(),
                    format!("pass@{}", pass_at.k),
                    number(pass_at.value),
                    number(low),
                    number(high),
                    String::new(),
                    String::new(),
                    pass_at.samples.to_string(),
                    pass_at.failures.to_string(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    pass_at.reason.clone().unwrap_or_default(),
                ];
                writeln!(out, "{}", cells.map(|cell| quoted(&cell)).join(","))?;
            }
        }
        Ok(())
    }
}

/// A cell as RFC 4180 has it.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// A sample as a JSON line: its scores, or why there are none.
pub fn sample_line<'a>(
    id: &str,
    scores: impl Iterator<Item = (&'a Metric, &'a Result<Score, Failure>)>,
) -> Value {
    let scores: BTreeMap<&str, Value> = scores
        .map(|(metric, score)| {
            let value = match score {
                Ok(score) => {
                    let names = &metric.descriptor().components;
                    let components: BTreeMap<&String, f64> =
                        names.iter().zip(score.components.iter().copied()).collect();
                    json!({ "value": score.value, "components": components })
                }
                Err(failure) => json!({ "failure": failure.to_string() }),
            };
            (metric.name(), value)
        })
        .collect();
    json!({ "id": id, "scores": scores })
}
