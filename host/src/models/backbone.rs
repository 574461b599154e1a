//! The transformer below a head: embeddings, layers, and a last norm where the norms stand first.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::block::{Block, Kept};
use super::linear::Linear;
use super::norm::{Norm, Statistics};
use super::spec::{Position, Residual, Role, Spec, WeightSource};
use super::{
    Cache, CastWeights, INITIAL_DEVIATION, Packed, Parameter, Pass, RoundedWeights, lora, wide,
};
use crate::config::model::Lora;
use crate::ops::attention::{Group, Groups, LayerCache, Step};
use crate::ops::bias::{add_bias, bias_gradient};
use crate::ops::embedding::{gather, scatter_add};
use crate::ops::matmul::as_many_rows;
use crate::ops::rope::Angles;
use crate::ops::rounded::{Rounded, Storage};
use crate::random::{Purpose, Stream};

/// Tokens in, states out.
#[derive(Debug)]
pub struct Backbone {
    spec: Spec,
    device: Device,
    pub(super) embedding: Parameter,
    positions: Option<Parameter>,
    token_types: Option<Parameter>,
    embedding_norm: Option<Norm>,
    blocks: Vec<Block>,
    norm: Option<Norm>,
    gradient_checkpointing: bool,
    compute: DType,
    adapters: Adapters,
}

/// What is done to states, or to their gradient, between two layers.
pub(super) type Change<'a> = dyn FnMut(Tensor) -> Result<Tensor> + 'a;

/// No layer's number.
const NOWHERE: usize = usize::MAX;

/// The state of a backbone's adapters.
#[derive(Debug, Default)]
struct Adapters {
    config: Option<Lora>,
    on: bool,
    seed: u64,
    /// The optimizer step at hand and its passes so far: part of the key of the dropout, so that
    /// a resumed run drops what the uninterrupted one would.
    step: u64,
    pass: u64,
}

/// What the backward needs of the forward.
pub(super) struct Tape {
    /// What the embeddings' norm was taken of.
    embedded: Option<(Tensor, Statistics)>,
    /// Each layer's input, and the rest unless it is to be computed again.
    layers: Vec<(Tensor, Option<Kept>)>,
    /// What the last norm was taken of.
    last: Option<(Tensor, Statistics)>,
}

impl Backbone {
    /// Made of what `source` gives for the names and shapes of `spec`.
    pub(super) fn build<E>(
        spec: Spec,
        device: &Device,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let (names, width) = (spec.names, spec.hidden_size);
        let named = |part: &str| format!("{}{part}", names.prefix);
        let table = |name: &str, rows: usize, source: &mut WeightSource<E>| {
            let name = format!("{}.weight", named(name));
            Parameter::build(name, &[rows, width], Role::Weight, source)
        };
        let embedding = table(names.embedding, spec.vocab_size, source)?;
        let positions = match spec.position {
            Position::Rotary { .. } => None,
            Position::Learned { rows, .. } => Some(table(names.positions, rows, source)?),
        };
        let token_types = match spec.token_types {
            None => None,
            Some(rows) => Some(table(names.token_types, rows, source)?),
        };
        let norm = |name: &str, source: &mut WeightSource<E>| {
            Norm::build(&named(name), width, spec.norm, spec.epsilon, source).map(Some)
        };
        let embedding_norm = match spec.residual {
            Residual::PreNorm => None,
            Residual::PostNorm => norm(names.embedding_norm, source)?,
        };
        let blocks = (0..spec.layers)
            .map(|number| Block::build(&spec, number, source))
            .collect::<std::result::Result<_, E>>()?;
        let norm = match spec.residual {
            Residual::PreNorm => norm(names.norm, source)?,
            Residual::PostNorm => None,
        };
        Ok(Self {
            device: device.clone(),
            embedding,
            positions,
            token_types,
            embedding_norm,
            blocks,
            norm,
            gradient_checkpointing: false,
            compute: DType::F32,
            adapters: Adapters::default(),
            spec,
        })
    }

