//! `[rollout]`: the responses that PPO, GRPO and RLOO learn from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Rewards are cut to ± this; unset: they are not.
    pub reward_clip: Option<f64>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            prompts_per_step: 16,
            samples_per_prompt: 8,
            missing_eos_penalty: 0.0,
            reward_clip: None,
        }
    }
}
