//! A backbone that predicts the next token.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DType, Device, Result, Tensor, bail};
use serde_json::Value;

use super::backbone::initial_weights;
use super::checkpoint::Checkpoint;
use super::packed::{Part, parts};
use super::scorer::{HeadKind, ScoreObjective, Scorer};
use super::spec::{Role, Spec, WeightSource};
use super::{
    Backbone, Cache, CausalLm, Model, Objective, PASS_TOKENS, Packed, Parameter, Targets,
    ValueHead, head, peft, weights,
};
use crate::ops::embedding::{gather, scatter_add};
use crate::ops::matmul::linear;
use crate::ops::rounded::{Rounded, Storage};
use crate::ops::{addresses, on_pool, put_together};

/// Name of a head of its own, in every architecture.
const HEAD: &str = "lm_head.weight";

/// Steps of decoding after which huge pages are worth their making: it costs at worst what some
/// 300 steps gain, and what 40 gain where the system has memory at hand.
const STEPS_BEFORE_HUGE_PAGES: u64 = 64;

/// A causal transformer with its vocabulary head.
#[derive(Debug)]
pub struct LanguageModel {
    /// `config.json` as it was found, so that saving loses nothing.
    config: Value,
    backbone: Backbone,
    /// None where the embedding is used for both.
    lm_head: Option<Parameter>,
    /// Factor of all gradients: see [`CausalLm::set_loss_scale`].
    loss_scale: f32,
    /// Steps of decoding so far.
    decoded: AtomicU64,
}

impl LanguageModel {
    /// A model of the shape that `config` (a `config.json`) describes, with random weights from
    /// the run's seed: normal with deviation 0.02, the projections that write to the residual
    /// stream scaled by `1/√(2 layers)` (Radford et al. 2019, section 2.3).
    ///
    /// # Errors
    /// The configuration is none of a causal model, or the device has no room.
    pub fn init(config: Value, seed: u64, device: &Device) -> Result<Self> {
        let spec = causal(&config)?;
        let mut source = initial_weights(seed, spec.layers, device);
        Self::build(config, spec, device, &mut source)
    }

