//! Llama (Touvron et al. 2023): RMS norm, rotary positions, grouped-query attention, gated MLP.
//!
//! SmolLM2, TinyLlama and Llama 1 and 2 are of this form.

use candle_core::{Device, Result};
use serde_json::{Value, json};

use super::LanguageModel;
use super::spec::{Activation, Biases, Names, NormKind, Position, ProjectionNames, Residual, Spec};
use super::weights::{ConfigError, ConfigReader};
use crate::ops::attention::Heads;

pub(super) const MODEL_TYPE: &str = "llama";

/// Llama's names, and Qwen2's.
pub(super) const NAMES: Names = Names {
    prefix: "model.",
    embedding: "embed_tokens",
    positions: "",
    token_types: "",
    embedding_norm: "",
    layers: "layers",
    attention_norm: "input_layernorm",
    projections: ProjectionNames::Separate([
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
    ]),
    output: "self_attn.o_proj",
    mlp_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    norm: "norm",
    constants: &["rotary_emb.inv_freq"],
};

/// The shape of a Llama that is made rather than loaded, under the names of `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub tie_word_embeddings: bool,
    pub bos_token_id: Option<u32>,
    /// Generation ends at any of these.
    pub eos_token_id: Vec<u32>,
    pub pad_token_id: Option<u32>,
}

impl LlamaConfig {
    /// A model of this shape with random weights; see [`LanguageModel::init`].
    ///
    /// # Errors
    /// The shape makes no sense, or the device has no room.
    pub fn init(&self, seed: u64, device: &Device) -> Result<LanguageModel> {
        LanguageModel::init(self.to_json(), seed, device)
    }

    /// The `config.json` that transformers reads.
    pub fn to_json(&self) -> Value {
        let eos = match self.eos_token_id.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": MODEL_TYPE,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default"},
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "initializer_range": super::INITIAL_DEVIATION,
            "tie_word_embeddings": self.tie_word_embeddings,
            "use_cache": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "pad_token_id": self.pad_token_id,
            "dtype": "float32",
        })
    }
}

/// Reads a Llama's `config.json`.
pub(super) fn spec(config: &Value) -> std::result::Result<Spec, ConfigError> {
    let read = ConfigReader(config);
    read.require("attention_bias", &json!(false))?;
    read.require("mlp_bias", &json!(false))?;
    gated(config, MODEL_TYPE, Biases::None, (2048, false))
}

/// What Llama and its descendants have in common. `defaults` are those of
/// `max_position_embeddings` and `tie_word_embeddings`, which transformers leaves out of files.
pub(super) fn gated(
    config: &Value,
    model_type: &'static str,
    biases: Biases,
    defaults: (usize, bool),
) -> std::result::Result<Spec, ConfigError> {
    let read = ConfigReader(config);
    read.require("hidden_act", &json!("silu"))?;
    let rope = config.get("rope_parameters").filter(|v| v.is_object());
    let scaling = rope.or(config.get("rope_scaling").filter(|v| v.is_object()));
    let kind = scaling
        .and_then(|r| r.get("rope_type").or(r.get("type")))
        .and_then(Value::as_str);
    if let Some(kind) = kind.filter(|kind| *kind != "default") {
        return Err(ConfigError::Unsupported {
            key: "rope_type".into(),
            found: kind.into(),
            supported: "default".into(),
        });
    }
    let theta = rope
        .and_then(|r| r.get("rope_theta"))
        .or(config.get("rope_theta"));
    let theta = theta
        .map_or(Some(10_000.0), Value::as_f64)
        .ok_or(ConfigError::Invalid {
            key: "rope_theta".into(),
            found: theta.map(Value::to_string).unwrap_or_default(),
        })?;
    let hidden_size = read.size("hidden_size")?;
    let query = read.size("num_attention_heads")?;
    let key_value = read.size_or("num_key_value_heads", query)?;
    let width = read.size_or("head_dim", hidden_size / query)?;
    if !query.is_multiple_of(key_value) || width == 0 || !width.is_multiple_of(2) {
        return Err(ConfigError::Invalid {
            key: "num_key_value_heads".into(),
            found: format!("{key_value} for {query} heads of {width}"),
        });
    }
    Ok(Spec {
        model_type,
        vocab_size: read.size("vocab_size")?,
        hidden_size,
        intermediate_size: read.size("intermediate_size")?,
        layers: read.size("num_hidden_layers")?,
        heads: Heads {
            query,
            key_value,
            width,
            causal: true,
        },
        context: read.size_or("max_position_embeddings", defaults.0)?,
        norm: NormKind::Rms,
        epsilon: read.number_or("rms_norm_eps", 1e-6)?,
        position: Position::Rotary { theta },
        token_types: None,
        residual: Residual::PreNorm,
        activation: Activation::GatedSilu,
        biases,
        transposed: false,
        tied: read.flag_or("tie_word_embeddings", defaults.1)?,
        names: &NAMES,
    })
}
