//! `[generation]`: how responses are sampled.

use serde::{Deserialize, Serialize};

/// Settings of sampling. With `temperature` 0 the most likely token is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Generation {
    /// Tokens of a response at most. Default 256.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 is greedy. Default 0.8.
    pub temperature: f64,
    /// Only the k most likely tokens; 0 keeps all. Default 50.
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities sum to p, in (0, 1]. Default 0.95.
    pub top_p: f64,
    /// Prompts decoded at once. Default 16.
    pub batch_size: usize,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            temperature: 0.8,
            top_k: 50,
            top_p: 0.95,
            batch_size: 16,
        }
    }
}
