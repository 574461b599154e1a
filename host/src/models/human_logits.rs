//! What people said about a text, in the states of a reward model.
//!
//! People's raw scores `z` (K of them) meet the state `h` of the token that stands for a text as
//! `h' = h + W softmax(z)`. Where nobody said anything, the model's own prediction `z = U h` takes
//! their place. `W` begins at zero: the model is then the plain one.
//!
//! Two losses meet here. That of the scores trains `W`, and reaches `h` by the sum; the
//! cross-entropy of the prediction against what people said trains `U`. Joint training lets both
//! reach whatever they depend on: the prediction's path into `h'` then carries gradients to `U`
//! and to `h`, and so does the cross-entropy.

use candle_core::{Result, Tensor};
use serde_json::{Value, json};

use super::linear::{Linear, Size};
use super::spec::{Role, WeightSource};
use super::{Parameter, Pass};
use crate::config::reward_model::HumanLogitsLayer;

/// Names of the weights in a checkpoint.
pub(super) const OUTPUT: &str = "human_logits.output";
const PREDICTION: &str = "human_logits.prediction";
/// The key in `config.json`.
const CONFIG: &str = "human_logits";

/// The layer's weights and its place.
#[derive(Debug)]
pub struct HumanLogits {
    /// W, `[H, K]`.
    output: Linear,
    /// U, `[K, H]`.
    prediction: Linear,
    layer: HumanLogitsLayer,
    /// Whether either loss reaches all that it depends on.
    pub joint: bool,
}

/// What is known of one text's human logits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// What people said, in this pass; none: the prediction stands in for it.
    pub shown: Option<&'a [f32]>,
    /// What the prediction is trained on, and the weight of its cross-entropy in the loss.
    pub learnt: Option<(&'a [f32], f32)>,
}

/// What the backward needs of the forward.
pub(super) struct Kept {
    /// States before the change, `[R, H]`.
    h: Tensor,
    /// Predicted shares, `[R][K]`.
    predicted: Vec<Vec<f32>>,
    /// Shares that were used, `[R, K]`.
    used: Tensor,
    shown: Vec<bool>,
}

impl HumanLogits {
    /// `count` logits for states of `hidden` numbers.
    pub(super) fn build<E>(
        count: usize,
        hidden: usize,
        layer: HumanLogitsLayer,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let (wide, narrow) = (hidden, count);
        let size = Size {
            inputs: narrow,
            outputs: wide,
        };
        let output = Linear::build(OUTPUT, size, false, false, Role::Bias, source)?;
        let size = Size {
            inputs: wide,
            outputs: narrow,
        };
        Ok(Self {
            output,
            prediction: Linear::build(PREDICTION, size, false, false, Role::Weight, source)?,
            layer,
            joint: false,
        })
    }

    /// Number and place as a saved model's configuration names them.
    pub(super) fn from_config(config: &Value) -> Option<(usize, HumanLogitsLayer)> {
        let section = config.get(CONFIG)?;
        let layer = serde_json::from_value(section.get("layer")?.clone()).ok()?;
        Some((section.get("count")?.as_u64()? as usize, layer))
    }

    /// Writes them there.
    pub(super) fn to_config(&self, config: &mut Value) {
        config[CONFIG] = json!({"count": self.count(), "layer": self.layer});
    }

    /// K.
    pub fn count(&self) -> usize {
        self.output.size.inputs
    }

    /// Where the states are changed.
    pub fn layer(&self) -> HumanLogitsLayer {
        self.layer
    }

    /// The changed states of `h` `[R, H]`, and what the backward needs.
    pub(super) fn forward(&self, h: &Tensor, said: &[Said], pass: &Pass) -> Result<(Tensor, Kept)> {
        let count = self.count();
        if said.len() != h.dim(0)? {
            candle_core::bail!("human logits of {} texts for {:?}", said.len(), h.dims());
        }
        let all = said.iter();
        let lengths = all.flat_map(|s| [s.shown, s.learnt.map(|(logits, _)| logits)]);
        if let Some(wrong) = lengths.flatten().find(|logits| logits.len() != count) {
            candle_core::bail!("{} human logits for a model of {count}", wrong.len());
        }
        let predicted: Vec<Vec<f32>> = rows(&self.prediction.forward(h, pass)?)?
            .iter()
            .map(|z| softmax(z))
            .collect();
        let used: Vec<f32> = predicted
            .iter()
            .zip(said)
            .flat_map(|(predicted, said)| said.shown.map_or_else(|| predicted.clone(), softmax))
            .collect();
        let used = Tensor::from_vec(used, (said.len(), count), h.device())?.to_dtype(h.dtype())?;
        let changed = self.output.forward_add(h.copy()?, &used, pass)?;
        let kept = Kept {
            h: h.clone(),
            predicted,
            used,
            shown: said.iter().map(|said| said.shown.is_some()).collect(),
        };
        Ok((changed, kept))
    }

    /// Adds the gradients and returns that of the states before the change; `d` is that of the
    /// changed ones.
    pub(super) fn backward(
        &mut self,
        d: &Tensor,
        kept: &Kept,
        said: &[Said],
        pass: &Pass,
    ) -> Result<Tensor> {
        let d_used = rows(&self.output.backward(None, d, Some(&kept.used), pass)?)?;
        let mut d_logits = Vec::with_capacity(said.len() * self.count());
        for (at, predicted) in kept.predicted.iter().enumerate() {
            let mut row = vec![0.0; predicted.len()];
            if self.joint && !kept.shown[at] {
                let mean: f32 = predicted.iter().zip(&d_used[at]).map(|(p, d)| p * d).sum();
                for ((slot, p), d) in row.iter_mut().zip(predicted).zip(&d_used[at]) {
                    *slot += p * (d - mean);
                }
            }
            if let Some((logits, weight)) = said[at].learnt {
                for ((slot, p), q) in row.iter_mut().zip(predicted).zip(softmax(logits)) {
                    *slot += weight * (p - q);
                }
            }
            d_logits.extend(row);
        }
        let shape = (said.len(), self.count());
        let d_logits = Tensor::from_vec(d_logits, shape, d.device())?.to_dtype(d.dtype())?;
        if self.joint {
            let base = Some(d.copy()?);
            return self
                .prediction
                .backward(base, &d_logits, Some(&kept.h), pass);
        }
        self.prediction.accumulate(&d_logits, &kept.h, None, pass)?;
        Ok(d.clone())
    }

    /// Weights in a fixed order: W, U.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.output.parameters().chain(self.prediction.parameters())
    }

    pub(super) fn layers_mut(&mut self) -> [&mut Linear; 2] {
        [&mut self.output, &mut self.prediction]
    }
}

impl Kept {
    /// `−Σ softmax(said) ln softmax(U h)` of each text about which something is learnt.
    pub(super) fn cross_entropies(&self, said: &[Said]) -> Vec<Option<f64>> {
        let one = |(predicted, said): (&Vec<f32>, &Said)| {
            let (logits, _) = said.learnt?;
            let terms = softmax(logits);
            // A share that rounds to zero has a logarithm that stays finite this way.
            let log = |p: &f32| f64::from(p.max(f32::MIN_POSITIVE)).ln();
            let terms = terms.iter().zip(predicted);
            Some(-terms.map(|(q, p)| f64::from(*q) * log(p)).sum::<f64>())
        };
        self.predicted.iter().zip(said).map(one).collect()
    }
}

fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    tensor.to_dtype(candle_core::DType::F32)?.to_vec2()
}

/// Shares of raw scores.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|z| (z - highest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}
