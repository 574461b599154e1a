//! Judged responses, and the rows that are left of them.
//!
//! `completions.jsonl` has a row for each response with all that decided its score;
//! `costs.jsonl` has what the judging took, apart from it, since equal runs leave equal
//! completions and no clock is the same twice. `host/docs/run-folder.md` tells the fields.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::Error;
use crate::data::Task;
use crate::evaluate::Scored;
use crate::plugin::metric::Score;
use crate::plugin::reward_shaper::{Execution, Rollout};
use crate::plugin::{Failure, Metric, RewardShaper, Sample, Used};
use crate::report::run;
use crate::reward::watch::Control;
use crate::reward::{self, PartRewards, Rewards};
use crate::tracking::{Text, Tracker};

/// Responses of a step that are shown beside its curves. Chosen: what a person reads.
const SHOWN: usize = 4;

/// The beginning of each plugin's sha256, by name.
pub(super) type Hashes = BTreeMap<String, String>;

/// Responses, and all that was found out about them.
pub(super) struct Judged {
    pub rollouts: Vec<Rollout>,
    /// What each metric made of them, in their order.
    pub metrics: Vec<MetricScores>,
    /// Empty where nothing is learned from them.
    pub rewards: Rewards,
    /// Of the rewards' parts, in their order.
    pub weights: Vec<f64>,
    /// What the reward makes of a response that is known to be bad.
    pub control: Option<Control>,
    costs: Vec<Cost>,
}

/// A metric's scores of some responses.
pub(super) struct MetricScores {
    pub name: String,
    components: Vec<String>,
    pub scores: Vec<Result<Score, Failure>>,
}

/// What judging some responses took of one plugin.
struct Cost {
    plugin: String,
    samples: usize,
    used: Used,
    /// Samples without a result, by the kind of failure.
    failures: BTreeMap<String, usize>,
    /// From asking to the answer, all threads together.
    seconds: f64,
    /// What each sample took, in their order.
    sample_seconds: Vec<f64>,
}

/// Measures what a plugin uses from now on.
pub(super) struct Meter {
    before: Used,
    start: Instant,
}

impl Meter {
    pub fn start(used: impl Fn() -> Used) -> Self {
        Self {
            before: used(),
            start: Instant::now(),
        }
    }

    fn stop(self, after: Used) -> (Used, f64) {
        let used = Used {
            fuel: after.fuel - self.before.fuel,
            memory_bytes: after.memory_bytes,
            calls: after.calls - self.before.calls,
            nanoseconds: after.nanoseconds - self.before.nanoseconds,
        };
        (used, self.start.elapsed().as_secs_f64())
    }
}

impl Judged {
    /// Responses that nobody has judged yet.
    pub fn of(rollouts: Vec<Rollout>) -> Self {
        Self {
            rollouts,
            metrics: Vec::new(),
            rewards: Rewards::default(),
            weights: Vec::new(),
            control: None,
            costs: Vec::new(),
        }
    }

    /// The responses as metrics see them.
    pub fn samples(&self) -> Vec<Sample> {
        let samples = self.rollouts.iter();
        samples.map(|rollout| rollout.sample.clone()).collect()
    }

    /// Adds a metric's scores, and what they cost.
    pub fn add_metric(&mut self, metric: &Metric, scored: &Scored, meter: Meter) {
        let (used, seconds) = meter.stop(metric.used());
        let scores = scored.per_sample.clone();
        let mut failures = BTreeMap::new();
        for failure in scores.iter().filter_map(|score| score.as_ref().err()) {
            *failures.entry(failure.kind().to_owned()).or_insert(0) += 1;
        }
        self.costs.push(Cost {
            plugin: metric.name().to_owned(),
            samples: scores.len(),
            used,
            failures,
            seconds,
            sample_seconds: scored.seconds.clone(),
        });
        self.metrics.push(MetricScores {
            name: metric.name().to_owned(),
            components: metric.descriptor().components.clone(),
            scores,
        });
    }

    /// Adds what the reward model's scores cost.
    pub fn add_reward_model(&mut self, meter: Meter) {
        let (used, seconds) = meter.stop(Used::default());
        let count = self.rollouts.len();
        self.costs.push(Cost {
            plugin: reward::REWARD_MODEL.to_owned(),
            samples: count,
            used,
            failures: BTreeMap::new(),
            seconds,
            // They are computed together: each has its share.
            sample_seconds: vec![seconds / count.max(1) as f64; count],
        });
    }

