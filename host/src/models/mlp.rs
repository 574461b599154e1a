//! The two or three projections behind the attention, and what stands between them.

use candle_core::{Result, Tensor};

use super::Pass;
use super::block::{Input, input_where};
use super::linear::{Linear, Size};
use super::spec::{Activation, Biases, Role, Spec, WeightSource};
use crate::ops::gelu::{Gelu, gelu, gelu_backward};
use crate::ops::silu_mul::{silu_mul, silu_mul_backward};

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one for each layer, and never moved"
)]
pub(super) enum Mlp {
    Gated {
        gate: Linear,
        up: Linear,
        down: Linear,
    },
    Plain {
        up: Linear,
        down: Linear,
        form: Gelu,
    },
}

/// Outputs of the first projections.
pub(super) enum Kept {
    Gated { gate: Tensor, up: Tensor },
    Plain { up: Tensor },
}

impl Mlp {
    pub fn build<E>(
        spec: &Spec,
        named: &dyn Fn(&str) -> String,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let (hidden, inner) = (spec.hidden_size, spec.intermediate_size);
        let mut layer = |name: &str, inputs: usize, outputs: usize, role: Role| {
            let size = Size { inputs, outputs };
            let bias = spec.biases == Biases::All;
            Linear::build(&named(name), size, spec.transposed, bias, role, source)
        };
        let (names, role) = (spec.names, spec.residual.role());
        Ok(match spec.activation {
            Activation::GatedSilu => Self::Gated {
                gate: layer(names.gate, hidden, inner, Role::Weight)?,
                up: layer(names.up, hidden, inner, Role::Weight)?,
                down: layer(names.down, inner, hidden, role)?,
            },
            Activation::Gelu(form) => Self::Plain {
                up: layer(names.up, hidden, inner, Role::Weight)?,
                down: layer(names.down, inner, hidden, role)?,
                form,
            },
        })
    }

    /// `base` plus the MLP's output for `x`.
    pub fn forward(&self, base: Tensor, x: &Tensor, pass: &Pass) -> Result<(Tensor, Kept)> {
        let x = x.to_dtype(pass.compute)?;
        match self {
            Self::Gated { gate, up, down } => {
                let (gate, up) = (gate.forward(&x, pass)?, up.forward(&x, pass)?);
                let y = down.forward_add(base, &silu_mul(&gate, &up)?, pass)?;
                Ok((y, Kept::Gated { gate, up }))
            }
            Self::Plain { up, down, form } => {
                let up = up.forward(&x, pass)?;
                let y = down.forward_add(base, &gelu(&up, *form)?, pass)?;
                Ok((y, Kept::Plain { up }))
            }
        }
    }

    /// Gradient of the input, in the type of `dy`.
    pub fn backward(
        &mut self,
        dy: &Tensor,
        input: &Input,
        kept: Kept,
        pass: &Pass,
    ) -> Result<Tensor> {
        let dtype = dy.dtype();
        let dy = dy.to_dtype(pass.compute)?;
        let dx = match (self, kept) {
            (Self::Gated { gate, up, down }, Kept::Gated { gate: g, up: u }) => {
                let x = down.trains().then(|| silu_mul(&g, &u)).transpose()?;
                let d_gated = down.backward(None, &dy, x.as_ref(), pass)?;
                drop(x);
                let (d_gate, d_up) = silu_mul_backward(&d_gated, g, u)?;
                drop(d_gated);
                let x = input_where(gate.trains() || up.trains(), input, pass)?;
                let dx = gate.backward(None, &d_gate, x.as_ref(), pass)?;
                up.backward(Some(dx), &d_up, x.as_ref(), pass)?
            }
            (Self::Plain { up, down, form }, Kept::Plain { up: u }) => {
                let x = down.trains().then(|| gelu(&u, *form)).transpose()?;
                let d_inner = down.backward(None, &dy, x.as_ref(), pass)?;
                drop(x);
                let d_up = gelu_backward(&d_inner, u, *form)?;
                drop(d_inner);
                let x = input_where(up.trains(), input, pass)?;
                up.backward(None, &d_up, x.as_ref(), pass)?
            }
            _ => candle_core::bail!("activations of another kind of MLP"),
        };
        dx.to_dtype(dtype)
    }

    pub fn layers(&self) -> Vec<&Linear> {
        match self {
            Self::Gated { gate, up, down } => vec![gate, up, down],
            Self::Plain { up, down, .. } => vec![up, down],
        }
    }

    pub fn layers_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Self::Gated { gate, up, down } => vec![gate, up, down],
            Self::Plain { up, down, .. } => vec![up, down],
        }
    }
}