    /// The same weights again, in memory of their own: frozen, without adapters, computing alike.
    ///
    /// # Errors
    /// The device has no room.
    pub(super) fn copy(&self) -> Result<Self> {
        let parameters = self.parameters();
        let mut copy =
            Self::build(
                self.spec.clone(),
                &self.device,
                &mut |name, _, _| match parameters.iter().find(|p| p.name == name) {
                    Some(parameter) => parameter.value.copy(),
                    None => bail!("no weight `{name}` to copy"),
                },
            )?;
        copy.gradient_checkpointing = self.gradient_checkpointing;
        copy.compute = self.compute;
        Ok(copy)
    }

    /// The model's shape.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Keeps only each layer's input in training and computes the layer again in the backward:
    /// about a third more time for a small part of the memory.
    pub fn set_gradient_checkpointing(&mut self, on: bool) {
        self.gradient_checkpointing = on;
    }

    /// Type of what is computed between the norms: f32, or f16 or bf16 where the device
    /// multiplies these. Weights that are trained, the residual stream, norms, softmaxes and sums
    /// stay in f32.
    pub fn set_compute(&mut self, dtype: DType) {
        self.compute = dtype;
    }

    /// Type of what is computed between the norms.
    pub fn compute(&self) -> DType {
        self.compute
    }

    /// Stores the weights that are not trained in `dtype`.
    ///
    /// # Errors
    /// The device has no room.
    pub fn store_frozen(&mut self, dtype: DType) -> Result<()> {
        for parameter in self.parameters_mut() {
            if parameter.frozen && parameter.gradient.is_none() {
                parameter.value = parameter.value.to_dtype(dtype)?;
            }
        }
        Ok(())
    }

    /// The settings of its adapters, where it has some.
    pub fn lora(&self) -> Option<&Lora> {
        self.adapters.config.as_ref()
    }

    /// Whether adapters take part in what is computed.
    pub fn adapters_on(&self) -> bool {
        self.adapters.on
    }

    /// Switches the adapters on or off: off, the model is the one they were added to.
    pub fn set_adapters_on(&mut self, on: bool) {
        self.adapters.on = on && self.adapters.config.is_some();
    }

    pub(super) fn add_adapters(&mut self, config: &Lora, seed: u64) -> Result<usize> {
        if self.adapters.config.is_some() {
            bail!("the model has adapters already");
        }
        let device = self.device.clone();
        let layers = self.blocks.iter_mut().flat_map(Block::layers_mut).collect();
        let count = lora::add(layers, config, seed, &device)?;
        for parameter in self.parameters_mut() {
            parameter.frozen = true;
        }
        self.adapters = Adapters {
            config: Some(config.clone()),
            on: true,
            seed,
            ..Adapters::default()
        };
        Ok(count)
    }

    /// Adds the adapters' products to the weights: the same outputs without the adapters' cost,
    /// to about 1e-6. Weights stored in less than f32 become f32.
    ///
    /// # Errors
    /// The device has no room.
    pub fn merge_adapters(&mut self) -> Result<()> {
        self.set_merged(true)
    }

    /// Takes them out again; the weights are then what they were but for rounding.
    ///
    /// # Errors
    /// The device has no room.
    pub fn unmerge_adapters(&mut self) -> Result<()> {
        self.set_merged(false)
    }

    fn set_merged(&mut self, merged: bool) -> Result<()> {
        self.blocks
            .iter_mut()
            .flat_map(Block::layers_mut)
            .try_for_each(|layer| layer.set_merged(merged))
    }

    /// Merges the adapters and forgets them.
    pub(super) fn absorb_adapters(&mut self) -> Result<()> {
        self.merge_adapters()?;
        for layer in self.blocks.iter_mut().flat_map(Block::layers_mut) {
            layer.adapter = None;
        }
        self.adapters = Adapters::default();
        Ok(())
    }

    /// Tells the adapters' dropout which optimizer step follows, counted from 1.
    pub fn begin_step(&mut self, step: u64) {
        self.adapters.step = step;
        self.adapters.pass = 0;
    }