    /// Adds what a shaper's rewards cost.
    pub fn add_shaper(&mut self, shaper: &RewardShaper, meter: Meter) {
        let (used, _) = meter.stop(shaper.used());
        let part = self.rewards.parts.iter().find(|p| p.name == shaper.name());
        let missing = part.map_or(0, |part| part.reasons.iter().flatten().count());
        let failures = (missing > 0).then(|| ("no-reward".to_owned(), missing));
        self.costs.push(Cost {
            plugin: shaper.name().to_owned(),
            samples: self.rollouts.len(),
            // Shapers share the stretch of time that is measured; their calls are their own.
            seconds: used.nanoseconds as f64 * 1e-9,
            sample_seconds: part.map_or(Vec::new(), |part| part.seconds.clone()),
            used,
            failures: failures.into_iter().collect(),
        });
    }

    /// A row for each response.
    pub fn rows(&self, stage: &str, step: u64, hashes: &Hashes) -> Vec<Value> {
        let rows = 0..self.rollouts.len();
        rows.map(|at| self.row(stage, step, hashes, at)).collect()
    }

    fn row(&self, stage: &str, step: u64, hashes: &Hashes, at: usize) -> Value {
        let rollout = &self.rollouts[at];
        let sample = &rollout.sample;
        let mut row = Map::new();
        let mut set = |key: &str, value: Value| row.insert(key.to_owned(), value);
        set("stage", stage.into());
        set("step", step.into());
        set("id", sample.id.clone().into());
        set("task", task_of(&sample.id).into());
        set("prompt", sample.prompt.clone().into());
        set("response", sample.response.clone().into());
        set("finish", rollout.finish_reason.clone().into());
        set("tokens", rollout.tokens.len().into());
        let shaped = self
            .costs
            .iter()
            .any(|cost| self.metrics.iter().all(|m| m.name != cost.plugin));
        if shaped {
            set("token_texts", json!(rollout.tokens));
        }
        if let Some(kl) = rollout.kl {
            set("kl", number(kl));
        }
        if let Some(score) = rollout.reward_model_score {
            set("reward_model", number(score));
        }
        let metrics = self.metrics.iter().map(|metric| metric.entry(at));
        set("metrics", Value::Object(metrics.collect()));
        if !self.rewards.totals.is_empty() {
            let total = self.rewards.totals[at];
            set("reward", total.map_or(Value::Null, number));
            let parts = self.rewards.parts.iter().zip(&self.weights);
            let parts = parts.map(|(part, weight)| entry(part, *weight, at));
            set("parts", Value::Object(parts.collect()));
        }
        let used = hashes
            .iter()
            .filter(|(name, _)| self.costs.iter().any(|cost| cost.plugin == **name));
        let used = used.map(|(name, hash)| (name.clone(), hash.clone().into()));
        set("plugins", Value::Object(used.collect()));
        Value::Object(row)
    }

    /// A row for each plugin that was asked.
    pub fn cost_rows(&self, stage: &str, step: u64) -> Vec<Value> {
        let row = |cost: &Cost| {
            json!({
                "stage": stage,
                "step": step,
                "plugin": cost.plugin,
                "samples": cost.samples,
                "failures": cost.failures,
                "seconds": cost.seconds,
                "calls": cost.used.calls,
                "sample_seconds": cost.sample_seconds.iter().map(|s| microseconds(*s)).collect::<Vec<_>>(),
                "call_seconds": cost.used.nanoseconds as f64 * 1e-9,
                "fuel": cost.used.fuel,
                "memory_bytes": cost.used.memory_bytes,
            })
        };
        self.costs.iter().map(row).collect()
    }

    /// Shows some responses and how the numbers are spread.
    pub fn show(&self, tracker: &mut dyn Tracker, step: u64) {
        let totals = &self.rewards.totals;
        let score = |at: usize| totals.get(at).copied().flatten();
        let texts: Vec<Text> = self
            .rollouts
            .iter()
            .enumerate()
            .take(SHOWN)
            .map(|(at, rollout)| Text {
                prompt: &rollout.sample.prompt,
                response: &rollout.sample.response,
                score: score(at),
            })
            .collect();
        let lengths = self.rollouts.iter().map(|r| r.tokens.len() as f64);
        let totals = totals.iter().copied().flatten();
        show(tracker, step, &texts, lengths.collect(), totals.collect());
    }
}

