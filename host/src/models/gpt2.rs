//! GPT-2 (Radford et al. 2019), the form of CodeGPT-small-py: layer norm, a table of positions,
//! one weight for queries, keys and values, GELU.

use serde_json::{Value, json};

use super::spec::{Activation, Biases, Names, NormKind, Position, ProjectionNames, Residual, Spec};
use super::weights::{ConfigError, ConfigReader};
use crate::ops::attention::Heads;

pub(super) const MODEL_TYPE: &str = "gpt2";

const NAMES: Names = Names {
    prefix: "transformer.",
    embedding: "wte",
    positions: "wpe",
    token_types: "",
    embedding_norm: "",
    layers: "h",
    attention_norm: "ln_1",
    projections: ProjectionNames::Fused("attn.c_attn"),
    output: "attn.c_proj",
    mlp_norm: "ln_2",
    gate: "",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    norm: "ln_f",
    // Causal masks, which files from before transformers 4.30 carry.
    constants: &[".attn.bias", ".attn.masked_bias"],
};

/// Reads a GPT-2's `config.json`.
pub(super) fn spec(config: &Value) -> Result<Spec, ConfigError> {
    let read = ConfigReader(config);
    read.require("scale_attn_weights", &json!(true))?;
    read.require("scale_attn_by_inverse_layer_idx", &json!(false))?;
    read.require("add_cross_attention", &json!(false))?;
    let hidden_size = read.size("n_embd")?;
    let query = read.size("n_head")?;
    if !hidden_size.is_multiple_of(query) {
        return Err(ConfigError::Invalid {
            key: "n_head".into(),
            found: format!("{query} for `n_embd` {hidden_size}"),
        });
    }
    let context = read.size_or("n_positions", 1024)?;
    Ok(Spec {
        model_type: MODEL_TYPE,
        vocab_size: read.size("vocab_size")?,
        hidden_size,
        intermediate_size: read.size_or("n_inner", 4 * hidden_size)?,
        layers: read.size("n_layer")?,
        heads: Heads {
            query,
            key_value: query,
            width: hidden_size / query,
            causal: true,
        },
        context,
        norm: NormKind::Layer,
        epsilon: read.number_or("layer_norm_epsilon", 1e-5)?,
        position: Position::Learned {
            rows: context,
            padding: None,
        },
        token_types: None,
        residual: Residual::PreNorm,
        activation: Activation::Gelu(read.gelu("activation_function", "gelu_new")?),
        biases: Biases::All,
        transposed: true,
        tied: read.flag_or("tie_word_embeddings", true)?,
        names: &NAMES,
    })
}