    /// A model of the shape that `config` describes whose weights take no memory, to be counted.
    pub(super) fn hollow(config: Value) -> Result<Self> {
        let spec = causal(&config)?;
        Self::build(config, spec, &Device::Cpu, &mut |_, shape, _| {
            Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)
        })
    }

    /// Loads a Hugging Face folder. See [`super::load`].
    ///
    /// # Errors
    /// See [`weights::Error`].
    pub fn load(folder: &Path, device: &Device) -> std::result::Result<Self, weights::Error> {
        let mut checkpoint = Checkpoint::open(folder)?;
        let spec = checkpoint.spec.clone();
        let headed = checkpoint.class_ends_with(&["ForCausalLM", "LMHeadModel"]);
        // The bare backbone of a tied model has all that is needed.
        let bare = spec.tied && checkpoint.class_ends_with(&["Model"]);
        if !spec.causal() || !(headed || bare) {
            return Err(checkpoint.unsupported());
        }
        let config = checkpoint.config.clone();
        let model = Self::build(config, spec, device, &mut |name, shape, _| {
            checkpoint.take(name, shape, device)
        })?;
        let tied = model.lm_head.is_none();
        checkpoint.finish(|name| tied && name == HEAD)?;
        Ok(model)
    }

    fn build<E>(
        config: Value,
        spec: Spec,
        device: &Device,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let (tied, shape) = (spec.tied, [spec.vocab_size, spec.hidden_size]);
        let backbone = Backbone::build(spec, device, source)?;
        let lm_head = match tied {
            true => None,
            false => Some(Parameter::build(HEAD.into(), &shape, Role::Weight, source)?),
        };
        Ok(Self {
            config,
            backbone,
            lm_head,
            loss_scale: 1.0,
            decoded: AtomicU64::new(0),
        })
    }

    /// The same model again, with weights of its own, frozen and without adapters: the reference
    /// of a policy whose own weights are trained.
    ///
    /// # Errors
    /// The device has no room.
    pub fn copy(&self) -> Result<Self> {
        let lm_head = match &self.lm_head {
            None => None,
            Some(head) => Some(Parameter::new(head.name.clone(), head.value.copy()?)),
        };
        Ok(Self {
            config: self.config.clone(),
            backbone: self.backbone.copy()?,
            lm_head,
            loss_scale: 1.0,
            decoded: AtomicU64::new(0),
        })
    }

    /// A model of values that begins with a copy of this one's backbone and a head at zero. It
    /// computes in full precision: its gradients are not scaled.
    ///
    /// # Errors
    /// The device has no room.
    pub fn value_model(&self, seed: u64) -> Result<Scorer> {
        self.scorer(HeadKind::ScoreWithBias, seed)
    }

    /// A model with a scalar head at zero in the vocabulary head's place; its backbone is a copy
    /// of this one's, without adapters. It computes in full precision.
    ///
    /// # Errors
    /// The device has no room.
    pub fn scorer(&self, kind: HeadKind, seed: u64) -> Result<Scorer> {
        let mut backbone = self.backbone.copy()?;
        backbone.set_compute(DType::F32);
        Scorer::init(self.config.clone(), backbone, kind, seed)
    }

    /// Values of the states at `rows` of a batch, by a head on this model's states.
    ///
    /// # Errors
    /// As for [`CausalLm::logprobs`].
    pub fn values(&self, head: &ValueHead, batch: &Packed, rows: &[u32]) -> Result<Vec<f32>> {
        head.values(&gather(&self.backbone.hidden(batch)?, rows)?)
    }

    /// As [`CausalLm::accumulate`], for a loss that also depends on the values of the states that
    /// predict: `values` takes them, in the order of the targets, and returns the slopes.
    ///
    /// # Errors
    /// As for [`CausalLm::accumulate`].
    pub fn accumulate_with_values(
        &mut self,
        batch: &Packed,
        targets: &Targets,
        objective: &mut Objective,
        head: &mut ValueHead,
        values: &mut ScoreObjective,
    ) -> Result<f64> {
        self.accumulate_both(batch, targets, objective, Some((head, values)))
    }

    fn accumulate_both(
        &mut self,
        batch: &Packed,
        targets: &Targets,
        objective: &mut Objective,
        value: Option<(&mut ValueHead, &mut ScoreObjective)>,
    ) -> Result<f64> {
        if !self.backbone.trains() {
            bail!("a frozen model cannot accumulate gradients");
        }
        let pass = self.backbone.pass(batch, true)?;
        let (hidden, tape) = self.backbone.forward(batch, &pass)?;
        let (scale, dtype) = (self.loss_scale, hidden.dtype());
        let mut scaled = |group: usize, logprobs: &[f32]| -> Vec<f32> {
            let mut d = objective(group, logprobs);
            d.iter_mut().for_each(|d| *d *= scale);
            d
        };
        let head = self
            .lm_head
            .as_mut()
            .unwrap_or(&mut self.backbone.embedding);
        let w = head.cast(pass.compute)?;
        let (mut d_hidden, entropies) = head::backward(
            &hidden.to_dtype(pass.compute)?,
            &w,
            head.gradient.as_mut(),
            targets,
            &mut scaled,
            scale,
        )?;
        if let Some((head, objective)) = value {
            let states = gather(&hidden, &targets.rows)?;
            let mut slopes = objective(&head.values(&states)?);
            if slopes.len() != targets.rows.len() {
                bail!("{} slopes for {} values", slopes.len(), targets.rows.len());
            }
            slopes.iter_mut().for_each(|d| *d *= scale);
            let d_states = head.backward(&states, slopes)?.to_dtype(d_hidden.dtype())?;
            scatter_add(&mut d_hidden, &targets.rows, &d_states)?;
        }
        drop(hidden);
        self.backbone
            .backward(batch, &pass, tape, d_hidden.to_dtype(dtype)?)?;
        Ok(entropies)
    }

    /// `config.json` as it was found.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Logits `[T, V]` of all tokens: for tests and small batches.
    ///
    /// # Errors
    /// As for [`Backbone::hidden`].
    pub fn logits(&self, batch: &Packed) -> Result<Tensor> {
        self.head_logits(&self.backbone.hidden(batch)?, None)
    }

    fn head(&self) -> &Parameter {
        self.lm_head.as_ref().unwrap_or(&self.backbone.embedding)
    }

    /// The parts of a batch that is too large for one pass; none where it is not, or can't be cut.
    fn passes(&self, batch: &Packed, targets: &Targets) -> Option<Vec<Part>> {
        let count = targets.ids.len();
        // What does not fit together is refused by who looks at all of it.
        let fits = targets.groups.last().map_or(0, |g| g.end) == count
            && targets.rows.len() == count
            && [0, count].contains(&targets.entropy_slopes.len());
        let large = self.backbone.device().is_cpu() && batch.tokens() > PASS_TOKENS;
        let parts = (large && fits).then(|| parts(batch, targets, PASS_TOKENS));
        parts.filter(|parts| parts.len() > 1)
    }

    /// Has the weights that decoding reads moved to huge pages, beside what goes on.
    fn put_together(&self, cache: &Cache) {
        put_together(match cache.rounded.is_empty() {
            true => {
                let parameters = self.parameters().into_iter();
                parameters.filter_map(|p| addresses(&p.value)).collect()
            }
            false => cache.rounded.values().map(Rounded::addresses).collect(),
        });
    }

    /// Logits by the head, or by `cast`, the head in the type of the computation.
    fn head_logits(&self, hidden: &Tensor, cast: Option<&Tensor>) -> Result<Tensor> {
        let compute = self.backbone.compute();
        let head = match cast {
            Some(head) => head.clone(),
            None => self.head().cast(compute)?,
        };
        let logits = linear(&hidden.to_dtype(compute)?, &head)?;
        logits.to_dtype(super::wide(compute))
    }
}

