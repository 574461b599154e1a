//! Qwen2 (Yang et al. 2024), the form of Qwen2.5-Coder: a Llama whose query, key and value
//! projections have a bias.

use serde_json::{Value, json};

use super::llama;
use super::spec::{Biases, Spec};
use super::weights::{ConfigError, ConfigReader};

pub(super) const MODEL_TYPE: &str = "qwen2";

/// Reads a Qwen2's `config.json`. A sliding window must be off, as the released models have it.
pub(super) fn spec(config: &Value) -> Result<Spec, ConfigError> {
    let read = ConfigReader(config);
    read.require("use_sliding_window", &json!(false))?;
    let sliding = |kind: &&Value| kind.as_str() != Some("full_attention");
    let kinds = config.get("layer_types").and_then(Value::as_array);
    if let Some(kind) = kinds.and_then(|kinds| kinds.iter().find(sliding)) {
        return Err(ConfigError::Unsupported {
            key: "layer_types".into(),
            found: kind
                .as_str()
                .map_or_else(|| kind.to_string(), str::to_owned),
            supported: "full_attention".into(),
        });
    }
    llama::gated(config, MODEL_TYPE, Biases::Projections, (32768, false))
}
