//! What tells one architecture from another, as data: sizes, the kinds of its parts, and the
//! names of its weights. `llama.rs`, `gpt2.rs` and their neighbours read it from `config.json`;
//! everything else here is written once for all of them.

use candle_core::Tensor;
use serde_json::Value;

use super::{bert, gpt2, llama, qwen2, roberta, weights};
use crate::ops::attention::Heads;
use crate::ops::gelu::Gelu;

/// Values of `model_type` whose models predict the next token.
pub const CAUSAL: &[&str] = &[gpt2::MODEL_TYPE, llama::MODEL_TYPE, qwen2::MODEL_TYPE];

/// Values of `model_type` whose models see their whole sequence.
pub const ENCODERS: &[&str] = &[bert::MODEL_TYPE, roberta::MODEL_TYPE];

/// A transformer without its head.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Value of `model_type`.
    pub model_type: &'static str,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: Heads,
    /// Longest sequence the model was made for, in tokens.
    pub context: usize,
    pub norm: NormKind,
    /// ε of the norms.
    pub epsilon: f64,
    pub position: Position,
    /// Rows of the token-type table; all tokens are of type 0.
    pub token_types: Option<usize>,
    pub residual: Residual,
    pub activation: Activation,
    pub biases: Biases,
    /// Whether linear weights are stored `[inputs, outputs]`, as GPT-2's `Conv1D` has them.
    pub transposed: bool,
    /// Whether the language-model head is the embedding table.
    pub tied: bool,
    pub names: &'static Names,
}

/// Root-mean-square or layer normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    Rms,
    Layer,
}

/// How a token's place in its sequence reaches the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Position {
    /// Heads turn by an angle.
    Rotary { theta: f64 },
    /// A table of `rows`, added to the embedding. `padding` is RoBERTa's: its positions begin
    /// behind this id, and tokens of this id are not counted.
    Learned { rows: usize, padding: Option<u32> },
}

/// Where the norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// Before each part, and once more at the end: `x + f(norm(x))`.
    PreNorm,
    /// After each part, and behind the embeddings: `norm(x + f(x))`.
    PostNorm,
}

/// What stands between the two projections of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `silu(gate) · up`, with a projection for each.
    GatedSilu,
    Gelu(Gelu),
}

/// Which linear layers have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Biases {
    None,
    /// Only those that make queries, keys and values.
    Projections,
    All,
}

/// Names in the checkpoint, without `.weight` and `.bias`.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// Before all of these in a model with a head; a file of the bare backbone leaves it out.
    pub prefix: &'static str,
    pub embedding: &'static str,
    pub positions: &'static str,
    pub token_types: &'static str,
    pub embedding_norm: &'static str,
    /// Before a layer's number.
    pub layers: &'static str,
    pub attention_norm: &'static str,
    pub projections: ProjectionNames,
    pub output: &'static str,
    pub mlp_norm: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    /// The last norm.
    pub norm: &'static str,
    /// Endings of stored tensors that are no weights: masks, tables that follow from the shape.
    pub constants: &'static [&'static str],
}

/// Whether queries, keys and values come from one weight or from three.
#[derive(Debug, PartialEq, Eq)]
pub enum ProjectionNames {
    Fused(&'static str),
    Separate([&'static str; 3]),
}

impl Spec {
    /// Reads `config.json` by its `model_type`.
    ///
    /// # Errors
    /// The architecture is not known, a key is missing or of the wrong kind, or asks for what
    /// this model does not have.
    pub fn from_json(config: &Value) -> Result<Self, weights::ConfigError> {
        match config.get("model_type").and_then(Value::as_str) {
            Some(gpt2::MODEL_TYPE) => gpt2::spec(config),
            Some(llama::MODEL_TYPE) => llama::spec(config),
            Some(qwen2::MODEL_TYPE) => qwen2::spec(config),
            Some(bert::MODEL_TYPE) => bert::spec(config),
            Some(roberta::MODEL_TYPE) => roberta::spec(config),
            other => Err(weights::ConfigError::Unsupported {
                key: "model_type".into(),
                found: other.unwrap_or("none").into(),
                supported: Self::model_types().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Values of `model_type` that can be loaded.
    pub fn model_types() -> impl Iterator<Item = &'static str> {
        CAUSAL.iter().chain(ENCODERS).copied()
    }

    /// Whether it predicts the next token, and so can have a language-model head.
    pub fn causal(&self) -> bool {
        self.heads.causal
    }
}

/// What a weight is for: decides how it is drawn where it is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Weight,
    /// Writes to the residual stream of a pre-norm model.
    Residual,
    /// Multiplies a normed state: begins at 1.
    Gain,
    /// Begins at 0.
    Bias,
}

/// Gives the weight of a name and shape: from a file, or drawn.
pub(super) type WeightSource<'a, E> = dyn FnMut(&str, &[usize], Role) -> Result<Tensor, E> + 'a;
