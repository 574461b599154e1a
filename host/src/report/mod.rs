//! What is left of a run: `summary.json`, `manifest.json`, `report.html`, and the tables a person reads.
//!
//! Reads results and computes nothing new. The summary holds no clock and no
//! path, so that equal runs leave equal summaries; those are in the manifest.
//! The page is made of the folder's files alone, so that it can be made again.

mod chart;
mod charts;
mod compare;
mod highlight;
pub mod manifest;
mod overview;
mod page;
pub mod run;
mod samples;
pub mod tables;
mod text;

use std::path::{Path, PathBuf};

pub use run::{Error, RunFiles};

use serde::{Deserialize, Serialize};

use crate::evaluate::MetricResult;
use crate::files;
use crate::trainer::dpo;

/// The outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub model: String,
    pub method: &'static str,
    pub seed: u64,
    /// Held-out scores, in the order they were taken.
    pub evaluations: Vec<StageEvaluation>,
    /// The preference loss on held-out pairs.
    pub preferences: Option<PreferenceSummary>,
    /// The reward model that was trained on human feedback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_model: Option<RewardModelSummary>,
    /// What was learned from the policy's own responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollouts: Option<RolloutSummary>,
    pub targets: Vec<TargetResult>,
    /// What a reader should know before quoting the numbers.
    pub warnings: Vec<String>,
}

impl Summary {
    /// The numbers that a run is remembered by, under the tags of its curves.
    pub fn results(&self) -> Vec<(String, f64)> {
        let last = self.evaluations.last().map(|stage| stage.metrics.iter());
        let metrics = last.into_iter().flatten();
        let mut results: Vec<(String, f64)> = metrics
            .filter_map(|metric| Some((format!("eval/{}", metric.name), metric.value?)))
            .collect();
        if let Some(preferences) = &self.preferences {
            let after = &preferences.after;
            results.push(("eval/rewards/accuracies".into(), after.accuracy));
            results.push(("eval/rewards/margins".into(), after.margin));
            results.push(("eval/loss".into(), after.loss));
        }
        if let Some(rollouts) = &self.rollouts {
            results.push(("reward".into(), rollouts.final_reward));
            results.push(("objective/kl".into(), rollouts.final_kl));
        }
        results
    }
}

/// Metrics on the held-out tasks after a stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageEvaluation {
    /// `before warm-up`, `after warm-up`, `after dpo`.
    pub stage: String,
    pub tasks: usize,
    pub metrics: Vec<MetricResult>,
}

/// What DPO learned of the preferences.
#[derive(Clone, Debug, Serialize)]
pub struct PreferenceSummary {
    /// `data` or `own samples`.
    pub source: &'static str,
    pub pairs_trained: usize,
    pub pairs_held_out: usize,
    pub before: dpo::Evaluation,
    pub after: dpo::Evaluation,
}

/// How right the reward model was on human feedback that it had not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardModelSummary {
    /// What it began with.
    pub begun_with: String,
    /// Pairs and ratings trained on.
    pub examples_trained: usize,
    /// Held-out pairs; the rest is none where there are no pairs.
    pub pairs_held_out: usize,
    /// Share of them that is ranked right, without human logits, and its 95 % interval.
    pub accuracy: Option<f64>,
    pub interval: Option<[f64; 2]>,
    /// The same of the rule that the shorter response is the better one.
    pub shorter_wins: Option<f64>,
    /// Mean held-out loss of pairs and ratings.
    pub loss: f64,
}

/// What PPO, GRPO or RLOO did.
#[derive(Clone, Debug, Serialize)]
pub struct RolloutSummary {
    /// Batches of responses.
    pub steps: u64,
    /// Responses learned from.
    pub responses: u64,
    /// Batches left out because a number was not finite.
    pub bad_batches: u64,
    /// Mean reward of the last batch.
    pub final_reward: f64,
    /// Divergence of a response from the reference in the last batch, in nats; 0 without one.
    pub final_kl: f64,
}

/// A metric against its target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetResult {
    pub metric: String,
    pub target: f64,
    pub value: Option<f64>,
    pub interval: Option<[f64; 2]>,
    /// Absent if the metric was not computed.
    pub met: Option<bool>,
    /// Why it was not computed.
    pub reason: Option<String>,
}

/// Writes `report.html` into a run's folder, and its charts as files into `plots/`.
///
/// # Errors
/// The folder holds no run, or can't be written.
pub fn write(folder: &Path) -> Result<PathBuf, Error> {
    let run = RunFiles::read(folder)?;
    let plots = folder.join("plots");
    replace_folder(&plots)?;
    for group in charts::groups(&[&run]) {
        for chart in &group.charts {
            let name = format!("{} {}", group.title, chart.title);
            save(&plots.join(text::slug(&name) + ".svg"), &chart.file())?;
        }
    }
    let file = folder.join("report.html");
    save(&file, &page::of_run(&run))?;
    Ok(file)
}

/// Writes a page that compares two runs, `baseline` and `other`.
///
/// # Errors
/// A folder holds no run, or the file can't be written.
pub fn write_comparison(baseline: &Path, other: &Path, file: &Path) -> Result<(), Error> {
    let (a, b) = (RunFiles::read(baseline)?, RunFiles::read(other)?);
    save(file, &compare::of_runs(&a, &b))
}

/// An empty folder, whatever charts were in it.
fn replace_folder(folder: &Path) -> Result<(), Error> {
    let made = match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(folder),
    };
    made.map_err(|source| Error::Write {
        path: folder.to_owned(),
        source,
    })
}

/// Writes beside and renames.
fn save(path: &Path, text: &str) -> Result<(), Error> {
    files::replace(path, text.as_bytes()).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}
