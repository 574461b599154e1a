//! `[model]`: which model is trained, and where it computes.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Prefix of models that are made rather than loaded.
pub const BUILTIN: &str = "builtin:";
/// The one there is.
pub const TINY_CODE: &str = "builtin:tiny-code";

/// Where tensors live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Type in which a model computes where the device has it. Weights that are trained are f32
/// whatever this says.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    Bf16,
    F16,
}

/// Low-rank adapters (Hu et al. 2022) in place of training all weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Rank of the adapters; 0, the default: none, all weights are trained.
    pub rank: usize,
    /// The adapters' output is multiplied by `alpha / rank`. Default 16.
    pub alpha: f64,
    /// Share of an adapter's inputs that are dropped in training, in [0, 1). Default 0.
    pub dropout: f64,
    /// Last parts of the names of the layers that get one, such as `q_proj`; `all-linear`, the
    /// default, for every linear layer but the head.
    pub target_modules: Vec<String>,
}

impl Lora {
    /// PEFT's word for every linear layer but the head.
    pub const ALL_LINEAR: &str = "all-linear";

    /// The layers named; empty for all.
    pub fn targets(&self) -> &[String] {
        match self.target_modules.iter().any(|t| t == Self::ALL_LINEAR) {
            true => &[],
            false => &self.target_modules,
        }
    }
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 0,
            alpha: 16.0,
            dropout: 0.0,
            target_modules: vec![Self::ALL_LINEAR.into()],
        }
    }
}

/// Settings of the models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// A folder in Hugging Face's layout, a hub name, or `builtin:tiny-code`.
    /// Default: the Python project's, `microsoft/CodeGPT-small-py`.
    pub base_model_name: String,
    /// As above, for the reward model. A local folder with a head for sequence classification, such
    /// as `rlhf reward train` saves, is used as it is wherever responses are sampled; any other is
    /// what the training of a reward model begins with.
    pub reward_model_name: String,
    pub device: Device,
    /// Default f32. On the CPU, where half precision is slower, bf16 and f16 only say how weights
    /// that are not trained are stored.
    pub precision: Precision,
    /// Compute each layer again in the backward rather than keep what it needs: about a third
    /// more time for a small part of the memory. Default off.
    pub gradient_checkpointing: bool,
    pub lora: Lora,
    /// Whether a run with adapters leaves the whole model in `final`, the adapters merged into it.
    /// Default false: `final` is a PEFT folder, which needs the base model. What a run has warmed
    /// up is saved whole in any case: nobody else has it.
    pub merge_adapters: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            base_model_name: "microsoft/CodeGPT-small-py".into(),
            reward_model_name: "microsoft/codebert-base".into(),
            device: Device::Auto,
            precision: Precision::F32,
            gradient_checkpointing: false,
            lora: Lora::default(),
            merge_adapters: false,
        }
    }
}
