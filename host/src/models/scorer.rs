//! A backbone with a head that gives one number: the reward of a sequence, or the value of a
//! token.
//!
//! The score of a state `h` is `w·h + b`, or `w·tanh(D h + d) + b` in the classification form of
//! BERT and RoBERTa. Where the model has learnt from human logits, they change `h`: see
//! [`HumanLogits`].

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, bail};
use serde_json::{Value, json};

use super::backbone::initial_weights;
use super::checkpoint::{Checkpoint, is_head};
use super::human_logits::{self, HumanLogits, Said};
use super::linear::{Linear, Size};
use super::spec::{Role, WeightSource};
use super::{Backbone, Model, Packed, Parameter, Pass, peft, weights};
use crate::config::reward_model::HumanLogitsLayer;
use crate::ops::attention::Groups;
use crate::ops::embedding::{gather, scatter_add};

/// What the score is computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// `score`, without a bias: transformers' head on causal backbones.
    Score,
    /// `score` with a bias; TRL's value head.
    ScoreWithBias,
    /// A dense layer and tanh before it: the classification form of BERT and RoBERTa.
    Classifier,
}

/// Which token's state stands for its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first: `[CLS]`.
    First,
    /// The last that is no padding.
    Last,
}

/// A backbone and its scalar head.
#[derive(Debug)]
pub struct Scorer {
    /// `config.json` as it was found, with the class and the number of labels of this model.
    config: Value,
    backbone: Backbone,
    dense: Option<Linear>,
    out: Linear,
    pooling: Pooling,
    human_logits: Option<HumanLogits>,
    loss_scale: f32,
}

/// How the loss changes with the scores: takes all of them, returns `∂loss/∂score` of each.
pub type ScoreObjective<'a> = dyn FnMut(&[f32]) -> Vec<f32> + 'a;

impl Scorer {
    /// Loads a Hugging Face folder: a reward model with its head, or any other model, which gets
    /// a head of `kind` drawn from `seed` (its last layer at zero: all scores begin equal).
    ///
    /// Encoders score their first token, causal backbones the last.
    ///
    /// # Errors
    /// See [`weights::Error`]; `num_labels` is not 1.
    pub fn load(
        folder: &Path,
        kind: HeadKind,
        seed: u64,
        device: &Device,
    ) -> std::result::Result<Self, weights::Error> {
        let mut checkpoint = Checkpoint::open(folder)?;
        let config = checkpoint.config.clone();
        let spec = checkpoint.spec.clone();
        let backbone = Backbone::build(spec, device, &mut |name, shape, _| {
            checkpoint.take(name, shape, device)
        })?;
        let headed = config.get("architectures").is_some()
            && checkpoint.class_ends_with(&["ForSequenceClassification"]);
        let human_logits = HumanLogits::from_config(&config)
            .filter(|_| headed && checkpoint.contains(&format!("{}.weight", human_logits::OUTPUT)));
        let mut model = if headed {
            let kind = match backbone.spec().causal() {
                false => HeadKind::Classifier,
                true if checkpoint.contains("score.bias") => HeadKind::ScoreWithBias,
                true => HeadKind::Score,
            };
            Self::with_head(config, backbone, kind, &mut |name, shape, _| {
                checkpoint.take(name, shape, device)
            })?
        } else {
            Self::init(config, backbone, kind, seed)?
        };
        if let Some((count, layer)) = human_logits {
            let hidden = model.backbone.spec().hidden_size;
            let built = HumanLogits::build(count, hidden, layer, &mut |name, shape, _| {
                checkpoint.take(name, shape, device)
            })?;
            model.human_logits = Some(built);
        }
        checkpoint.finish(is_head)?;
        Ok(model)
    }

