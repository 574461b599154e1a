//! `[rollout]`: the responses that PPO, GRPO and RLOO learn from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What running moments of all rewards so far do to a batch's (TRL 0.11: `use_score_scaling`,
/// `use_score_norm`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RewardNormalisation {
    /// Nothing.
    #[default]
    Off,
    /// Divide by their deviation.
    Scale,
    /// Take away their mean and divide by their deviation.
    Standardise,
}

/// Settings of a step's responses. They are drawn from the policy as it is (temperature 1,
/// nothing cut off), so that their log-probabilities are those of the distribution that is
/// trained; of `[generation]` only `max_new_tokens` and `batch_size` apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// Prompts of a step. Default 16.
    pub prompts_per_step: usize,
    /// Responses to each prompt; GRPO and RLOO compare them with one another. Default 8.
    pub samples_per_prompt: usize,
    /// Taken from the reward of a response that was cut off by its length. Default 0: nothing.
    pub missing_eos_penalty: f64,
    /// Before they are cut: rewards in the scale of all so far. Default off.
    pub reward_normalisation: RewardNormalisation,
    /// Rewards are cut to ± this; unset: they are not.
    pub reward_clip: Option<f64>,
    /// For GRPO and RLOO: how often a step replaces prompts whose responses are all worth the
    /// same, of which nothing is learned, by others (Yu et al. 2025, section 3.2). Default 0.
    pub resample_rounds: usize,
    /// Whether each batch is scored together with programs that are known to be bad: where one
    /// of them gets full marks from a metric of the reward, the run ends; where one is worth more
    /// than its task's own answer, the run says so. Default true.
    pub canaries: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            prompts_per_step: 16,
            samples_per_prompt: 8,
            missing_eos_penalty: 0.0,
            reward_normalisation: RewardNormalisation::Off,
            reward_clip: None,
            resample_rounds: 0,
            canaries: true,
        }
    }
}