fn show(tracker: &mut dyn Tracker, step: u64, texts: &[Text], lengths: Vec<f64>, totals: Vec<f64>) {
    tracker.texts(step, "completions", texts);
    tracker.histogram(step, "completions/length", &lengths);
    if !totals.is_empty() {
        tracker.histogram(step, "rewards/total", &totals);
    }
}

/// Shows a tracker the responses in `completions.jsonl`, as if they had just been judged.
///
/// # Errors
/// The file can't be read.
pub(super) fn retell(path: &Path, tracker: &mut dyn Tracker) -> Result<(), Error> {
    let mut group: Vec<Value> = Vec::new();
    run::rows(path, |row| {
        let same = |first: &Value| first["stage"] == row["stage"] && first["step"] == row["step"];
        if !group.first().is_none_or(same) {
            retell_group(&group, tracker);
            group.clear();
        }
        group.push(row);
    })?;
    retell_group(&group, tracker);
    Ok(())
}

fn retell_group(rows: &[Value], tracker: &mut dyn Tracker) {
    let Some(first) = rows.first() else {
        return;
    };
    let stage = run::text(&first["stage"]);
    match first.get("reward") {
        Some(_) => tracker.stage(stage, 0, "steps"),
        None => tracker.stage(&format!("evaluate {stage}"), 0, "responses"),
    }
    let texts: Vec<Text> = rows
        .iter()
        .take(SHOWN)
        .map(|row| Text {
            prompt: run::text(&row["prompt"]),
            response: run::text(&row["response"]),
            score: row["reward"].as_f64(),
        })
        .collect();
    let numbers = |key: &str| rows.iter().filter_map(|row| row[key].as_f64()).collect();
    let step = first["step"].as_u64().unwrap_or(0);
    show(tracker, step, &texts, numbers("tokens"), numbers("reward"));
}

impl MetricScores {
    /// What became of a response's tests, where the metric says so.
    pub fn execution(&self, at: usize) -> Option<Execution> {
        let score = self.scores[at].as_ref().ok()?;
        let count = |name: &str| {
            let found = self.components.iter().position(|known| known == name)?;
            let count = *score.components.get(found)?;
            (count >= 0.0 && count <= f64::from(u32::MAX)).then_some(count as u32)
        };
        Some(Execution {
            total: count("total")?,
            passed: count("passed")?,
        })
    }

    /// The metric's name, and what it made of a response.
    fn entry(&self, at: usize) -> (String, Value) {
        let value = match &self.scores[at] {
            Ok(score) => {
                let components = self.components.iter().zip(&score.components);
                let components = components.map(|(name, value)| (name.clone(), number(*value)));
                json!({
                    "value": number(score.value),
                    "components": Value::Object(components.collect()),
                })
            }
            Err(failure) => json!({ "failed": failure.kind(), "reason": failure.to_string() }),
        };
        (self.name.clone(), value)
    }
}

/// A part's name, and what it made of a response.
fn entry(part: &PartRewards, weight: f64, at: usize) -> (String, Value) {
    let value = match &part.reasons[at] {
        Some(reason) => json!({ "abstained": reason, "weight": weight }),
        None => {
            let named = part.named[at].iter();
            let named = named.map(|(name, value)| (name.clone(), number(*value)));
            let mut value = json!({
                "value": part.values[at],
                "weight": weight,
                "parts": Value::Object(named.collect()),
            });
            if let Some(terms) = part.per_token.get(at).filter(|terms| !terms.is_empty()) {
                value["per_token"] = json!(terms);
            }
            value
        }
    };
    (part.name.clone(), value)
}

/// Seconds, cut to whole microseconds: more digits are noise.
fn microseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// JSON has no NaN: null says that there was no number.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// The task that a sample with this id answers: ids are `TASK/NUMBER`.
pub(super) fn task_of(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(task, _)| task)
}

/// The rows of `tasks.jsonl`.
pub(super) fn task_rows<'a>(
    split: &'a str,
    tasks: &'a [Task],
    language: &'a str,
) -> impl Iterator<Item = Value> + 'a {
    tasks.iter().map(move |task| {
        json!({
            "split": split,
            "id": task.id,
            "prompt": task.prompt,
            "references": task.references,
            "tests": task.tests,
            "language": language,
        })
    })
}
