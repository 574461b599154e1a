//! Attention with its projections: from normed states to what is added to the residual.

use candle_core::{Result, Tensor};

use super::Pass;
use super::block::{Input, input_where};
use super::linear::{Linear, Size};
use super::spec::{Biases, ProjectionNames, Role, Spec, WeightSource};
use crate::ops::attention::{Heads, LayerCache, Step, attention, attention_backward};
use crate::ops::rope::{rope, rope_backward};

#[derive(Debug)]
pub(super) struct Attention {
    projections: Projections,
    output: Linear,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one for each layer, and never moved"
)]
enum Projections {
    /// One weight; its outputs are all queries, all keys, all values.
    Fused(Linear),
    Separate([Linear; 3]),
}

/// What the backward needs of the forward.
pub(super) struct Kept {
    q: Tensor,
    pub k: Tensor,
    pub v: Tensor,
    attended: Tensor,
    lse: Tensor,
}

impl Attention {
    pub fn build<E>(
        spec: &Spec,
        named: &dyn Fn(&str) -> String,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let Heads {
            query,
            key_value,
            width,
            ..
        } = spec.heads;
        let projection = |name: &str, outputs: usize, source: &mut WeightSource<E>| {
            let size = Size {
                inputs: spec.hidden_size,
                outputs,
            };
            let bias = spec.biases != Biases::None;
            Linear::build(
                &named(name),
                size,
                spec.transposed,
                bias,
                Role::Weight,
                source,
            )
        };
        let (q, kv) = (query * width, key_value * width);
        let projections = match &spec.names.projections {
            ProjectionNames::Fused(name) => {
                Projections::Fused(projection(name, q + 2 * kv, source)?)
            }
            ProjectionNames::Separate([q_name, k_name, v_name]) => Projections::Separate([
                projection(q_name, q, source)?,
                projection(k_name, kv, source)?,
                projection(v_name, kv, source)?,
            ]),
        };
        let size = Size {
            inputs: q,
            outputs: spec.hidden_size,
        };
        let output = Linear::build(
            &named(spec.names.output),
            size,
            spec.transposed,
            spec.biases == Biases::All,
            spec.residual.role(),
            source,
        )?;
        Ok(Self {
            projections,
            output,
        })
    }

    /// Queries, keys and values of `x`, turned to their positions.
    fn project(&self, x: &Tensor, pass: &Pass) -> Result<[Tensor; 3]> {
        let [q, k, v] = match &self.projections {
            Projections::Separate([q, k, v]) => [
                q.forward(x, pass)?,
                k.forward(x, pass)?,
                v.forward(x, pass)?,
            ],
            Projections::Fused(all) => {
                let all = all.forward(x, pass)?;
                let (q, kv) = pass.widths();
                let part = |at, width| all.narrow(1, at, width)?.contiguous();
                [part(0, q)?, part(q, kv)?, part(q + kv, kv)?]
            }
        };
        Ok(match &pass.angles {
            Some(angles) => [rope(q, angles)?, rope(k, angles)?, v],
            None => [q, k, v],
        })
    }

    /// `base` plus the attention's output for `x`.
    pub fn forward(&self, base: Tensor, x: &Tensor, pass: &Pass) -> Result<(Tensor, Kept)> {
        let [q, k, v] = self.project(&x.to_dtype(pass.compute)?, pass)?;
        let (attended, lse) = attention(&q, &k, &v, &pass.groups, pass.heads)?;
        let y = self.output.forward_add(base, &attended, pass)?;
        let kept = Kept {
            q,
            k,
            v,
            attended,
            lse,
        };
        Ok((y, kept))
    }

    /// Gradient of the input, in the type of `dy`.
    pub fn backward(
        &mut self,
        dy: &Tensor,
        input: &Input,
        kept: Kept,
        pass: &Pass,
    ) -> Result<Tensor> {
        let Kept {
            q,
            k,
            v,
            attended,
            lse,
        } = kept;
        let dtype = dy.dtype();
        let dy = dy.to_dtype(pass.compute)?;
        let d_attended = self.output.backward(None, &dy, Some(&attended), pass)?;
        let (mut dq, mut dk, dv) = attention_backward(
            &d_attended,
            &q,
            &k,
            &v,
            &attended,
            &lse,
            &pass.groups,
            pass.heads,
        )?;
        drop((q, k, v, attended, d_attended));
        if let Some(angles) = &pass.angles {
            (dq, dk) = (rope_backward(dq, angles)?, rope_backward(dk, angles)?);
        }
        let dx = match &mut self.projections {
            Projections::Separate(layers) => {
                let gradients = [dq, dk, dv];
                let x = input_where(layers.iter().any(Linear::trains), input, pass)?;
                let mut dx = None;
                for (layer, dy) in layers.iter_mut().zip(&gradients) {
                    dx = Some(layer.backward(dx, dy, x.as_ref(), pass)?);
                }
                dx.expect("there are three layers")
            }
            Projections::Fused(layer) => {
                let dy = Tensor::cat(&[dq, dk, dv], 1)?;
                let x = input_where(layer.trains(), input, pass)?;
                layer.backward(None, &dy, x.as_ref(), pass)?
            }
        };
        dx.to_dtype(dtype)
    }

    pub fn decode(
        &self,
        base: Tensor,
        x: &Tensor,
        cache: &LayerCache,
        step: &Step,
        pass: &Pass,
    ) -> Result<Tensor> {
        let [q, k, v] = self.project(&x.to_dtype(pass.compute)?, pass)?;
        cache.put_step(step, &k, &v, pass.heads)?;
        let attended = cache.attend(&q, step, pass.heads)?;
        self.output.forward_add(base, &attended, pass)
    }

    pub fn layers(&self) -> Vec<&Linear> {
        let mut all: Vec<&Linear> = match &self.projections {
            Projections::Fused(layer) => vec![layer],
            Projections::Separate(layers) => layers.iter().collect(),
        };
        all.push(&self.output);
        all
    }

    pub fn layers_mut(&mut self) -> Vec<&mut Linear> {
        let mut all: Vec<&mut Linear> = match &mut self.projections {
            Projections::Fused(layer) => vec![layer],
            Projections::Separate(layers) => layers.iter_mut().collect(),
        };
        all.push(&mut self.output);
        all
    }
}