    /// The same with the head that transformers has for the architecture: `score` on a causal
    /// backbone, the classification form on an encoder.
    ///
    /// # Errors
    /// As for [`Scorer::load`].
    pub fn load_usual(
        folder: &Path,
        seed: u64,
        device: &Device,
    ) -> std::result::Result<Self, weights::Error> {
        let causal = Checkpoint::open(folder)?.spec.causal();
        let kind = if causal {
            HeadKind::Score
        } else {
            HeadKind::Classifier
        };
        Self::load(folder, kind, seed, device)
    }

    /// Loads a folder that has a head already, such as a trained reward model's.
    ///
    /// # Errors
    /// As for [`Scorer::load`]; another kind of model.
    pub fn load_trained(
        folder: &Path,
        device: &Device,
    ) -> std::result::Result<Self, weights::Error> {
        let checkpoint = Checkpoint::open(folder)?;
        let headed = checkpoint.config.get("architectures").is_some()
            && checkpoint.class_ends_with(&["ForSequenceClassification"]);
        if !headed {
            return Err(checkpoint.unsupported());
        }
        Self::load_usual(folder, 0, device)
    }

    /// Gives a backbone a head of `kind`: the dense layer is drawn from `seed`, the last layer
    /// begins at zero.
    ///
    /// # Errors
    /// The device has no room.
    pub fn init(config: Value, backbone: Backbone, kind: HeadKind, seed: u64) -> Result<Self> {
        let device = backbone.device().clone();
        // Streams of the head follow those of the backbone's layers.
        let mut drawn = initial_weights(seed ^ HEAD_SEED, backbone.spec().layers, &device);
        Self::with_head(config, backbone, kind, &mut drawn)
    }

    fn with_head<E>(
        mut config: Value,
        backbone: Backbone,
        kind: HeadKind,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let spec = backbone.spec();
        let hidden = spec.hidden_size;
        let names = HeadNames::of(spec.model_type, kind);
        let square = Size {
            inputs: hidden,
            outputs: hidden,
        };
        let dense = match names.dense {
            Some(name) => Some(Linear::build(
                name,
                square,
                false,
                true,
                Role::Weight,
                source,
            )?),
            None => None,
        };
        let size = Size {
            inputs: hidden,
            outputs: 1,
        };
        let bias = kind != HeadKind::Score;
        let out = Linear::build(names.out, size, false, bias, Role::Bias, source)?;
        let pooling = match spec.causal() {
            true => Pooling::Last,
            false => Pooling::First,
        };
        if let Some(keys) = config.as_object_mut() {
            keys.insert("architectures".into(), json!([names.class]));
            keys.insert("num_labels".into(), json!(1));
            keys.insert("id2label".into(), json!({"0": "LABEL_0"}));
            keys.insert("label2id".into(), json!({"LABEL_0": 0}));
        }
        Ok(Self {
            config,
            backbone,
            dense,
            out,
            pooling,
            human_logits: None,
            loss_scale: 1.0,
        })
    }

    /// Gives the model the layer in which people's `count` logits meet its states, its weights
    /// drawn from `seed`. Scores are the same before and after.
    ///
    /// # Errors
    /// The device has no room; there is such a layer already.
    pub fn add_human_logits(
        &mut self,
        count: usize,
        layer: HumanLogitsLayer,
        seed: u64,
    ) -> Result<()> {
        if self.human_logits.is_some() {
            bail!("the model has a layer for human logits already");
        }
        let spec = self.backbone.spec();
        let device = self.backbone.device();
        let mut drawn = initial_weights(seed ^ HUMAN_LOGITS_SEED, spec.layers, device);
        let built = HumanLogits::build(count, spec.hidden_size, layer, &mut drawn)?;
        built.to_config(&mut self.config);
        self.human_logits = Some(built);
        Ok(())
    }

    /// The layer in which human logits meet the states, where there is one.
    pub fn human_logits(&self) -> Option<&HumanLogits> {
        self.human_logits.as_ref()
    }

    /// The same, to change it.
    pub fn human_logits_mut(&mut self) -> Option<&mut HumanLogits> {
        self.human_logits.as_mut()
    }

