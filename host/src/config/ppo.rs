//! `[ppo]`: Proximal Policy Optimization (Schulman et al. 2017) as InstructGPT uses it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the divergence from the reference is estimated from a token's log-probabilities
/// (Schulman 2020, "Approximating KL divergence").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KlEstimator {
    /// `log π − log π_ref`: no bias, and below zero for half of the tokens.
    #[default]
    K1,
    /// `π_ref/π − 1 − log(π_ref/π)`: no bias, never below zero, of less variance near equality.
    K3,
}

/// What the value model's states are those of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValueBackbone {
    /// A backbone of its own, which begins as the policy's (Stiennon et al. 2020; TRL 1.10).
    #[default]
    Own,
    /// The policy's: half the memory and less time, and the value loss changes the policy (TRL
    /// 0.11's `AutoModelForCausalLMWithValueHead`). `value_learning_rate` is not heeded.
    Shared,
}

/// Settings of PPO. Defaults are those of TRL 1.10's `PPOConfig` unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ppo {
    /// ε of eq. 7: how far a ratio of probabilities is followed. Default 0.2.
    pub clip_range: f64,
    /// How far a value is followed from what it was when the responses were sampled. Default 0.2.
    pub clip_range_value: f64,
    /// Weight of the policy's entropy in its loss, in nats a token (eq. 9): above 0 the policy is
    /// held from becoming certain. Default 0: TRL has no such term.
    pub entropy_coefficient: f64,
    /// Default own.
    pub value_backbone: ValueBackbone,
    /// Weight of the value loss in the gradient of the value model. Default 0.1.
    pub value_coefficient: f64,
    /// Peak learning rate of the value model; unset: `training.learning_rate`.
    pub value_learning_rate: Option<f64>,
    /// γ: weight of a reward one token later. Default 1: responses end soon.
    pub gamma: f64,
    /// λ of generalised advantage estimation. Default 0.95.
    pub lambda: f64,
    /// Whether advantages get mean 0 and variance 1 over a batch's tokens. Default true.
    pub whiten_advantages: bool,
    /// Whether token rewards get variance 1 before; their mean stays. Default false.
    pub whiten_rewards: bool,
    /// β: reward taken per nat of divergence from the reference; 0: no reference is kept.
    /// Default 0.05.
    pub kl_coefficient: f64,
    /// Default `k1`.
    pub kl_estimator: KlEstimator,
    /// Divergence of a response, in nats, that β is steered to (Ziegler et al. 2019, section
    /// 2.2); unset: β stays.
    pub kl_target: Option<f64>,
    /// Responses over which β can change by a fifth of its error. Default 10000, the paper's.
    pub kl_horizon: f64,
    /// Ends the passes over a batch once ½E[(log ratio)²] of a minibatch exceeds it; unset: never.
    pub kl_stop: Option<f64>,
}

impl Default for Ppo {
    fn default() -> Self {
        Self {
            clip_range: 0.2,
            clip_range_value: 0.2,
            entropy_coefficient: 0.0,
            value_backbone: ValueBackbone::Own,
            value_coefficient: 0.1,
            value_learning_rate: None,
            gamma: 1.0,
            lambda: 0.95,
            whiten_advantages: true,
            whiten_rewards: false,
            kl_coefficient: 0.05,
            kl_estimator: KlEstimator::K1,
            kl_target: None,
            kl_horizon: 10_000.0,
            kl_stop: None,
        }
    }
}
