//! One layer of a transformer: attention and an MLP, each with its norm and the residual around
//! it. Forward, backward, and the step that decodes one token of each row.
//!
//! The residual stream and the norms are in full precision; between them, inside attention and
//! MLP, everything is in the pass's type.

use candle_core::{Result, Tensor};

use super::linear::Linear;
use super::mlp::{self, Mlp};
use super::norm::{Norm, Statistics};
use super::self_attention::{self, Attention};
use super::spec::{Residual, Role, Spec, WeightSource};
use super::{Parameter, Pass};
use crate::ops::attention::{LayerCache, Step};

#[derive(Debug)]
pub(super) struct Block {
    residual: Residual,
    attention_norm: Norm,
    attention: Attention,
    mlp_norm: Norm,
    mlp: Mlp,
}

/// What a block's backward needs of its forward. Normed states and the MLP's inner product are
/// made again: they cost a pass over memory and would be a third of what is kept.
pub(super) struct Kept {
    attention: self_attention::Kept,
    /// Pre-norm: the attention's statistics are of the block's input, and `h` is its output with
    /// the residual. Post-norm: `h` is what the first norm was taken of.
    attention_statistics: Statistics,
    h: Tensor,
    mlp: mlp::Kept,
    mlp_statistics: Statistics,
    /// Post-norm: what the second norm was taken of.
    sum: Option<Tensor>,
}

impl Kept {
    /// Keys and values `[T, N_kv·D]`.
    pub fn keys_and_values(&self) -> (&Tensor, &Tensor) {
        (&self.attention.k, &self.attention.v)
    }
}

impl Block {
    /// Layer `number` of the model.
    pub fn build<E>(
        spec: &Spec,
        number: usize,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let names = spec.names;
        let named = |part: &str| format!("{}{}.{number}.{part}", names.prefix, names.layers);
        let norm = |part: &str, source: &mut WeightSource<E>| {
            Norm::build(
                &named(part),
                spec.hidden_size,
                spec.norm,
                spec.epsilon,
                source,
            )
        };
        // In the checkpoint's order, by which initial weights are numbered.
        let (attention_norm, attention);
        match spec.residual {
            Residual::PreNorm => {
                attention_norm = norm(names.attention_norm, source)?;
                attention = Attention::build(spec, &named, source)?;
            }
            Residual::PostNorm => {
                attention = Attention::build(spec, &named, source)?;
                attention_norm = norm(names.attention_norm, source)?;
            }
        }
        let (mlp_norm, mlp);
        match spec.residual {
            Residual::PreNorm => {
                mlp_norm = norm(names.mlp_norm, source)?;
                mlp = Mlp::build(spec, &named, source)?;
            }
            Residual::PostNorm => {
                mlp = Mlp::build(spec, &named, source)?;
                mlp_norm = norm(names.mlp_norm, source)?;
            }
        }
        Ok(Self {
            residual: spec.residual,
            attention_norm,
            attention,
            mlp_norm,
            mlp,
        })
    }

