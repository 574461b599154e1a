//! Networks that can be trained: their weights, their forward and their backward.
//!
//! A [`Backbone`] turns tokens into states; what it is made of, its architecture's file says as
//! data ([`spec`]). Heads make something of the states: [`LanguageModel`] the next token,
//! [`Scorer`] a number for a sequence or a token, [`Encoder`] the states themselves. A model owns
//! [`Parameter`]s, values with a gradient beside them while they are trained. It knows nothing of
//! losses: [`CausalLm::accumulate`] asks the caller how the loss changes with the log-probability
//! of each target and adds the gradients that follow.
//!
//! Dropout that a checkpoint's configuration asks for is not applied (TRL switches it off as
//! well); the adapters' own is.

mod backbone;
mod bert;
mod block;
mod checkpoint;
pub mod encoder;
mod gpt2;
pub mod head;
pub mod human_logits;
mod language_model;
mod linear;
mod llama;
mod lora;
pub mod memory;
mod mlp;
mod norm;
pub mod packed;
pub mod peft;
mod qwen2;
mod roberta;
pub mod scorer;
mod self_attention;
pub mod spec;
mod value_head;
pub mod weights;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};

pub use backbone::Backbone;
pub use encoder::Encoder;
pub use human_logits::{HumanLogits, Said};
pub use language_model::LanguageModel;
pub use llama::LlamaConfig;
pub use packed::{Packed, Targets};
pub use scorer::Scorer;
pub use value_head::ValueHead;

use crate::config::model::Lora;
use crate::ops::attention::{Groups, Heads, LayerCache};
use crate::ops::rope::Angles;
use crate::ops::rounded::{Rounded, Storage};
use spec::{Role, WeightSource};

/// Standard deviation of initial weights (Radford et al. 2019; transformers' `initializer_range`).
pub(super) const INITIAL_DEVIATION: f64 = 0.02;

/// Loads the causal language model of a Hugging Face folder.
///
/// Weights stored as f32, bf16 or f16 become f32. The model is frozen; trainers call
/// [`Model::train`].
///
/// # Errors
/// See [`weights::Error`]: each names the file and the tensor.
pub fn load(folder: &Path, device: &Device) -> std::result::Result<LanguageModel, weights::Error> {
    LanguageModel::load(folder, device)
}

/// The first CUDA device.
///
/// # Errors
/// This build has no CUDA, or the machine has no such device.
pub fn cuda() -> Result<Device> {
    crate::ops::cuda_device()
}

/// Number of weights of the causal model that a `config.json` describes, and how many of them are
/// trained: with `lora` only the adapters', which are counted among the first as well. No memory
/// is taken for them.
///
/// # Errors
/// The configuration is none of a causal model, or `lora` names a layer that it does not have.
pub fn count_weights(config: serde_json::Value, lora: Option<&Lora>) -> Result<(usize, usize)> {
    let mut model = LanguageModel::hollow(config)?;
    if let Some(lora) = lora {
        model.add_adapters(lora, 0)?;
    }
    let count = |parameters: Vec<&Parameter>| {
        let sizes = parameters.into_iter().map(|p| p.value.elem_count());
        sizes.sum()
    };
    Ok((count(model.parameters()), count(model.trainable())))
}

/// A weight under its checkpoint's name, and its gradient while it is trained.
#[derive(Debug)]
pub struct Parameter {
    /// Name in the checkpoint, such as `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// The weight, of the checkpoint's shape: f32, or less where it is not trained.
    pub value: Tensor,
    /// Sum of the gradients since the last step, in f32; none in a frozen model.
    pub gradient: Option<Tensor>,
    /// Whether [`Model::train`] passes it by, as it does the weights below an adapter.
    pub frozen: bool,
}

impl Parameter {
    /// A parameter without a gradient.
    pub fn new(name: impl Into<String>, value: Tensor) -> Self {
        Self {
            name: name.into(),
            value,
            gradient: None,
            frozen: false,
        }
    }

    fn build<E>(
        name: String,
        shape: &[usize],
        role: Role,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        source(&name, shape, role).map(|value| Self::new(name, value))
    }

    /// Makes room for the gradient, unless the parameter is frozen.
    pub fn train(&mut self) -> Result<()> {
        if self.gradient.is_none() && !self.frozen {
            self.value = self.value.to_dtype(wide(self.value.dtype()))?;
            self.gradient = Some(self.value.zeros_like()?);
        }
        Ok(())
    }

    /// The value in the type of a computation.
    fn cast(&self, dtype: DType) -> Result<Tensor> {
        self.value.to_dtype(dtype)
    }
}

/// The type in which a value of `dtype` is summed or trained.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// Tokens of a pass of forward and backward on the CPU, as far as what hangs together allows:
/// activations of a larger batch never exist at once. Chosen: with twice as many, a step is no
/// faster there, and a training of 135 M weights on 4 x 256 tokens takes 350 MiB more.
pub const PASS_TOKENS: usize = 512;

