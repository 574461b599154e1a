//! A linear layer: its weight, its bias where it has one, and its adapter where it was given one.
//!
//! `y = x Wᵀ + b + s (x Aᵀ) Bᵀ`; the adapter's term is `lora.rs`'s.

use candle_core::{Result, Tensor};

use super::lora::Adapter;
use super::spec::{Role, WeightSource};
use super::{Parameter, Pass};
use crate::ops::bias::{add_bias, bias_gradient};
use crate::ops::matmul::{
    linear, linear_add, linear_input_gradient, linear_transposed, linear_transposed_add,
    linear_weight_gradient,
};
use crate::ops::rounded::Rounded;

/// Inputs and outputs of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub inputs: usize,
    pub outputs: usize,
}

#[derive(Debug)]
pub(super) struct Linear {
    pub weight: Parameter,
    pub bias: Option<Parameter>,
    pub size: Size,
    /// Whether the weight is `[inputs, outputs]`.
    pub transposed: bool,
    pub adapter: Option<Adapter>,
}

impl Linear {
    /// The layer called `name`.
    pub fn build<E>(
        name: &str,
        size: Size,
        transposed: bool,
        bias: bool,
        role: Role,
        source: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let shape = match transposed {
            true => [size.inputs, size.outputs],
            false => [size.outputs, size.inputs],
        };
        let weight = Parameter::build(format!("{name}.weight"), &shape, role, source)?;
        let bias = bias
            .then(|| Parameter::build(format!("{name}.bias"), &[size.outputs], Role::Bias, source))
            .transpose()?;
        Ok(Self {
            weight,
            bias,
            size,
            transposed,
            adapter: None,
        })
    }

    /// The layer's name in the checkpoint.
    pub fn name(&self) -> &str {
        let name = &self.weight.name;
        name.strip_suffix(".weight").unwrap_or(name)
    }

    /// The layer's output for `x` `[T, inputs]`, both in the pass's type.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        if let Some(w) = self.rounded(pass) {
            return self.finish(w.linear(x)?, x, pass);
        }
        let w = self.weight(pass)?;
        let y = match self.transposed {
            true => linear_transposed(x, &w)?,
            false => linear(x, &w)?,
        };
        self.finish(y, x, pass)
    }

    /// `base` plus the layer's output, in the type of `base`.
    pub fn forward_add(&self, base: Tensor, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        if let Some(w) = self.rounded(pass) {
            return self.finish(w.linear_add(base, x)?, x, pass);
        }
        let w = self.weight(pass)?;
        let y = match self.transposed {
            true => linear_transposed_add(base, x, &w)?,
            false => linear_add(base, x, &w)?,
        };
        self.finish(y, x, pass)
    }

    /// The weight in the pass's type.
    fn weight(&self, pass: &Pass) -> Result<Tensor> {
        match pass.cast.and_then(|all| all.get(&self.weight.name)) {
            Some(weight) => Ok(weight.clone()),
            None => self.weight.cast(pass.compute),
        }
    }

    /// The weight to decode with, where it is not the layer's own.
    fn rounded<'a>(&self, pass: &Pass<'a>) -> Option<&'a Rounded> {
        pass.rounded?.get(&self.weight.name)
    }

    fn finish(&self, y: Tensor, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let y = match &self.bias {
            Some(bias) => {
                let bias = bias.cast(y.dtype())?;
                add_bias(y, &bias)?
            }
            None => y,
        };
        match self.adapter.as_ref().filter(|a| a.active(pass)) {
            Some(adapter) => adapter.forward_add(y, x, pass),
            None => Ok(y),
        }
    }

    /// Adds the gradients of what is trained here: `x` is the forward's, `dy` its output's gradient.
    pub fn accumulate(&mut self, dy: &Tensor, x: &Tensor, pass: &Pass) -> Result<()> {
        if let Some(gradient) = &mut self.weight.gradient {
            match self.transposed {
                true => linear_weight_gradient(gradient, x, dy)?,
                false => linear_weight_gradient(gradient, dy, x)?,
            }
        }
        if let Some(gradient) = self.bias.as_mut().and_then(|b| b.gradient.as_mut()) {
            bias_gradient(gradient, dy)?;
        }
        match self.adapter.as_mut().filter(|a| a.active(pass)) {
            Some(adapter) => adapter.accumulate(dy, x, pass),
            None => Ok(()),
        }
    }

    /// Whether [`Linear::accumulate`] has anything to do: otherwise its `x` need not be made.
    pub fn trains(&self) -> bool {
        let has = |p: &Parameter| p.gradient.is_some();
        has(&self.weight)
            || self.bias.as_ref().is_some_and(has)
            || self
                .adapter
                .as_ref()
                .is_some_and(|a| a.parameters().into_iter().any(has))
    }

    /// `base` plus the gradient of the layer's input.
    pub fn input_gradient(&self, base: Option<Tensor>, dy: &Tensor, pass: &Pass) -> Result<Tensor> {
        let w = self.weight.cast(pass.compute)?;
        let dx = match (self.transposed, base) {
            (false, base) => linear_input_gradient(base, dy, &w)?,
            (true, Some(base)) => linear_add(base, dy, &w)?,
            (true, None) => linear(dy, &w)?,
        };
        match self.adapter.as_ref().filter(|a| a.active(pass)) {
            Some(adapter) => adapter.input_gradient(dx, dy, pass),
            None => Ok(dx),
        }
    }

    /// Weight and bias.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// The adapter's parameters: `A`, then `B`.
    pub fn adapter_parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.adapter.iter().flat_map(Adapter::parameters)
    }

    /// Adds the layer's parameters to `base` and its adapter's to `adapters`.
    pub fn split_parameters<'a>(
        &'a mut self,
        base: &mut Vec<&'a mut Parameter>,
        adapters: &mut Vec<&'a mut Parameter>,
    ) {
        base.push(&mut self.weight);
        base.extend(&mut self.bias);
        adapters.extend(self.adapter.iter_mut().flat_map(Adapter::parameters_mut));
    }
}
