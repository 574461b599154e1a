//! `[tracking]`: where a run's numbers go besides its own files.

use serde::{Deserialize, Serialize};

/// Settings of the trackers. `metrics.jsonl` is always written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tracking {
    /// Event files for TensorBoard in the run's folder. Default on.
    pub tensorboard: bool,
    /// A run for Weights & Biases. Default off.
    pub wandb: Wandb,
    /// The project that it belongs to there. Default `rlhf`.
    pub wandb_project: String,
    /// The user or team that it belongs to there. Default: the user's own default.
    pub wandb_entity: Option<String>,
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            tensorboard: true,
            wandb: Wandb::Off,
            wandb_project: "rlhf".into(),
            wandb_entity: None,
        }
    }
}

/// Whether a run goes to Weights & Biases.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Wandb {
    /// Not at all.
    #[default]
    Off,
    /// Into a folder that `wandb sync` uploads.
    Offline,
    /// Into such a folder, uploaded at the end by the `wandb` that is installed.
    Online,
}