/// The shape of a causal model.
fn causal(config: &Value) -> Result<Spec> {
    let spec = Spec::from_json(config).map_err(candle_core::Error::wrap)?;
    if !spec.causal() {
        bail!("`{}` predicts no next token", spec.model_type);
    }
    Ok(spec)
}

impl Model for LanguageModel {
    fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    fn backbone_mut(&mut self) -> &mut Backbone {
        &mut self.backbone
    }

    fn head_parameters(&self) -> Vec<&Parameter> {
        self.lm_head.iter().collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let (mut all, adapters) = self.backbone.split_parameters();
        all.extend(&mut self.lm_head);
        all.extend(adapters);
        all
    }

    fn add_adapters(&mut self, config: &crate::config::model::Lora, seed: u64) -> Result<usize> {
        let count = self.backbone.add_adapters(config, seed)?;
        // A vocabulary head is a part of the model, not of the task: PEFT freezes it as well.
        if let Some(head) = &mut self.lm_head {
            head.frozen = true;
        }
        Ok(count)
    }

    fn save(
        &self,
        folder: &Path,
        extras: &dyn Fn(&Path) -> std::io::Result<()>,
    ) -> std::result::Result<(), weights::Error> {
        let mut generation = serde_json::Map::new();
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            if let Some(id) = self.config.get(key).filter(|id| !id.is_null()) {
                generation.insert(key.into(), id.clone());
            }
        }
        weights::save(
            folder,
            &self.config,
            &Value::Object(generation),
            &self.base_parameters(),
            &|partial| {
                let adapter = partial.join(peft::FOLDER);
                peft::save(&adapter, &self.backbone, "..", "CAUSAL_LM")?;
                extras(partial)
            },
        )
    }
}

impl CausalLm for LanguageModel {
    fn logprobs(&self, batch: &Packed, targets: &Targets) -> Result<Vec<f32>> {
        if let Some(parts) = self.passes(batch, targets) {
            let mut all = Vec::with_capacity(targets.ids.len());
            for part in parts {
                all.extend(self.logprobs(&part.batch, &part.targets)?);
            }
            return Ok(all);
        }
        let compute = self.backbone.compute();
        let hidden = self.backbone.hidden(batch)?.to_dtype(compute)?;
        head::logprobs(&hidden, &self.head().cast(compute)?, targets)
    }

    fn accumulate(
        &mut self,
        batch: &Packed,
        targets: &Targets,
        objective: &mut Objective,
    ) -> Result<f64> {
        let Some(parts) = self.passes(batch, targets) else {
            return self.accumulate_both(batch, targets, objective, None);
        };
        let mut entropies = 0.0;
        for part in parts {
            let objective = &mut |group: usize, logprobs: &[f32]| -> Vec<f32> {
                objective(part.first_group + group, logprobs)
            };
            entropies += self.accumulate_both(&part.batch, &part.targets, objective, None)?;
        }
        Ok(entropies)
    }

    fn set_loss_scale(&mut self, scale: f32) {
        self.loss_scale = scale;
    }

    fn cache(&self, rows: usize, capacity: usize) -> Result<Cache> {
        let mut cache = self.backbone.cache(rows, capacity)?;
        let (head, compute) = (self.head(), self.backbone.compute());
        if !self.backbone.device().is_cpu() && head.value.dtype() != compute {
            cache.cast.insert(head.name.clone(), head.cast(compute)?);
        }
        Ok(cache)
    }

    fn prefill(&self, cache: &mut Cache, prompts: &[(usize, &[u32])]) -> Result<Tensor> {
        let hidden = self.backbone.prefill(cache, prompts)?;
        self.head_logits(&hidden, cache.cast.get(&self.head().name))
    }

    fn round_weights(&self, cache: &mut Cache, storage: Storage) -> Result<()> {
        // Elsewhere products are not ours, and what is computed is what `precision` says.
        if !self.backbone.device().is_cpu() {
            bail!("weights are rounded for decoding on the CPU only");
        }
        cache.rounded = self.backbone.rounded(storage)?;
        let head = Rounded::new(&self.head().value, false, storage)?;
        cache.rounded.insert(self.head().name.clone(), head);
        Ok(())
    }

    fn decode(&self, cache: &mut Cache, rows: &[usize], ids: &[u32]) -> Result<Tensor> {
        if self.decoded.fetch_add(1, Ordering::Relaxed) == STEPS_BEFORE_HUGE_PAGES {
            self.put_together(cache);
        }
        let mut step = || {
            let hidden = self.backbone.decode(cache, rows, ids)?;
            match cache.rounded.get(&self.head().name) {
                Some(head) => head.linear(&hidden),
                None => self.head_logits(&hidden, cache.cast.get(&self.head().name)),
            }
        };
        match self.backbone.device().is_cpu() {
            true => on_pool(step),
            false => step(),
        }
    }
}
