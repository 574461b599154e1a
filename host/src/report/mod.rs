//! What is left of a run: `summary.json`, `manifest.json` and the tables a person reads.
//!
//! Reads results and computes nothing new. The summary holds no clock and no
//! path, so that equal runs leave equal summaries; those are in the manifest.

pub mod manifest;
pub mod tables;

use serde::{Deserialize, Serialize};

use crate::evaluate::MetricResult;
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
    /// What was learned from the policy's own responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollouts: Option<RolloutSummary>,
    pub targets: Vec<TargetResult>,
    /// What a reader should know before quoting the numbers.
    pub warnings: Vec<String>,
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
