//! `[grpo]` and `[rloo]`: policy gradients whose baseline is the other responses to the prompt.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an advantage is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdvantageScale {
    /// The deviation of the rewards of its prompt (Shao et al. 2024).
    #[default]
    Group,
    /// The deviation of all rewards of the batch (Hu et al. 2025).
    Batch,
    /// Nothing (Liu et al. 2025).
    None,
}

/// How the losses of tokens become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Mean over each response's tokens, then over responses (Shao et al. 2024).
    Grpo,
    /// Mean over the tokens of an update: TRL's `bnpo` and, where an update is one batch, `dapo`
    /// (Yu et al. 2025).
    #[default]
    Dapo,
    /// Sum over tokens, divided by responses times `generation.max_new_tokens` (Liu et al. 2025).
    DrGrpo,
}

/// Settings of Group Relative Policy Optimization. Defaults are those of TRL 1.16's `GRPOConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grpo {
    /// How far a falling ratio of probabilities is followed. Default 0.2.
    pub clip_range_low: f64,
    /// How far a rising one is. Default 0.2.
    pub clip_range_high: f64,
    /// β: weight of the divergence from the reference (k3) in the loss; 0: no reference is kept.
    /// Default 0.
    pub kl_coefficient: f64,
    /// Default `group`.
    pub scale_advantages: AdvantageScale,
    /// Default `dapo`.
    pub aggregation: Aggregation,
    /// Passes over each batch of responses. Default 1.
    pub iterations: usize,
}

impl Default for Grpo {
    fn default() -> Self {
        Self {
            clip_range_low: 0.2,
            clip_range_high: 0.2,
            kl_coefficient: 0.0,
            scale_advantages: AdvantageScale::Group,
            aggregation: Aggregation::Dapo,
            iterations: 1,
        }
    }
}

/// Settings of REINFORCE leave-one-out (Ahmadian et al. 2024). Defaults are those of TRL 1.16's
/// `RLOOConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rloo {
    /// How far the ratio of a whole response's probabilities is followed, down and up.
    /// Default 0.2.
    pub clip_range: f64,
    /// β: reward taken per nat of a response's divergence (k1) from the reference; 0: no
    /// reference is kept. Default 0.05.
    pub kl_coefficient: f64,
    /// Whether advantages get mean 0 and deviation 1 over a batch. Default false.
    pub normalise_advantages: bool,
    /// Passes over each batch of responses. Default 1.
    pub iterations: usize,
}

impl Default for Rloo {
    fn default() -> Self {
        Self {
            clip_range: 0.2,
            kl_coefficient: 0.05,
            normalise_advantages: false,
            iterations: 1,
        }
    }
}