    /// The shared part of a pass over `batch`; in training its dropout has a key of its own.
    pub(super) fn pass<'a>(&mut self, batch: &'a Packed, training: bool) -> Result<Pass<'a>> {
        let mut pass = self.still_pass(&batch.groups, &batch.positions)?;
        if training && self.adapters.on {
            let Adapters {
                seed,
                step,
                pass: number,
                ..
            } = self.adapters;
            pass.dropout = Some(Stream::new(seed, Purpose::Dropout, step, number).seed());
            self.adapters.pass += 1;
        }
        Ok(pass)
    }

    /// A pass in which nothing is trained.
    pub(super) fn still_pass<'a>(
        &self,
        groups: &'a [Group],
        positions: &[u32],
    ) -> Result<Pass<'a>> {
        let angles = match self.spec.position {
            Position::Learned { .. } => None,
            Position::Rotary { theta } => Some(Angles::new(
                positions,
                self.spec.heads.width,
                theta,
                self.compute,
                &self.device,
            )?),
        };
        Ok(Pass {
            groups: Groups::of(groups),
            angles,
            heads: self.spec.heads,
            compute: self.compute,
            adapters: self.adapters.on,
            dropout: None,
            rounded: None,
            cast: None,
        })
    }

    /// Rows of the position table, for tokens `ids` of which each stands at `positions`.
    ///
    /// # Errors
    /// A position beyond the table.
    fn position_rows(&self, ids: &[u32], positions: &[u32]) -> Result<Vec<u32>> {
        let Position::Learned { rows, padding } = self.spec.position else {
            return Ok(Vec::new());
        };
        let table = match padding {
            None => positions.to_vec(),
            // transformers counts the tokens that are not padding, wherever padding stands.
            Some(padding) => {
                let mut skipped = 0;
                let one = |(id, position): (&u32, &u32)| {
                    if *position == 0 {
                        skipped = 0;
                    }
                    if *id == padding {
                        skipped += 1;
                        return padding;
                    }
                    position - skipped + padding + 1
                };
                ids.iter().zip(positions).map(one).collect()
            }
        };
        match table.iter().find(|row| **row as usize >= rows) {
            Some(row) => bail!(
                "a sequence of {} tokens for a model of {}",
                row + 1 - padding.map_or(0, |p| p + 1),
                self.spec.context
            ),
            None => Ok(table),
        }
    }

    /// States before the first layer, and what the backward needs of it.
    fn embed(
        &self,
        ids: &[u32],
        positions: &[u32],
    ) -> Result<(Tensor, Option<(Tensor, Statistics)>)> {
        let rows = |table: &Parameter, ids: &[u32]| -> Result<Tensor> {
            let rows = gather(&table.value, ids)?;
            rows.to_dtype(wide(rows.dtype()))
        };
        let mut x = rows(&self.embedding, ids)?;
        if let Some(table) = &self.positions {
            x = (x + rows(table, &self.position_rows(ids, positions)?)?)?;
        }
        if let Some(table) = &self.token_types {
            x = add_bias(x, &rows(table, &[0])?.squeeze(0)?)?;
        }
        match &self.embedding_norm {
            None => Ok((x, None)),
            Some(norm) => {
                let (y, statistics) = norm.forward(&x)?;
                Ok((y, Some((x, statistics))))
            }
        }
    }

    fn embed_backward(
        &mut self,
        batch: &Packed,
        mut dx: Tensor,
        embedded: Option<(Tensor, Statistics)>,
    ) -> Result<()> {
        if let (Some(norm), Some((x, statistics))) = (&mut self.embedding_norm, embedded) {
            dx = norm.backward(x.zeros_like()?, &dx, &x, &statistics)?;
        }
        let rows = self.position_rows(&batch.ids, &batch.positions)?;
        if let Some(gradient) = &mut self.embedding.gradient {
            scatter_add(gradient, &batch.ids, &dx)?;
        }
        if let Some(gradient) = self.positions.as_mut().and_then(|p| p.gradient.as_mut()) {
            scatter_add(gradient, &rows, &dx)?;
        }
        if let Some(gradient) = self.token_types.as_mut().and_then(|p| p.gradient.as_mut()) {
            let mut sum = Tensor::zeros(dx.dim(1)?, dx.dtype(), dx.device())?;
            bias_gradient(&mut sum, &dx)?;
            scatter_add(gradient, &[0], &sum.unsqueeze(0)?)?;
        }
        Ok(())
    }

    fn check(&self, batch: &Packed) -> Result<()> {
        if !self.spec.causal() && batch.groups.iter().any(|g| !g.branches.is_empty()) {
            bail!("an encoder's prompt sees its response: branches cannot share it");
        }
        Ok(())
    }

    /// States `[T, H]` behind `layer` layers; behind all of them, normed as the head sees them.
    ///
    /// As in transformers' `hidden_states`, 0 is what goes into the first layer.
    ///
    /// # Errors
    /// A token beyond the vocabulary, a sequence beyond the context, no such layer.
    pub fn states(&self, batch: &Packed, layer: usize) -> Result<Tensor> {
        self.states_changed(batch, layer, NOWHERE, &mut Ok)
    }

    /// Final states where those that go into layer `at` are what `change` makes of them.
    pub(super) fn hidden_changed(
        &self,
        batch: &Packed,
        at: usize,
        change: &mut Change,
    ) -> Result<Tensor> {
        self.states_changed(batch, self.blocks.len(), at, change)
    }

    fn states_changed(
        &self,
        batch: &Packed,
        layer: usize,
        at: usize,
        change: &mut Change,
    ) -> Result<Tensor> {
        self.check(batch)?;
        if layer > self.blocks.len() {
            bail!("layer {layer} of a model of {}", self.blocks.len());
        }
        let pass = self.still_pass(&batch.groups, &batch.positions)?;
        let (mut x, _) = self.embed(&batch.ids, &batch.positions)?;
        for (number, block) in self.blocks[..layer].iter().enumerate() {
            if number == at {
                x = change(x)?;
            }
            x = block.forward(&x, &pass)?.0;
        }
        match &self.norm {
            Some(norm) if layer == self.blocks.len() => Ok(norm.forward(&x)?.0),
            _ => Ok(x),
        }
    }

    /// Final states `[T, H]`: what the head sees.
    ///
    /// # Errors
    /// As for [`Backbone::states`].
    pub fn hidden(&self, batch: &Packed) -> Result<Tensor> {
        self.states(batch, self.blocks.len())
    }

    /// Final states, and what the backward needs.
    pub(super) fn forward(&self, batch: &Packed, pass: &Pass) -> Result<(Tensor, Tape)> {
        self.forward_changed(batch, pass, NOWHERE, &mut Ok)
    }

    /// The same where the states that go into layer `at` are what `change` makes of them.
    pub(super) fn forward_changed(
        &self,
        batch: &Packed,
        pass: &Pass,
        at: usize,
        change: &mut Change,
    ) -> Result<(Tensor, Tape)> {
        self.check(batch)?;
        let (mut x, embedded) = self.embed(&batch.ids, &batch.positions)?;
        let mut layers = Vec::with_capacity(self.blocks.len());
        for (number, block) in self.blocks.iter().enumerate() {
            if number == at {
                x = change(x)?;
            }
            let (y, kept) = block.forward(&x, pass)?;
            let kept = (!self.gradient_checkpointing).then_some(kept);
            layers.push((std::mem::replace(&mut x, y), kept));
        }
        let mut tape = Tape {
            embedded,
            layers,
            last: None,
        };
        if let Some(norm) = &self.norm {
            let (y, statistics) = norm.forward(&x)?;
            tape.last = Some((std::mem::replace(&mut x, y), statistics));
        }
        Ok((x, tape))
    }

    /// Adds the gradients that follow from that of the final states.
    pub(super) fn backward(
        &mut self,
        batch: &Packed,
        pass: &Pass,
        tape: Tape,
        d_hidden: Tensor,
    ) -> Result<()> {
        self.backward_changed(batch, pass, tape, d_hidden, NOWHERE, &mut Ok)
    }

    /// The same after [`Backbone::forward_changed`]: `change` turns the gradient of the changed
    /// states into that of the states it was given.
    pub(super) fn backward_changed(
        &mut self,
        batch: &Packed,
        pass: &Pass,
        tape: Tape,
        d_hidden: Tensor,
        at: usize,
        change: &mut Change,
    ) -> Result<()> {
        let Tape {
            embedded,
            mut layers,
            last,
        } = tape;
        let mut dx = d_hidden;
        if let (Some(norm), Some((x, statistics))) = (&mut self.norm, last) {
            dx = norm.backward(x.zeros_like()?, &dx, &x, &statistics)?;
        }
        for (number, block) in self.blocks.iter_mut().enumerate().rev() {
            let Some((x, kept)) = layers.pop() else {
                bail!("a tape of another model")
            };
            let kept = match kept {
                Some(kept) => kept,
                None => block.forward(&x, pass)?.1,
            };
            dx = block.backward(dx, &x, kept, pass)?;
            if number == at {
                dx = change(dx)?;
            }
        }
        self.embed_backward(batch, dx, embedded)
    }

    /// An empty cache for `rows` sequences of at most `capacity` tokens.
    pub(super) fn cache(&self, rows: usize, capacity: usize) -> Result<Cache> {
        let layer = || LayerCache::new(rows, capacity, self.spec.heads, self.compute, &self.device);
        let layers = (0..self.blocks.len())
            .map(|_| layer())
            .collect::<Result<_>>()?;
        Ok(Cache {
            layers,
            lengths: vec![0; rows],
            capacity,
            rounded: RoundedWeights::new(),
            cast: self.cast_weights()?,
        })
    }

    /// The linear layers' weights in the type of the computation, where they are of another and not
    /// on the CPU, where what is stored in less is to stay so.
    fn cast_weights(&self) -> Result<CastWeights> {
        let layers = self.blocks.iter().flat_map(Block::layers);
        let weights = layers.map(|layer| &layer.weight);
        let other = |p: &&Parameter| !self.device.is_cpu() && p.value.dtype() != self.compute;
        let one = |p: &Parameter| Ok((p.name.clone(), p.cast(self.compute)?));
        weights.filter(other).map(one).collect()
    }

    /// Copies of the linear layers' weights that take less room than f32.
    pub(super) fn rounded(&self, storage: Storage) -> Result<RoundedWeights> {
        let layers = self.blocks.iter().flat_map(Block::layers);
        layers
            .map(|layer| {
                let rounded = Rounded::new(&layer.weight.value, layer.transposed, storage)?;
                Ok((layer.weight.name.clone(), rounded))
            })
            .collect()
    }

    /// Fills cache rows with prompts; the final states `[b, H]` of their last tokens.
    ///
    /// The prompts are one batch for the kernels for many rows, also where they are short: a
    /// prompt's numbers do not depend on those it is computed with.
    pub(super) fn prefill(&self, cache: &mut Cache, prompts: &[(usize, &[u32])]) -> Result<Tensor> {
        let mut batch = Packed::default();
        let mut tokens = Vec::with_capacity(prompts.len());
        for (_, ids) in prompts {
            if ids.is_empty() || ids.len() > cache.capacity {
                bail!(
                    "a prompt of {} tokens for a cache of {}",
                    ids.len(),
                    cache.capacity
                );
            }
            tokens.push(batch.push(ids));
        }
        let mut pass = self.still_pass(&batch.groups, &batch.positions)?;
        pass.cast = Some(&cache.cast);
        let (mut x, _) = self.embed(&batch.ids, &batch.positions)?;
        for (block, cache) in self.blocks.iter().zip(&cache.layers) {
            let (y, kept) = as_many_rows(|| block.forward(&x, &pass))?;
            let (k, v) = kept.keys_and_values();
            for ((row, ids), tokens) in prompts.iter().zip(&tokens) {
                let part = |x: &Tensor| x.narrow(0, tokens.start, ids.len());
                cache.put(*row, 0, &part(k)?, &part(v)?, self.spec.heads)?;
            }
            x = y;
        }
        let mut last = Vec::with_capacity(prompts.len());
        for ((row, ids), tokens) in prompts.iter().zip(&tokens) {
            cache.lengths[*row] = ids.len();
            last.push(tokens.end as u32 - 1);
        }
        self.finish(&gather(&x, &last)?)
    }

    /// One more token for each of `rows`; their final states `[b, H]`.
    pub(super) fn decode(&self, cache: &mut Cache, rows: &[usize], ids: &[u32]) -> Result<Tensor> {
        let positions: Vec<u32> = rows.iter().map(|row| cache.lengths[*row] as u32).collect();
        if rows.len() != ids.len() || positions.iter().any(|p| *p as usize >= cache.capacity) {
            bail!(
                "{} tokens for {} rows of a cache of {}",
                ids.len(),
                rows.len(),
                cache.capacity
            );
        }
        let mut pass = self.still_pass(&[], &positions)?;
        (pass.rounded, pass.cast) = (Some(&cache.rounded), Some(&cache.cast));
        let (mut x, _) = self.embed(ids, &positions)?;
        let step = Step::new(rows, &positions);
        for (block, cache) in self.blocks.iter().zip(&cache.layers) {
            x = block.decode(x, cache, &step, &pass)?;
        }
        for row in rows {
            cache.lengths[*row] += 1;
        }
        self.finish(&x)
    }

    fn finish(&self, x: &Tensor) -> Result<Tensor> {
        match &self.norm {
            Some(norm) => Ok(norm.forward(x)?.0),
            None => Ok(x.clone()),
        }
    }

    /// The checkpoint's parameters in a fixed order.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut all = vec![&self.embedding];
        all.extend(&self.positions);
        all.extend(&self.token_types);
        all.extend(self.embedding_norm.iter().flat_map(Norm::parameters));
        all.extend(self.blocks.iter().flat_map(Block::parameters));
        all.extend(self.norm.iter().flat_map(Norm::parameters));
        all
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        self.split_parameters().0
    }

    /// The checkpoint's parameters and the adapters', to change them.
    pub(super) fn split_parameters(&mut self) -> (Vec<&mut Parameter>, Vec<&mut Parameter>) {
        let (mut base, mut adapters) = (vec![&mut self.embedding], Vec::new());
        base.extend(&mut self.positions);
        base.extend(&mut self.token_types);
        base.extend(
            self.embedding_norm
                .iter_mut()
                .flat_map(Norm::parameters_mut),
        );
        for block in &mut self.blocks {
            let (own, adapted) = block.split_parameters();
            base.extend(own);
            adapters.extend(adapted);
        }
        base.extend(self.norm.iter_mut().flat_map(Norm::parameters_mut));
        (base, adapters)
    }

    /// The adapters' parameters under PEFT's names: of each layer `A`, then `B`.
    pub fn adapter_parameters(&self) -> Vec<&Parameter> {
        self.blocks
            .iter()
            .flat_map(Block::layers)
            .flat_map(Linear::adapter_parameters)
            .collect()
    }

    /// Names of the linear layers, those that can get an adapter, as the checkpoint has them.
    pub fn layer_names(&self) -> Vec<&str> {
        let layers = self.blocks.iter().flat_map(Block::layers);
        layers.map(Linear::name).collect()
    }

    /// Whether any parameter has a gradient.
    pub(super) fn trains(&self) -> bool {
        let has = |p: &&Parameter| p.gradient.is_some();
        self.parameters().iter().any(has) || self.adapter_parameters().iter().any(has)
    }
}

/// Draws initial weights: normal with deviation 0.02, those that write to the residual stream
/// scaled by `1/√(2 layers)` (Radford et al. 2019, section 2.3).
///
/// Each parameter has a stream of its own: one more layer leaves the others as they were.
pub(super) fn initial_weights(
    seed: u64,
    layers: usize,
    device: &Device,
) -> impl FnMut(&str, &[usize], Role) -> Result<Tensor> {
    let mut number = 0;
    let device = device.clone();
    move |_, shape, role| {
        number += 1;
        let count = shape.iter().product();
        let normal = |deviation| {
            Stream::new(seed, Purpose::Initialisation, number, 0).normal(count, deviation)
        };
        let data = match role {
            Role::Weight => normal(INITIAL_DEVIATION),
            Role::Residual => normal(INITIAL_DEVIATION / (2.0 * layers as f64).sqrt()),
            Role::Gain => vec![1.0; count],
            Role::Bias => vec![0.0; count],
        };
        Tensor::from_vec(data, shape, &device)
    }
}
