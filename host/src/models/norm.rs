//! A normalisation with its weights: RMS, or layer norm where it has a bias.

use candle_core::{DType, Result, Tensor};

use super::Parameter;
use super::spec::{NormKind, Role, WeightSource};
use crate::ops::layer_norm::{Moments, layer_norm, layer_norm_apply, layer_norm_backward};
use crate::ops::rms_norm::{rms_norm, rms_norm_apply, rms_norm_backward};

#[derive(Debug)]
pub(super) struct Norm {
    weight: Parameter,
    /// None in an RMS norm.
    bias: Option<Parameter>,
    epsilon: f64,
}

/// What a norm's backward needs of each row.
#[derive(Debug)]
pub(super) enum Statistics {
    Rms(Tensor),
    Layer(Moments),
}

impl Norm {
    /// The norm called `name`, over rows of `width`.
    pub fn build<E>(
        name: &str,
        width: usize,
        kind: NormKind,
        epsilon: f64,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let weight = Parameter::build(format!("{name}.weight"), &[width], Role::Gain, source)?;
        let bias = match kind {
            NormKind::Rms => None,
            NormKind::Layer => {
                let name = format!("{name}.bias");
                Some(Parameter::build(name, &[width], Role::Bias, source)?)
            }
        };
        Ok(Self {
            weight,
            bias,
            epsilon,
        })
    }

    fn weights(&self, dtype: DType) -> Result<(Tensor, Option<Tensor>)> {
        let bias = self.bias.as_ref().map(|b| b.cast(dtype)).transpose()?;
        Ok((self.weight.cast(dtype)?, bias))
    }

    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Statistics)> {
        Ok(match self.weights(x.dtype())? {
            (w, None) => {
                let (y, inverse) = rms_norm(x, &w, self.epsilon)?;
                (y, Statistics::Rms(inverse))
            }
            (w, Some(b)) => {
                let (y, moments) = layer_norm(x, &w, &b, self.epsilon)?;
                (y, Statistics::Layer(moments))
            }
        })
    }

    /// The forward again from its statistics.
    pub fn apply(&self, x: &Tensor, statistics: &Statistics) -> Result<Tensor> {
        match (statistics, self.weights(x.dtype())?) {
            (Statistics::Rms(inverse), (w, _)) => rms_norm_apply(x, inverse, &w),
            (Statistics::Layer(moments), (w, Some(b))) => layer_norm_apply(x, moments, &w, &b),
            (Statistics::Layer(_), (_, None)) => candle_core::bail!("an RMS norm has no moments"),
        }
    }

    /// `base` plus the gradient of `x`; adds those of the weights where they are trained.
    pub fn backward(
        &mut self,
        base: Tensor,
        dy: &Tensor,
        x: &Tensor,
        statistics: &Statistics,
    ) -> Result<Tensor> {
        let w = self.weight.cast(x.dtype())?;
        let gradient = self.weight.gradient.as_mut();
        match statistics {
            Statistics::Rms(inverse) => rms_norm_backward(base, dy, x, inverse, &w, gradient),
            Statistics::Layer(moments) => {
                let bias = self.bias.as_mut().and_then(|b| b.gradient.as_mut());
                layer_norm_backward(base, dy, x, moments, &w, gradient.zip(bias))
            }
        }
    }

    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    pub fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        std::iter::once(&mut self.weight).chain(&mut self.bias)
    }
}
