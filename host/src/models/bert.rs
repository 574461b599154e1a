//! BERT (Devlin et al. 2019), the form of MiniLM: an encoder with the norms behind its parts,
//! tables of positions and token types, GELU.

use serde_json::{Value, json};

use super::spec::{Activation, Biases, Names, NormKind, Position, ProjectionNames, Residual, Spec};
use super::weights::{ConfigError, ConfigReader};
use crate::ops::attention::Heads;

pub(super) const MODEL_TYPE: &str = "bert";

const NAMES: Names = names("bert.");

/// BERT's names, and RoBERTa's.
pub(super) const fn names(prefix: &'static str) -> Names {
    Names {
        prefix,
        embedding: "embeddings.word_embeddings",
        positions: "embeddings.position_embeddings",
        token_types: "embeddings.token_type_embeddings",
        embedding_norm: "embeddings.LayerNorm",
        layers: "encoder.layer",
        attention_norm: "attention.output.LayerNorm",
        projections: ProjectionNames::Separate([
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
        ]),
        output: "attention.output.dense",
        mlp_norm: "output.LayerNorm",
        gate: "",
        up: "intermediate.dense",
        down: "output.dense",
        norm: "",
        constants: &["embeddings.position_ids", "embeddings.token_type_ids"],
    }
}

/// Reads a BERT's `config.json`.
pub(super) fn spec(config: &Value) -> Result<Spec, ConfigError> {
    let rows = ConfigReader(config).size_or("max_position_embeddings", 512)?;
    let position = Position::Learned {
        rows,
        padding: None,
    };
    encoder(config, MODEL_TYPE, &NAMES, position, rows)
}

/// What BERT and RoBERTa have in common.
pub(super) fn encoder(
    config: &Value,
    model_type: &'static str,
    names: &'static Names,
    position: Position,
    context: usize,
) -> Result<Spec, ConfigError> {
    let read = ConfigReader(config);
    read.require("position_embedding_type", &json!("absolute"))?;
    read.require("is_decoder", &json!(false))?;
    read.require("add_cross_attention", &json!(false))?;
    let hidden_size = read.size("hidden_size")?;
    let query = read.size("num_attention_heads")?;
    if !hidden_size.is_multiple_of(query) {
        return Err(ConfigError::Invalid {
            key: "num_attention_heads".into(),
            found: format!("{query} for `hidden_size` {hidden_size}"),
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
            key_value: query,
            width: hidden_size / query,
            causal: false,
        },
        context,
        norm: NormKind::Layer,
        epsilon: read.number_or("layer_norm_eps", 1e-12)?,
        position,
        token_types: Some(read.size_or("type_vocab_size", 2)?),
        residual: Residual::PostNorm,
        activation: Activation::Gelu(read.gelu("hidden_act", "gelu")?),
        biases: Biases::All,
        transposed: false,
        tied: false,
        names,
    })
}
