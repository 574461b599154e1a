//! How much memory training and decoding take, from a model's shape alone: what `--dry-run` says
//! before anything is loaded. `tests/training/memory.rs` holds it against the peaks of
//! runs, the benchmark `training` against that of a step.

use super::head::chunk_rows;
use super::spec::{Activation, NormKind, Residual, Spec};
use super::{PASS_TOKENS, PREFILL_TOKENS};
use crate::config::generation::Weights;
use crate::ops::rounded::BLOCK;

/// Bytes of an f32.
const F32: usize = 4;

/// A model as it is trained.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    pub spec: &'a Spec,
    /// Weights in all, adapters included.
    pub weights: usize,
    /// Those that are trained.
    pub trained: usize,
    /// Bytes of one that is not.
    pub frozen_bytes: usize,
    pub gradient_checkpointing: bool,
}

/// Bytes by what takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    pub weights: usize,
    pub gradients: usize,
    /// AdamW's two moments.
    pub optimizer: usize,
    pub activations: usize,
    /// A chunk of logits in training, those of the rows in decoding.
    pub logits: usize,
    /// Keys and values of the rows that are decoded.
    pub cache: usize,
    /// Models beside the one that is trained: its reference, its value model, the reward model.
    pub others: usize,
}

impl Need {
    /// All of it.
    pub fn bytes(&self) -> usize {
        let Self {
            weights,
            gradients,
            optimizer,
            activations,
            logits,
            cache,
            others,
        } = self;
        weights + gradients + optimizer + activations + logits + cache + others
    }
}

impl Trained<'_> {
    /// What a training keeps from its first step to its last.
    pub fn kept(&self) -> Need {
        Need {
            weights: self.weight_bytes(),
            gradients: F32 * self.trained,
            optimizer: 2 * F32 * self.trained,
            ..Need::default()
        }
    }

    fn weight_bytes(&self) -> usize {
        F32 * self.trained + self.frozen_bytes * (self.weights - self.trained)
    }

    /// At the peak of a step whose largest pass has so many `tokens`, of which `targets` are
    /// learnt; see [`pass_tokens`].
    pub fn step(&self, tokens: usize, targets: usize) -> Need {
        let spec = self.spec;
        let rows = chunk_rows(spec.vocab_size).min(targets);
        let kept = spec.layers * spec.hidden_size
            + match self.gradient_checkpointing {
                true => kept_elements(spec),
                false => spec.layers * kept_elements(spec),
            };
        // Before and behind the last norm, and the gradient of what the head sees.
        let ends = 3 * spec.hidden_size;
        Need {
            activations: F32 * tokens * (kept + ends),
            // The states that a chunk is made of, and their gradients.
            logits: F32 * rows * (spec.vocab_size + 2 * spec.hidden_size),
            ..self.kept()
        }
    }

    /// While so many `rows` are decoded, of at most `capacity` tokens each. There are no
    /// gradients then.
    pub fn decoding(&self, rows: usize, capacity: usize, weights: Weights) -> Need {
        let spec = self.spec;
        // All but the tables of positions and the norms: the small remainder is not worth a name.
        let copies = match weights {
            Weights::F32 => 0,
            Weights::Bf16 => 2 * self.weights,
            Weights::Int8 => self.weights + F32 * self.weights.div_ceil(BLOCK),
        };
        let key_value = spec.heads.key_value * spec.heads.width;
        // A prompt's forward, or that of several.
        let tokens = capacity.max(PREFILL_TOKENS.min(rows * capacity));
        Need {
            weights: self.weight_bytes() + copies,
            activations: F32 * tokens * (kept_elements(spec) + 3 * spec.hidden_size),
            // As tensor and as rows to be sampled from.
            logits: 2 * F32 * rows * spec.vocab_size,
            // One row more holds the prompt.
            cache: 2 * F32 * (rows + 1) * spec.layers * key_value * capacity,
            ..Need::default()
        }
    }
}

/// Tokens of the largest pass over `groups` groups of at most `tokens` tokens each: shorter ones
/// fill it up.
pub fn pass_tokens(groups: usize, tokens: usize) -> usize {
    tokens.max(PASS_TOKENS.min(groups * tokens))
}

/// Elements a token that a layer keeps for its backward beside its input: `Kept` in `block.rs`.
fn kept_elements(spec: &Spec) -> usize {
    let heads = spec.heads;
    let (q, key_value) = (heads.query * heads.width, heads.key_value * heads.width);
    let inner = match spec.activation {
        Activation::GatedSilu => 2 * spec.intermediate_size,
        Activation::Gelu(_) => spec.intermediate_size,
    };
    let statistics = match spec.norm {
        NormKind::Rms => 2,
        NormKind::Layer => 4,
    };
    let states = match spec.residual {
        Residual::PreNorm => 1,
        Residual::PostNorm => 2,
    };
    // Queries and what was attended, keys and values, log-sum-exps.
    2 * q + 2 * key_value + heads.query + inner + statistics + states * spec.hidden_size
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Would catch a part that is left out or counted twice; by hand for a Llama of two layers.
    #[test]
    fn parts_add_up() {
        let config = json!({"model_type": "llama", "vocab_size": 100, "hidden_size": 8,
            "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "max_position_embeddings": 32});
        let spec = Spec::from_json(&config).expect("a configuration");
        let trained = Trained {
            spec: &spec,
            weights: 1000,
            trained: 600,
            frozen_bytes: 2,
            gradient_checkpointing: false,
        };
        let need = trained.step(10, 7);
        // q, attended, k, v, two log-sum-exps, gate, up, two norms, one state.
        let layer = 8 + 8 + 4 + 4 + 2 + 16 + 16 + 2 + 8;
        assert_eq!(need.weights, 4 * 600 + 2 * 400);
        assert_eq!((need.gradients, need.optimizer), (2400, 4800));
        assert_eq!(need.activations, 4 * 10 * (2 * (8 + layer) + 24));
        assert_eq!(need.logits, 4 * 7 * (100 + 16));
        let checkpointed = Trained {
            gradient_checkpointing: true,
            ..trained
        };
        let less = checkpointed.step(10, 7);
        assert_eq!(need.activations - less.activations, 4 * 10 * layer);
        assert_eq!(need.bytes() - less.bytes(), 4 * 10 * layer);
        let need = trained.decoding(3, 20, Weights::Int8);
        assert_eq!(need.weights, 3200 + 1000 + 4 * 16);
        assert_eq!(need.cache, 2 * 4 * 4 * 2 * 4 * 20);
        assert_eq!(need.logits, 2 * 4 * 3 * 100);
    }
}