    /// Multiplies the gradients of all later [`Scorer::accumulate`] calls.
    pub fn set_loss_scale(&mut self, scale: f32) {
        self.loss_scale = scale;
    }

    /// Number of the layer before which the states are changed; as many as there are layers: the
    /// final ones are.
    fn changed_layer(&self) -> usize {
        let layers = self.backbone.spec().layers;
        match self.human_logits.as_ref().map(HumanLogits::layer) {
            Some(HumanLogitsLayer::SecondLast) => layers.saturating_sub(1),
            _ => layers,
        }
    }

    /// The token whose state stands for each sequence, in the batch's order; of a group with
    /// branches, the prompt with each of them is a sequence.
    pub fn rows(&self, batch: &Packed) -> Vec<u32> {
        let mut rows = Vec::new();
        for group in &batch.groups {
            let first = group.prefix.start as u32;
            let ends: Vec<usize> = match group.branches.as_slice() {
                [] => vec![group.prefix.end],
                branches => branches.iter().map(|b| b.end).collect(),
            };
            rows.extend(ends.into_iter().map(|end| match self.pooling {
                Pooling::First => first,
                Pooling::Last => end as u32 - 1,
            }));
        }
        rows
    }

    /// Scores of the states at `rows`: [`Scorer::rows`] for rewards, any tokens for values.
    ///
    /// # Errors
    /// A token beyond the vocabulary, a row beyond the batch.
    pub fn scores(&self, batch: &Packed, rows: &[u32]) -> Result<Vec<f32>> {
        self.scores_with(batch, rows, &vec![Said::default(); rows.len()])
    }

    /// The same with what people said about each text, in the order of `rows`; a model that has
    /// not learnt from human logits does not heed them.
    ///
    /// # Errors
    /// As for [`Scorer::scores`]; another number of human logits than the model knows.
    pub fn scores_with(&self, batch: &Packed, rows: &[u32], said: &[Said]) -> Result<Vec<f32>> {
        Ok(self.judge(batch, rows, said)?.0)
    }

    /// The same, and how far the model's prediction is from each text's human logits: their
    /// cross-entropy where `said` has some to be learnt.
    ///
    /// # Errors
    /// As for [`Scorer::scores_with`].
    pub fn judge(
        &self,
        batch: &Packed,
        rows: &[u32],
        said: &[Said],
    ) -> Result<(Vec<f32>, Vec<Option<f64>>)> {
        let pass = self.backbone.still_pass(&batch.groups, &batch.positions)?;
        let at = self.changed_layer();
        let mut kept = None;
        let hidden = self.backbone.hidden_changed(batch, at, &mut |x| {
            let (x, of_change) = self.change_rows(x, rows, said, &pass)?;
            kept = of_change;
            Ok(x)
        })?;
        let mut states = gather(&hidden, rows)?;
        if at == self.backbone.spec().layers {
            (states, kept) = self.change(states, said, &pass)?;
        }
        let scores = self.head(&states, &pass)?.1.squeeze(1)?.to_vec1()?;
        let entropies = match kept {
            Some(kept) => kept.cross_entropies(said),
            None => vec![None; rows.len()],
        };
        Ok((scores, entropies))
    }

    /// States `[R, H]` with human logits, where the model has the layer for it.
    fn change(
        &self,
        states: Tensor,
        said: &[Said],
        pass: &Pass,
    ) -> Result<(Tensor, Option<human_logits::Kept>)> {
        let Some(layer) = &self.human_logits else {
            return Ok((states, None));
        };
        let pass = &full_precision(pass, states.dtype());
        let (changed, kept) = layer.forward(&states, said, pass)?;
        Ok((changed, Some(kept)))
    }

