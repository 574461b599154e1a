//! Networks that can be trained: their weights, their forward and their backward.
//!
//! A model owns [`Parameter`]s, values with a gradient beside them while they are trained. It
//! knows nothing of losses: [`CausalLm::accumulate`] asks the caller how the loss changes with
//! the log-probability of each target and adds the gradients that follow.

pub mod head;
pub mod llama;
pub mod packed;
pub mod weights;

use std::path::Path;

use candle_core::{Device, Result, Tensor};

pub use llama::{Llama, LlamaConfig};
pub use packed::{Packed, Targets};

use crate::ops::attention::LayerCache;

/// Loads the model of a Hugging Face folder.
///
/// Weights stored as f32, bf16 or f16 become f32. The model is frozen; trainers call
/// [`CausalLm::train`].
///
/// # Errors
/// See [`weights::Error`]: each names the file and the tensor.
pub fn load(folder: &Path, device: &Device) -> std::result::Result<Llama, weights::Error> {
    Llama::load(folder, device)
}

/// A weight under its checkpoint's name, and its gradient while it is trained.
#[derive(Debug)]
pub struct Parameter {
    /// Name in the checkpoint, such as `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// The weight.
    pub value: Tensor,
    /// Sum of the gradients since the last step; none in a frozen model.
    pub gradient: Option<Tensor>,
}

impl Parameter {
    /// A frozen parameter.
    pub fn new(name: impl Into<String>, value: Tensor) -> Self {
        Self {
            name: name.into(),
            value,
            gradient: None,
        }
    }

    /// Makes room for the gradient.
    pub fn train(&mut self) -> Result<()> {
        if self.gradient.is_none() {
            self.gradient = Some(self.value.zeros_like()?);
        }
        Ok(())
    }
}

/// How the loss changes with the log-probabilities of one group of targets.
///
/// Called once a group, in order: takes the group's number and its targets' log-probabilities,
/// returns `∂loss/∂logprob` of each.
pub type Objective<'a> = dyn FnMut(usize, &[f32]) -> Vec<f32> + 'a;

/// Keys and values of the rows that are being generated.
#[derive(Debug)]
pub struct Cache {
    /// One per layer.
    pub layers: Vec<LayerCache>,
    /// Tokens of each row so far.
    pub lengths: Vec<usize>,
    /// Tokens a row can have.
    pub capacity: usize,
}

impl Cache {
    /// Copies a row: several samples of one prompt compute it once.
    pub fn copy_row(&mut self, from: usize, to: usize) -> Result<()> {
        for layer in &self.layers {
            layer.copy_row(from, to, self.lengths[from])?;
        }
        self.lengths[to] = self.lengths[from];
        Ok(())
    }
}

/// A causal language model.
pub trait CausalLm: Send + Sync {
    /// All parameters in a fixed order; tied ones once.
    fn parameters(&self) -> Vec<&Parameter>;

    /// The same for the optimizer.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter>;

    /// Number of tokens in the vocabulary.
    fn vocabulary(&self) -> usize;

    /// Longest sequence the model was made for, in tokens.
    fn context(&self) -> usize;

    /// Where the weights are.
    fn device(&self) -> &Device;

    /// Log-probabilities of the targets, in their order.
    ///
    /// # Errors
    /// A token beyond the vocabulary, a target without a row.
    fn logprobs(&self, batch: &Packed, targets: &Targets) -> Result<Vec<f32>>;

    /// Runs forward and backward, and adds to the gradients those of the loss that `objective`
    /// describes.
    ///
    /// # Errors
    /// As for [`CausalLm::logprobs`]; the model is frozen.
    fn accumulate(
        &mut self,
        batch: &Packed,
        targets: &Targets,
        objective: &mut Objective,
    ) -> Result<()>;

    /// An empty cache for `rows` sequences of at most `capacity` tokens.
    fn cache(&self, rows: usize, capacity: usize) -> Result<Cache>;

    /// Fills an empty cache row with a prompt; logits `[V]` of the token after it.
    ///
    /// # Errors
    /// An empty prompt, or one longer than the cache's capacity.
    fn prefill(&self, cache: &mut Cache, row: usize, ids: &[u32]) -> Result<Tensor>;

    /// Adds one token to each of `rows` and returns the logits `[b, V]` of the tokens after them.
    fn decode(&self, cache: &mut Cache, rows: &[usize], ids: &[u32]) -> Result<Tensor>;

    /// Writes a Hugging Face folder; `extras` adds files to it (the tokenizer's).
    ///
    /// The folder is written under another name and renamed, so it is there whole or not at all.
    ///
    /// # Errors
    /// [`weights::Error::Write`].
    fn save(
        &self,
        folder: &Path,
        extras: &dyn Fn(&Path) -> std::io::Result<()>,
    ) -> std::result::Result<(), weights::Error>;

    /// Gives every parameter a gradient.
    fn train(&mut self) -> Result<()> {
        self.parameters_mut()
            .into_iter()
            .try_for_each(Parameter::train)
    }

    /// Drops all gradients: a frozen model needs no memory for them.
    fn freeze(&mut self) {
        for parameter in self.parameters_mut() {
            parameter.gradient = None;
        }
    }
}
