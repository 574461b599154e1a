//! `[dpo]`: Direct Preference Optimization (Rafailov et al. 2023).

use serde::{Deserialize, Serialize};

/// Settings of the preference loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dpo {
    /// β of eq. 7: how strongly the policy is held to the reference. Default 0.1, TRL's.
    pub beta: f64,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}
