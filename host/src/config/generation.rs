//! `[generation]`: how responses are sampled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of sampling. With `temperature` 0 the most likely token is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Generation {
    /// Tokens of a response at most. Default 256.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 is greedy. Default 0.8.
    pub temperature: f64,
    /// Only the k most likely tokens; 0 keeps all. Default 50.
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities sum to p, in (0, 1]. Default 0.95.
    pub top_p: f64,
    /// Only tokens at least this fraction as likely as the most likely one, in [0, 1]; 0 keeps
    /// all. Default 0.
    pub min_p: f64,
    /// Makes tokens that stand in prompt or response less likely (above 1) or more: divides their
    /// logits where these are positive, multiplies them where negative. Default 1.
    pub repetition_penalty: f64,
    /// Beams of a search for the most likely response; 1 samples instead. A search is not
    /// sampled: of the settings above it minds `max_new_tokens` and `repetition_penalty`.
    /// Default 1.
    pub num_beams: usize,
    /// A beam's score is its log-probability over its length to this power. Default 1.
    pub length_penalty: f64,
    /// When a search ends; see [`EarlyStopping`]. Default false.
    #[schemars(with = "EarlyStoppingValue")]
    pub early_stopping: EarlyStopping,
    /// Prompts decoded at once. Default 16.
    pub batch_size: usize,
    /// How weights are stored while responses grow on a CPU, whose speed there is its memory's.
    /// Log-probabilities are the model's own whatever this says, and a search with beams takes
    /// its own weights. Default f32.
    pub weights: Weights,
}

/// How weights are stored for decoding.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// The model's own.
    #[default]
    F32,
    /// Copies at half the size.
    Bf16,
    /// Copies at a quarter of the size: 8-bit integers with a scale for each 64.
    Int8,
}

/// When a beam search ends, of a prompt that has as many finished responses as beams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EarlyStoppingValue", into = "EarlyStoppingValue")]
pub enum EarlyStopping {
    /// `false`: when the best open beam, at its length of now, is worse than the worst finished
    /// one.
    #[default]
    No,
    /// `true`: at once.
    Yes,
    /// `"never"`: when no open beam can become better than the worst finished one.
    Never,
}

/// As transformers writes it: a truth value or a word.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum EarlyStoppingValue {
    Flag(bool),
    Word(String),
}

impl TryFrom<EarlyStoppingValue> for EarlyStopping {
    type Error = String;

    fn try_from(value: EarlyStoppingValue) -> Result<Self, String> {
        match value {
            EarlyStoppingValue::Flag(false) => Ok(Self::No),
            EarlyStoppingValue::Flag(true) => Ok(Self::Yes),
            EarlyStoppingValue::Word(word) if word == "never" => Ok(Self::Never),
            EarlyStoppingValue::Word(word) => Err(format!(
                "expected true, false or \"never\", found \"{word}\""
            )),
        }
    }
}

impl From<EarlyStopping> for EarlyStoppingValue {
    fn from(value: EarlyStopping) -> Self {
        match value {
            EarlyStopping::No => Self::Flag(false),
            EarlyStopping::Yes => Self::Flag(true),
            EarlyStopping::Never => Self::Word("never".into()),
        }
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            temperature: 0.8,
            top_k: 50,
            top_p: 0.95,
            min_p: 0.0,
            repetition_penalty: 1.0,
            num_beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::No,
            batch_size: 16,
            weights: Weights::F32,
        }
    }
}
