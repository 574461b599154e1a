//! RoBERTa (Liu et al. 2019), the form of codebert-base: a BERT whose positions begin behind the
//! padding's id.

use serde_json::Value;

use super::bert;
use super::spec::{Names, Position, Spec};
use super::weights::{ConfigError, ConfigReader};

pub(super) const MODEL_TYPE: &str = "roberta";

const NAMES: Names = bert::names("roberta.");

/// Reads a RoBERTa's `config.json`.
pub(super) fn spec(config: &Value) -> Result<Spec, ConfigError> {
    let read = ConfigReader(config);
    let padding = read.ids("pad_token_id").first().copied().unwrap_or(1);
    let rows = read.size_or("max_position_embeddings", 514)?;
    // Rows up to the padding's are never a token's.
    let context = rows
        .checked_sub(padding as usize + 1)
        .filter(|context| *context > 0)
        .ok_or(ConfigError::Invalid {
            key: "max_position_embeddings".into(),
            found: format!("{rows} with `pad_token_id` {padding}"),
        })?;
    let position = Position::Learned {
        rows,
        padding: Some(padding),
    };
    bert::encoder(config, MODEL_TYPE, &NAMES, position, context)
}
