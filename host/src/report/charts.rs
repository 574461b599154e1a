//! Which charts a run has: the metrics by stage against their targets, then what each kind of
//! training is watched by. A chart without data is not drawn.

use serde_json::Value;

use super::chart::{Chart, Series, Target};
use super::run::{RunFiles, text};

/// Charts that belong together.
pub struct Group {
    pub title: String,
    pub charts: Vec<Chart>,
}

/// A chart of a training: its title, what a reader should know, its tags.
type Kind = (&'static str, &'static str, &'static [&'static str]);

/// In the order of the page. Tags are those of `metrics.jsonl`.
const KINDS: &[Kind] = &[
    (
        "Reward",
        "Mean over the responses of a step; with the penalty for leaving the reference taken off.",
        &["reward", "objective/rlhf_reward"],
    ),
    (
        "Rewards of chosen and rejected",
        "β times the log-ratio of policy and reference.",
        &["rewards/chosen", "rewards/rejected"],
    ),
    (
        "Margin",
        "Chosen minus rejected.",
        &["rewards/margins", "eval/rewards/margins"],
    ),
    (
        "Preference accuracy",
        "Share of pairs whose chosen response has the higher reward.",
        &["rewards/accuracies", "eval/rewards/accuracies"],
    ),
    ("KL to the reference", "Per response, in nats.", &["kl"]),
    ("Entropy", "Per token, in nats.", &["entropy"]),
    (
        "Length of responses",
        "In tokens.",
        &[
            "completions/mean_length",
            "completions/min_length",
            "completions/max_length",
        ],
    ),
    (
        "Cut off by their length",
        "Share of the responses.",
        &["completions/clipped_ratio"],
    ),
    (
        "Spread of rewards",
        "Standard deviation, and the share of prompts whose responses are all worth the same.",
        &["reward_std", "frac_reward_zero_std"],
    ),
    ("Loss", "", &["loss", "eval/loss"]),
    (
        "Policy and value loss",
        "",
        &["loss/policy_avg", "loss/value_avg"],
    ),
    (
        "Policy updates",
        "Divergence from the policy that sampled, and the share of clipped tokens.",
        &["policy/approxkl_avg", "policy/clipfrac_avg"],
    ),
    (
        "Clipped tokens",
        "Share of the tokens whose ratio left the range below, and above.",
        &["clip_ratio/low_mean", "clip_ratio/high_mean"],
    ),
    ("Ratio of new and old policy", "", &["val/ratio"]),
    (
        "Value updates",
        "Share of clipped values.",
        &["val/clipfrac_avg"],
    ),
    (
        "Penalty for leaving the reference",
        "β times the divergence, as a part of the reward.",
        &["objective/non_score_reward"],
    ),
    (
        "Coefficient of the penalty",
        "β.",
        &["objective/kl_coefficient"],
    ),
    (
        "Log-probabilities",
        "Of whole responses.",
        &["logps/chosen", "logps/rejected"],
    ),
    (
        "Accuracy",
        "Share of pairs whose chosen response has the higher score.",
        &["accuracy", "eval/accuracy"],
    ),
    ("Margin of scores", "Chosen minus rejected.", &["margin"]),
    ("Scores", "", &["min_reward", "mean_reward", "max_reward"]),
    ("Squared error of ratings", "", &["squared_error"]),
    ("Gradient norm", "Before it is clipped.", &["grad_norm"]),
    ("Learning rate", "", &["learning_rate"]),
];

/// Tags that count, repeat another tag, or say nothing as a curve.
const LEFT_OUT: [&str; 14] = [
    "epoch",
    "num_tokens",
    "episode",
    "lr",
    "updates",
    "bad_batches",
    "objective/kl",
    "objective/scores",
    "objective/entropy",
    "policy/entropy_avg",
    "rewards/total",
    "clip_ratio/region_mean",
    "skipped_steps",
    "loss_scale",
];