    /// The same at some rows of states `[T, H]`.
    fn change_rows(
        &self,
        mut x: Tensor,
        rows: &[u32],
        said: &[Said],
        pass: &Pass,
    ) -> Result<(Tensor, Option<human_logits::Kept>)> {
        let before = gather(&x, rows)?;
        let (changed, kept) = self.change(before.clone(), said, pass)?;
        scatter_add(&mut x, rows, &(changed - before)?)?;
        Ok((x, kept))
    }

    /// The dense layer's output, where there is one, and the scores `[R, 1]`. The head computes
    /// in the states' type: it is small, and its numbers are what everything is trained on.
    fn head(&self, states: &Tensor, pass: &Pass) -> Result<(Option<Tensor>, Tensor)> {
        let pass = &full_precision(pass, states.dtype());
        match &self.dense {
            None => Ok((None, self.out.forward(states, pass)?)),
            Some(dense) => {
                let inner = dense.forward(states, pass)?.tanh()?;
                let scores = self.out.forward(&inner, pass)?;
                Ok((Some(inner), scores))
            }
        }
    }

    /// Runs forward and backward, and adds to the gradients those of the loss that `objective`
    /// describes by the scores at `rows`.
    ///
    /// # Errors
    /// As for [`Scorer::scores`]; the model is frozen.
    pub fn accumulate(
        &mut self,
        batch: &Packed,
        rows: &[u32],
        objective: &mut ScoreObjective,
    ) -> Result<()> {
        let said = vec![Said::default(); rows.len()];
        self.accumulate_with(batch, rows, &said, objective)
            .map(drop)
    }

    /// The same with what people said about each text, in the order of `rows`; returns the
    /// cross-entropies of the predictions that were trained, which are a part of the loss.
    ///
    /// # Errors
    /// As for [`Scorer::scores_with`]; the model is frozen.
    pub fn accumulate_with(
        &mut self,
        batch: &Packed,
        rows: &[u32],
        said: &[Said],
        objective: &mut ScoreObjective,
    ) -> Result<Vec<Option<f64>>> {
        if self.out.weight.gradient.is_none() {
            bail!("a frozen model cannot accumulate gradients");
        }
        let pass = self.backbone.pass(batch, true)?;
        let at = self.changed_layer();
        let mut kept = None;
        let (hidden, tape) = self.backbone.forward_changed(batch, &pass, at, &mut |x| {
            let (x, of_change) = self.change_rows(x, rows, said, &pass)?;
            kept = of_change;
            Ok(x)
        })?;
        let mut states = gather(&hidden, rows)?;
        let at_the_end = at == self.backbone.spec().layers;
        if at_the_end {
            (states, kept) = self.change(states, said, &pass)?;
        }
        let (inner, scores) = self.head(&states, &pass)?;
        let scores: Vec<f32> = scores.squeeze(1)?.to_vec1()?;
        let mut d = objective(&scores);
        if d.len() != rows.len() {
            bail!("{} gradients for {} scores", d.len(), rows.len());
        }
        let scale = self.loss_scale;
        d.iter_mut().for_each(|d| *d *= scale);
        let scaled: Vec<Said> = said
            .iter()
            .map(|said| Said {
                learnt: said.learnt.map(|(logits, weight)| (logits, weight * scale)),
                ..*said
            })
            .collect();
        let head_pass = &full_precision(&pass, states.dtype());
        let d = Tensor::from_vec(d, (rows.len(), 1), states.device())?.to_dtype(states.dtype())?;
        let seen = inner.as_ref().unwrap_or(&states);
        let mut d_states = self.out.backward(None, &d, Some(seen), head_pass)?;
        if let (Some(dense), Some(inner)) = (&mut self.dense, &inner) {
            let d_inner = (d_states * (1.0 - inner.sqr()?)?)?;
            d_states = dense.backward(None, &d_inner, Some(&states), head_pass)?;
        }
        let mut layer = self.human_logits.as_mut();
        let entropies = match &kept {
            Some(kept) => kept.cross_entropies(said),
            None => vec![None; rows.len()],
        };
        let mut unchange = |d: &Tensor| -> Result<Tensor> {
            match (&mut layer, &kept) {
                (Some(layer), Some(kept)) => {
                    let pass = &full_precision(&pass, d.dtype());
                    layer.backward(d, kept, &scaled, pass)
                }
                _ => Ok(d.clone()),
            }
        };
        if at_the_end {
            d_states = unchange(&d_states)?;
        }
        let mut d_hidden = hidden.zeros_like()?;
        scatter_add(&mut d_hidden, rows, &d_states)?;
        drop(hidden);
        self.backbone
            .backward_changed(batch, &pass, tape, d_hidden, at, &mut |mut dx| {
                let changed = gather(&dx, rows)?;
                let before = unchange(&changed)?;
                scatter_add(&mut dx, rows, &(before - changed)?)?;
                Ok(dx)
            })?;
        Ok(entropies)
    }
}