/// Tokens of prompts that are worth computing together. Chosen: enough rows for the kernels, and
/// some megabytes of activations.
pub const PREFILL_TOKENS: usize = 512;

/// What all layers share in one forward and its backward.
struct Pass<'a> {
    groups: Groups<'a>,
    /// Of the tokens' positions, where heads turn.
    angles: Option<Angles>,
    heads: Heads,
    /// Type of what is computed between the norms.
    compute: DType,
    /// Whether adapters take part.
    adapters: bool,
    /// Key of the adapters' dropout; none outside of training.
    dropout: Option<u64>,
    /// Weights to decode with in place of the model's own.
    rounded: Option<&'a RoundedWeights>,
    /// Weights that are in the type of the computation already.
    cast: Option<&'a CastWeights>,
}

/// Weights of linear layers by their names in the checkpoint.
type RoundedWeights = HashMap<String, Rounded>;

/// The same in the type of a computation that is not theirs.
type CastWeights = HashMap<String, Tensor>;

impl Pass<'_> {
    /// Widths of queries, and of keys and values.
    fn widths(&self) -> (usize, usize) {
        let Heads {
            query,
            key_value,
            width,
            ..
        } = self.heads;
        (query * width, key_value * width)
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
    /// What [`CausalLm::round_weights`] made.
    rounded: RoundedWeights,
    /// On a device, weights in the type in which it computes: to cast them all for every token would
    /// cost more than to multiply by them. They are those of when the cache was made.
    cast: CastWeights,
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

/// A backbone with a head: what optimizer and checkpoints know of any model.
pub trait Model: Send + Sync {
    /// What makes states of tokens.
    fn backbone(&self) -> &Backbone;

    /// The same, to change it.
    fn backbone_mut(&mut self) -> &mut Backbone;

    /// The head's own parameters, in a fixed order.
    fn head_parameters(&self) -> Vec<&Parameter>;

    /// Those of backbone and head for the optimizer, adapters last.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter>;

    /// Writes a Hugging Face folder; `extras` adds files to it (the tokenizer's).
    ///
    /// The folder is written under another name and renamed, so it is there whole or not at all.
    /// Adapters that are not merged lie in its folder `adapter`, in PEFT's form.
    ///
    /// # Errors
    /// [`weights::Error::Write`].
    fn save(
        &self,
        folder: &Path,
        extras: &dyn Fn(&Path) -> std::io::Result<()>,
    ) -> std::result::Result<(), weights::Error>;

    /// The checkpoint's parameters, backbone and head, in a fixed order; tied ones once.
    fn base_parameters(&self) -> Vec<&Parameter> {
        let mut all = self.backbone().parameters();
        all.extend(self.head_parameters());
        all
    }

    /// All parameters: [`Model::base_parameters`], then [`Backbone::adapter_parameters`].
    fn parameters(&self) -> Vec<&Parameter> {
        let mut all = self.base_parameters();
        all.extend(self.backbone().adapter_parameters());
        all
    }

    /// Those that [`Model::train`] trains.
    fn trainable(&self) -> Vec<&Parameter> {
        let mut all = self.parameters();
        all.retain(|p| !p.frozen);
        all
    }

    /// The same for the optimizer.
    fn trainable_mut(&mut self) -> Vec<&mut Parameter> {
        let mut all = self.parameters_mut();
        all.retain(|p| !p.frozen);
        all
    }

    /// Where the weights are.
    fn device(&self) -> &Device {
        self.backbone().device()
    }

    /// Gives a gradient to every parameter that is not frozen.
    fn train(&mut self) -> Result<()> {
        self.parameters_mut()
            .into_iter()
            .try_for_each(Parameter::train)
    }

    /// Drops all gradients: a model that is not trained needs no memory for them.
    fn freeze(&mut self) {
        for parameter in self.parameters_mut() {
            parameter.gradient = None;
        }
    }

    /// Adds an adapter to each layer that `config` names and freezes every other parameter of
    /// the backbone; a head of its own stays trained. Returns the number of adapters.
    ///
    /// # Errors
    /// There are adapters already, or a name fits no layer.
    fn add_adapters(&mut self, config: &Lora, seed: u64) -> Result<usize> {
        self.backbone_mut().add_adapters(config, seed)
    }

    /// Merges the adapters and forgets them: what they learnt is the model's, and its weights can
    /// be trained again, or get new adapters.
    ///
    /// # Errors
    /// The device has no room.
    fn absorb_adapters(&mut self) -> Result<()> {
        self.backbone_mut().absorb_adapters()?;
        for parameter in self.parameters_mut() {
            parameter.frozen = false;
        }
        Ok(())
    }

    /// Puts a checkpoint's values into the model it was saved from, adapters included.
    ///
    /// # Errors
    /// See [`weights::Error`]: a tensor is missing, left over, or of another shape.
    fn restore(&mut self, folder: &Path) -> std::result::Result<(), weights::Error> {
        let count = self.base_parameters().len();
        let mut files = weights::Files::open(folder)?;
        let mut parameters = self.parameters_mut();
        let adapters = parameters.split_off(count);
        for parameter in parameters {
            restore_one(parameter, &mut files)?;
        }
        files.finish(|_| false)?;
        if adapters.is_empty() {
            return Ok(());
        }
        let mut files = weights::Files::single(&folder.join(peft::FOLDER).join(peft::WEIGHTS))?;
        for parameter in adapters {
            restore_one(parameter, &mut files)?;
        }
        files.finish(|_| false)
    }
}

fn restore_one(
    parameter: &mut Parameter,
    files: &mut weights::Files,
) -> std::result::Result<(), weights::Error> {
    let (device, dtype) = (parameter.value.device().clone(), parameter.value.dtype());
    let value = files.take(&parameter.name, parameter.value.dims(), &device)?;
    parameter.value = value.to_dtype(dtype)?;
    Ok(())
}

/// A causal language model.
pub trait CausalLm: Model {
    /// Number of tokens in the vocabulary.
    fn vocabulary(&self) -> usize {
        self.backbone().spec().vocab_size
    }

    /// Longest sequence the model was made for, in tokens.
    fn context(&self) -> usize {
        self.backbone().spec().context
    }

    /// Log-probabilities of the targets, in their order.
    ///
    /// # Errors
    /// A token beyond the vocabulary, a target without a row.
    fn logprobs(&self, batch: &Packed, targets: &Targets) -> Result<Vec<f32>>;

    /// Runs forward and backward, and adds to the gradients those of the loss that `objective`
    /// and [`Targets::entropy_slopes`] describe. Returns the latter's part of the loss.
    ///
    /// # Errors
    /// As for [`CausalLm::logprobs`]; the model is frozen.
    fn accumulate(
        &mut self,
        batch: &Packed,
        targets: &Targets,
        objective: &mut Objective,
    ) -> Result<f64>;

    /// Multiplies the gradients of all later [`CausalLm::accumulate`] calls: with half-precision
    /// activations small ones would become zero. Whoever uses the gradients divides by it again.
    fn set_loss_scale(&mut self, scale: f32);

    /// An empty cache for `rows` sequences of at most `capacity` tokens.
    fn cache(&self, rows: usize, capacity: usize) -> Result<Cache>;

    /// Fills empty cache rows with prompts, each given with its row; logits `[b, V]` of the tokens
    /// after them. A prompt's numbers do not depend on those beside it.
    ///
    /// # Errors
    /// An empty prompt, or one longer than the cache's capacity.
    fn prefill(&self, cache: &mut Cache, prompts: &[(usize, &[u32])]) -> Result<Tensor>;

    /// Has [`CausalLm::decode`] with this cache take copies of the weights that are stored in less
    /// than f32: the next token comes sooner, and its logits are those of rounded weights. Prompts
    /// are still computed with the model's own. The copies are of the weights as they are now.
    ///
    /// # Errors
    /// There is no room.
    fn round_weights(&self, cache: &mut Cache, storage: Storage) -> Result<()>;

    /// Adds one token to each of `rows` and returns the logits `[b, V]` of the tokens after them.
    fn decode(&self, cache: &mut Cache, rows: &[usize], ids: &[u32]) -> Result<Tensor>;
}

/// Moves gradients to the parameters of the same name and shape that have none: models that take
/// turns at learning need room for those of one. What the borrower finds there must be zero, as
/// it is after an optimizer's step.
pub fn lend_gradients<A: Model + ?Sized, B: Model + ?Sized>(from: &mut A, to: &mut B) {
    let mut lenders: HashMap<String, &mut Parameter> = from
        .trainable_mut()
        .into_iter()
        .map(|p| (p.name.clone(), p))
        .collect();
    for parameter in to.trainable_mut() {
        let lender = lenders.get_mut(&parameter.name);
        if let Some(lender) = lender.filter(|l| l.value.dims() == parameter.value.dims())
            && parameter.gradient.is_none()
        {
            parameter.gradient = lender.gradient.take();
        }
    }
}

/// Runs `f` on the reference: the model without its adapters where it has some, else as it is.
///
/// # Errors
/// Those of `f`.
pub fn with_reference<M: CausalLm + ?Sized, R>(model: &mut M, f: impl FnOnce(&M) -> R) -> R {
    let on = model.backbone().adapters_on();
    model.backbone_mut().set_adapters_on(false);
    let result = f(model);
    model.backbone_mut().set_adapters_on(on);
    result
}

#[cfg(test)]
mod tests;