/// All charts of a run, or of several runs over one another; lines are named by their run then.
pub fn groups(runs: &[&RunFiles]) -> Vec<Group> {
    let mut groups = vec![Group {
        title: "Metrics".to_owned(),
        charts: vec![metrics(runs), by_epoch(runs)],
    }];
    let mut stages: Vec<&str> = Vec::new();
    for stage in runs.iter().flat_map(|run| run.stages()) {
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    for stage in stages {
        groups.push(Group {
            title: title(stage),
            charts: of_stage(runs, stage),
        });
    }
    for group in &mut groups {
        group.charts.retain(Chart::has_data);
    }
    groups.retain(|group| !group.charts.is_empty());
    groups
}

/// A stage's name for people.
pub fn title(stage: &str) -> String {
    match stage {
        "ppo" | "grpo" | "rloo" | "dpo" => format!("RLHF by {}", stage.to_uppercase()),
        "warm-up" => "Supervised training".to_owned(),
        "reward_model" | "reward model" => "Reward model".to_owned(),
        other => {
            let mut letters = other.chars();
            let first = letters.next().map(char::to_uppercase);
            first.into_iter().flatten().chain(letters).collect()
        }
    }
}

fn of_stage(runs: &[&RunFiles], stage: &str) -> Vec<Chart> {
    let mut charts = Vec::new();
    let mut seen: Vec<&str> = LEFT_OUT.to_vec();
    let has = |tag: &str| runs.iter().any(|run| !run.curve(stage, tag).is_empty());
    for (name, note, tags) in KINDS {
        // Where there are two losses, `loss` is the policy's again.
        let tags: Vec<&str> = match *name {
            "Loss" if has("loss/policy_avg") => Vec::new(),
            _ => tags.to_vec(),
        };
        seen.extend(&tags);
        let short = |tag: &str| {
            let name = tag.rsplit('/').next().unwrap_or(tag).replace('_', " ");
            match tag.starts_with("eval/") {
                true => format!("{name}, held out"),
                false => name,
            }
        };
        charts.push(Chart {
            title: (*name).to_owned(),
            note: (*note).to_owned(),
            x: "step".to_owned(),
            series: lines(runs, stage, &tags, short),
            ..Chart::default()
        });
    }
    seen.extend(["loss", "eval/loss"]);
    let judged: Vec<&str> = runs.iter().flat_map(|run| run.judged_tags()).collect();
    // Those have a chart of their own.
    seen.extend(judged);
    let mut parts: Vec<&str> = Vec::new();
    let mut others: Vec<&str> = Vec::new();
    for tag in runs.iter().flat_map(|run| run.tags(stage)) {
        if seen.contains(&tag) || parts.contains(&tag) || others.contains(&tag) {
            continue;
        }
        match tag.starts_with("rewards/") {
            true => parts.push(tag),
            false => others.push(tag),
        }
    }
    let part = |tag: &str| tag.trim_start_matches("rewards/").to_owned();
    charts.insert(
        1,
        Chart {
            title: "Parts of the reward".to_owned(),
            note: "Each before its weight.".to_owned(),
            x: "step".to_owned(),
            series: lines(runs, stage, &parts, part),
            ..Chart::default()
        },
    );
    for tag in others {
        charts.push(Chart {
            title: tag.to_owned(),
            x: "step".to_owned(),
            series: lines(runs, stage, &[tag], str::to_owned),
            ..Chart::default()
        });
    }
    // A line needs two points: a stage that was logged once has its numbers elsewhere.
    for chart in &mut charts {
        chart.series.retain(|series| series.points.len() > 1);
    }
    charts
}

fn lines(
    runs: &[&RunFiles],
    stage: &str,
    tags: &[&str],
    name: impl Fn(&str) -> String,
) -> Vec<Series> {
    let mut all = Vec::new();
    for tag in tags {
        for run in runs {
            let points = run.curve(stage, tag);
            if points.is_empty() {
                continue;
            }
            let name = match (runs.len(), tags.len()) {
                (1, _) => name(tag),
                (_, 1) => run.name.clone(),
                _ => format!("{}: {}", run.name, name(tag)),
            };
            all.push(Series {
                name,
                points,
                intervals: Vec::new(),
                // A schedule is no measurement.
                noisy: *tag != "learning_rate",
            });
        }
    }
    all
}

/// Held-out metrics over the course of the training, with their targets: before it, in its middle
/// as `evaluation.strategy` says, and after it.
fn by_epoch(runs: &[&RunFiles]) -> Chart {
    let mut chart = Chart {
        title: "Metrics by epoch".to_owned(),
        note: "On the held-out tasks; dashed: the target.".to_owned(),
        x: "epoch".to_owned(),
        ..Chart::default()
    };
    for run in runs {
        for tag in run.judged_tags() {
            let points = run.by_epoch(tag);
            if points.len() < 2 {
                continue;
            }
            let name = tag.trim_start_matches("eval/");
            let target = run.target(name);
            // Runs that are compared mostly have the same targets: once is enough.
            if let Some(value) = target.filter(|_| std::ptr::eq(*run, runs[0])) {
                let of = chart.series.len();
                chart.targets.push(Target { of, value });
            }
            chart.series.push(Series {
                name: match runs.len() {
                    1 => name.to_owned(),
                    _ => format!("{}: {name}", run.name),
                },
                points,
                ..Series::default()
            });
        }
    }
    chart
}

/// Held-out metrics by stage, with their intervals and targets.
fn metrics(runs: &[&RunFiles]) -> Chart {
    let mut chart = Chart {
        title: "Held-out metrics and their targets".to_owned(),
        note: "With 95 % bootstrap intervals over tasks; dashed: the target.".to_owned(),
        x: "evaluation".to_owned(),
        ..Chart::default()
    };
    let evaluations = |run: &RunFiles| -> Vec<Value> {
        let all = run.summary["evaluations"].as_array();
        all.cloned().unwrap_or_default()
    };
    for stage in runs.iter().flat_map(|run| evaluations(run)) {
        let name = text(&stage["stage"]).to_owned();
        if !chart.names.contains(&name) {
            chart.names.push(name);
        }
    }
    for run in runs {
        let stages = evaluations(run);
        let last = stages.last().map(|stage| stage["metrics"].clone());
        let last = last.and_then(|metrics| metrics.as_array().cloned());
        for metric in last.unwrap_or_default() {
            let name = text(&metric["name"]);
            let mut series = Series {
                name: match runs.len() {
                    1 => name.to_owned(),
                    _ => format!("{}: {name}", run.name),
                },
                ..Series::default()
            };
            for stage in &stages {
                let at = chart.names.iter().position(|of| *of == stage["stage"]);
                let all = stage["metrics"].as_array().into_iter().flatten();
                let found = all.into_iter().find(|of| of["name"] == metric["name"]);
                let value = found.and_then(|found| found["value"].as_f64());
                if let (Some(at), Some(value), Some(found)) = (at, value, found) {
                    series.points.push((at as f64, value));
                    let end = |at: usize| found["interval"][at].as_f64().unwrap_or(value);
                    series.intervals.push([end(0), end(1)]);
                }
            }
            if series.points.is_empty() {
                continue;
            }
            // Runs that are compared mostly have the same targets: once is enough.
            if let Some(value) = run.target(name).filter(|_| std::ptr::eq(*run, runs[0])) {
                let of = chart.series.len();
                chart.targets.push(Target { of, value });
            }
            chart.series.push(series);
        }
    }
    chart
}