/// Sets the streams of the layer for human logits apart from the others'.
const HUMAN_LOGITS_SEED: u64 = 0x4106_1751;

/// Sets the head's streams apart from the backbone's.
const HEAD_SEED: u64 = 0x5C0E_5C0E;

/// The head's pass: without adapters, in the type of the states.
fn full_precision<'a>(pass: &Pass<'a>, dtype: DType) -> Pass<'a> {
    Pass {
        groups: Groups::of(pass.groups.all()),
        angles: None,
        heads: pass.heads,
        compute: dtype,
        adapters: false,
        dropout: None,
        rounded: None,
        cast: None,
    }
}

/// Names of a head, and the class that transformers has for it.
struct HeadNames {
    dense: Option<&'static str>,
    out: &'static str,
    class: &'static str,
}

impl HeadNames {
    fn of(model_type: &str, kind: HeadKind) -> Self {
        let class = match model_type {
            "gpt2" => "GPT2ForSequenceClassification",
            "qwen2" => "Qwen2ForSequenceClassification",
            "bert" => "BertForSequenceClassification",
            "roberta" => "RobertaForSequenceClassification",
            _ => "LlamaForSequenceClassification",
        };
        let (dense, out) = match (kind, model_type) {
            (HeadKind::Score | HeadKind::ScoreWithBias, _) => (None, "score"),
            (HeadKind::Classifier, "bert") => (Some("bert.pooler.dense"), "classifier"),
            (HeadKind::Classifier, _) => (Some("classifier.dense"), "classifier.out_proj"),
        };
        Self { dense, out, class }
    }
}

impl Model for Scorer {
    fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    fn backbone_mut(&mut self) -> &mut Backbone {
        &mut self.backbone
    }

    fn head_parameters(&self) -> Vec<&Parameter> {
        let dense = self.dense.iter().flat_map(Linear::parameters);
        let human_logits = self.human_logits.iter().flat_map(HumanLogits::parameters);
        dense
            .chain(self.out.parameters())
            .chain(human_logits)
            .collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let (mut all, adapters) = self.backbone.split_parameters();
        // The head has no adapters.
        let human_logits = self.human_logits.iter_mut();
        let human_logits = human_logits.flat_map(HumanLogits::layers_mut);
        let head = self.dense.iter_mut().chain([&mut self.out]);
        for layer in head.chain(human_logits) {
            layer.split_parameters(&mut all, &mut Vec::new());
        }
        all.extend(adapters);
        all
    }

    fn save(
        &self,
        folder: &Path,
        extras: &dyn Fn(&Path) -> std::io::Result<()>,
    ) -> std::result::Result<(), weights::Error> {
        weights::save(
            folder,
            &self.config,
            &json!({}),
            &self.base_parameters(),
            &|partial| {
                let adapter = partial.join(peft::FOLDER);
                peft::save(&adapter, &self.backbone, "..", "SEQ_CLS")?;
                extras(partial)
            },
        )
    }
}
