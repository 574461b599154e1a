//! `[warm_up]`: supervised training before preferences are learned.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the supervised warm-up; what isn't here is shared with `[training]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WarmUp {
    /// Optimizer steps; 0: no warm-up. Default 0: a model from a folder has been trained already.
    pub steps: usize,
    /// Demonstrations per step. Default 32.
    pub batch_size: usize,
    /// Peak learning rate. Default 1e-5.
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW. Default 0.
    pub weight_decay: f64,
}

impl Default for WarmUp {
    fn default() -> Self {
        Self {
            steps: 0,
            batch_size: 32,
            learning_rate: 1e-5,
            weight_decay: 0.0,
        }
    }
}
