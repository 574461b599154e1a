//! `[preferences]`: pairs made from the model's own samples, where the data have none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How own samples become pairs: several responses to a prompt are scored by
/// the metric, and the best is preferred to the worst.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Preferences {
    /// Responses sampled for each prompt. Default 4.
    pub samples_per_prompt: usize,
    /// Metric that ranks them. Default `codebleu`.
    pub metric: String,
    /// Smallest difference of scores that makes a pair, in the metric's unit. Default 0.05.
    pub margin_min: f64,
    /// Prompts sampled at most; 0: all. Default 0.
    pub prompts_max: usize,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            samples_per_prompt: 4,
            metric: "codebleu".into(),
            margin_min: 0.05,
            prompts_max: 0,
        }
    }
}

impl Preferences {
    /// Prompts that are sampled, of `all` there are.
    pub fn prompts(&self, all: usize) -> usize {
        match self.prompts_max {
            0 => all,
            max => all.min(max),
        }
    }
}
