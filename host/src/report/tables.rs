//! Tables for people, as plain text.

use std::fmt::Write;

use super::{RewardModelSummary, StageEvaluation, Summary, TargetResult};
use crate::evaluate::MetricResult;
use crate::evaluate::paired::Comparison;
use crate::evaluate::pass_at::PassAt;

/// Warnings shown below the numbers, so that these stay in sight. Chosen.
const WARNINGS_SHOWN: usize = 10;

/// A run's outcome.
pub fn summary(summary: &Summary) -> String {
    let mut out = String::new();
    for evaluation in &summary.evaluations {
        stage(&mut out, evaluation);
    }
    if let Some(preferences) = &summary.preferences {
        let (before, after) = (&preferences.before, &preferences.after);
        let _ = write!(
            out,
            "\npreferences ({}: {} pairs trained, {} held out)\n  {:22} {:>8} {:>8}\n",
            preferences.source,
            preferences.pairs_trained,
            preferences.pairs_held_out,
            "",
            "before",
            "after"
        );
        for (name, before, after) in [
            ("held-out loss", before.loss, after.loss),
            ("held-out accuracy", before.accuracy, after.accuracy),
            ("held-out margin", before.margin, after.margin),
        ] {
            let _ = writeln!(out, "  {name:22} {before:8.4} {after:8.4}");
        }
    }
    if let Some(model) = &summary.reward_model {
        reward_model(&mut out, model);
    }
    if let Some(rollouts) = &summary.rollouts {
        let _ = write!(
            out,
            "\n{} ({} steps, {} responses)\n  {:22} {:8.4}\n  {:22} {:8.4}\n",
            summary.method,
            rollouts.steps,
            rollouts.responses,
            "reward, last step",
            rollouts.final_reward,
            "kl, last step",
            rollouts.final_kl
        );
        if rollouts.bad_batches > 0 {
            let _ = writeln!(out, "  {:22} {:>8}", "bad batches", rollouts.bad_batches);
        }
    }
    let _ = write!(out, "\ntargets\n{}", targets(&summary.targets));
    for warning in summary.warnings.iter().take(WARNINGS_SHOWN) {
        let _ = writeln!(out, "\nwarning: {warning}");
    }
    let more = summary.warnings.len().saturating_sub(WARNINGS_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "\n{more} more warnings are in the report");
    }
    out
}

fn reward_model(out: &mut String, model: &RewardModelSummary) {
    let _ = writeln!(
        out,
        "\nreward model ({}: {} examples trained, {} pairs held out)",
        model.begun_with, model.examples_trained, model.pairs_held_out
    );
    let number = |value: f64| format!("{value:8.4}");
    let rows = [
        ("held-out accuracy", model.accuracy, model.interval),
        ("the shorter one wins", model.shorter_wins, None),
        ("held-out loss", Some(model.loss), None),
    ];
    for (name, value, range) in rows {
        let value = value.map_or("no pairs are held out".to_owned(), number);
        let _ = writeln!(out, "  {name:22} {value} {:>21}", interval(range));
    }
}

/// One line a target: the value with its interval, and whether that is enough.
pub fn targets(targets: &[TargetResult]) -> String {
    let mut out = String::new();
    for target in targets {
        let _ = match (target.value, target.met) {
            (Some(value), Some(met)) => writeln!(
                out,
                "  {:22} {value:8.4} {:>21}  target {:.2}  {}",
                target.metric,
                interval(target.interval),
                target.target,
                if met { "met" } else { "missed" }
            ),
            _ => writeln!(
                out,
                "  {:22} not computed: {}",
                target.metric,
                target.reason.as_deref().unwrap_or("unknown")
            ),
        };
    }
    out
}

fn stage(out: &mut String, evaluation: &StageEvaluation) {
    let _ = writeln!(
        out,
        "\n{} ({} held-out tasks)",
        evaluation.stage, evaluation.tasks
    );
    out.push_str(&metrics(&evaluation.metrics));
}

/// One line for each k.
pub fn pass_at(results: &[PassAt]) -> String {
    let mut out = String::new();
    for result in results {
        let name = format!("pass@{}", result.k);
        let _ = match result.value {
            None => writeln!(
                out,
                "  {name:22} not computed: {}",
                result.reason.as_deref().unwrap_or("no samples")
            ),
            Some(value) => writeln!(
                out,
                "  {name:22} {value:8.4} {:>21}  {} tasks, {} samples{}",
                interval(result.interval),
                result.tasks,
                result.samples,
                match result.failures {
                    0 => String::new(),
                    failures => format!(", {failures} without a verdict count as failed"),
                }
            ),
        };
    }
    out
}

/// One line a metric: the headline with its interval, then the other value and failures.
pub fn metrics(results: &[MetricResult]) -> String {
    let mut out = String::new();
    for result in results {
        let Some(value) = result.value else {
            let _ = writeln!(
                out,
                "  {:22} not computed: {}",
                result.name,
                result.first_failure.as_deref().unwrap_or("no samples")
            );
            continue;
        };
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
        let _ = write!(
            out,
            "  {:22} {value:8.4} {:>21}  corpus {}  mean {}",
            result.name,
            interval(result.interval),
            number(result.corpus),
            number(result.mean)
        );
        if let (None, Some(failure), true) = (
            result.corpus,
            &result.first_failure,
            result.failures.is_empty(),
        ) {
            let _ = write!(out, "  {failure}");
        }
        let failed: usize = result.failures.values().sum();
        if failed > 0 {
            let _ = write!(
                out,
                "  {failed} of {} failed: {}",
                result.samples,
                result.first_failure.as_deref().unwrap_or_default()
            );
        }
        out.push('\n');
    }
    out
}

/// One line a metric: the difference with its interval, and how likely it is chance.
pub fn comparisons(comparisons: &[Comparison]) -> String {
    let mut out = String::new();
    for comparison in comparisons {
        let _ = writeln!(
            out,
            "  {:22} {:+8.4} {:>21}  p {:.4}  ({:.4} to {:.4}, {} samples)",
            comparison.metric,
            comparison.difference,
            interval(Some(comparison.interval)),
            comparison.p_value,
            comparison.baseline,
            comparison.system,
            comparison.samples
        );
    }
    out
}

fn interval(interval: Option<[f64; 2]>) -> String {
    interval.map_or(String::new(), |[low, high]| {
        format!("95% [{low:.4}, {high:.4}]")
    })
}