    /// The block's output for `x` `[T, H]`, and what its backward needs.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<(Tensor, Kept)> {
        match self.residual {
            Residual::PreNorm => {
                let (normed, attention_statistics) = self.attention_norm.forward(x)?;
                let (h, attention) = self.attention.forward(x.copy()?, &normed, pass)?;
                drop(normed);
                let (normed, mlp_statistics) = self.mlp_norm.forward(&h)?;
                let (y, mlp) = self.mlp.forward(h.copy()?, &normed, pass)?;
                let kept = Kept {
                    attention,
                    attention_statistics,
                    h,
                    mlp,
                    mlp_statistics,
                    sum: None,
                };
                Ok((y, kept))
            }
            Residual::PostNorm => {
                let (h, attention) = self.attention.forward(x.copy()?, x, pass)?;
                let (normed, attention_statistics) = self.attention_norm.forward(&h)?;
                let (sum, mlp) = self.mlp.forward(normed.copy()?, &normed, pass)?;
                let (y, mlp_statistics) = self.mlp_norm.forward(&sum)?;
                let kept = Kept {
                    attention,
                    attention_statistics,
                    h,
                    mlp,
                    mlp_statistics,
                    sum: Some(sum),
                };
                Ok((y, kept))
            }
        }
    }

    /// `dy` is the gradient of the block's output; returns that of its input `x`.
    pub fn backward(&mut self, dy: Tensor, x: &Tensor, kept: Kept, pass: &Pass) -> Result<Tensor> {
        let Kept {
            attention,
            attention_statistics,
            h,
            mlp,
            mlp_statistics,
            sum,
        } = kept;
        match self.residual {
            Residual::PreNorm => {
                let normed = || self.mlp_norm.apply(&h, &mlp_statistics);
                let d_normed = self.mlp.backward(&dy, &normed, mlp, pass)?;
                let dh = self.mlp_norm.backward(dy, &d_normed, &h, &mlp_statistics)?;
                drop((h, d_normed));
                let normed = || self.attention_norm.apply(x, &attention_statistics);
                let d_normed = self.attention.backward(&dh, &normed, attention, pass)?;
                self.attention_norm
                    .backward(dh, &d_normed, x, &attention_statistics)
            }
            Residual::PostNorm => {
                let Some(sum) = sum else {
                    candle_core::bail!("a post-norm block keeps its sum")
                };
                let zeros = sum.zeros_like()?;
                let d_sum = self.mlp_norm.backward(zeros, &dy, &sum, &mlp_statistics)?;
                drop((dy, sum));
                let normed = || self.attention_norm.apply(&h, &attention_statistics);
                let d_normed = (self.mlp.backward(&d_sum, &normed, mlp, pass)? + d_sum)?;
                let zeros = h.zeros_like()?;
                let dh =
                    self.attention_norm
                        .backward(zeros, &d_normed, &h, &attention_statistics)?;
                drop((h, d_normed));
                self.attention
                    .backward(&dh, &|| Ok(x.clone()), attention, pass)?
                    + dh
            }
        }
    }

    /// One more token for each row of `step`: `x` `[b, H]`.
    pub fn decode(
        &self,
        x: Tensor,
        cache: &LayerCache,
        step: &Step,
        pass: &Pass,
    ) -> Result<Tensor> {
        if self.residual != Residual::PreNorm {
            candle_core::bail!("an encoder generates nothing");
        }
        let (normed, _) = self.attention_norm.forward(&x)?;
        let h = self.attention.decode(x, &normed, cache, step, pass)?;
        let (normed, _) = self.mlp_norm.forward(&h)?;
        Ok(self.mlp.forward(h, &normed, pass)?.0)
    }

    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut all: Vec<&Parameter> = self.attention_norm.parameters().collect();
        all.extend(
            self.attention
                .layers()
                .into_iter()
                .flat_map(Linear::parameters),
        );
        all.extend(self.mlp_norm.parameters());
        all.extend(self.mlp.layers().into_iter().flat_map(Linear::parameters));
        all
    }

    /// The checkpoint's parameters, in the order of [`Block::parameters`], and the adapters'.
    pub fn split_parameters(&mut self) -> (Vec<&mut Parameter>, Vec<&mut Parameter>) {
        let (mut base, mut adapters) = (Vec::new(), Vec::new());
        base.extend(self.attention_norm.parameters_mut());
        for layer in self.attention.layers_mut() {
            layer.split_parameters(&mut base, &mut adapters);
        }
        base.extend(self.mlp_norm.parameters_mut());
        for layer in self.mlp.layers_mut() {
            layer.split_parameters(&mut base, &mut adapters);
        }
        (base, adapters)
    }

    /// The linear layers, which can have adapters.
    pub fn layers(&self) -> Vec<&Linear> {
        [self.attention.layers(), self.mlp.layers()].concat()
    }

    pub fn layers_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = self.attention.layers_mut();
        all.extend(self.mlp.layers_mut());
        all
    }
}

/// A forward's input, made again where a backward needs it.
pub(super) type Input<'a> = dyn Fn() -> Result<Tensor> + 'a;

/// The input in the pass's type, where it is needed.
pub(super) fn input_where(needed: bool, input: &Input, pass: &Pass) -> Result<Option<Tensor>> {
    needed.then(|| input()?.to_dtype(pass.compute)).transpose()
}

impl Residual {
    /// The role of weights that write to the residual stream.
    pub(super) fn role(self) -> Role {
        match self {
            Residual::PreNorm => Role::Residual,
            Residual::PostNorm => Role::Weight,
        }
    }
}
