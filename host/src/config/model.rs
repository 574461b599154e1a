//! `[model]`: which model is trained, and where it computes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Prefix of models that are made rather than loaded.
pub const BUILTIN: &str = "builtin:";
/// The one there is.
pub const TINY_CODE: &str = "builtin:tiny-code";

/// Where tensors live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// CUDA or Metal if this build has it and the machine too, else the CPU.
    #[default]
    Auto,
    Cpu,
    Cuda,
    Metal,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Auto => "auto",
            Device::Cpu => "cpu",
            Device::Cuda => "cuda",
            Device::Metal => "metal",
        })
    }
}

/// Settings of the models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// A folder in Hugging Face's layout, a hub name, or `builtin:tiny-code`.
    /// Default: the Python project's, `microsoft/CodeGPT-small-py`.
    pub base_model_name: String,
    /// As above, for the reward model. Used by PPO only.
    pub reward_model_name: String,
    pub device: Device,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            base_model_name: "microsoft/CodeGPT-small-py".into(),
            reward_model_name: "microsoft/codebert-base".into(),
            device: Device::Auto,
        }
    }
}
