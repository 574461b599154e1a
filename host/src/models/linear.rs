//! A linear layer: its weight, its bias where it has one, and its adapter where it was given one.
//!
//! `y = x Wᵀ + b + s (x Aᵀ) Bᵀ`; the adapter's term is `lora.rs`'s.

use candle_core::{Result, Tensor};

use super::lora::Adapter;
use super::spec::{Role, WeightSource};
use super::{Parameter, Pass};
use crate::ops::bias::{add_bias, bias_gradient};
use crate::ops::matmul::{
    linear, linear_add, linear_input_gradient, linear_sum, linear_sum_input_gradient,
    linear_transposed, linear_transposed_add, linear_weight_gradient,
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
        self.output(None, x, pass)
    }

    /// `base` plus the layer's output, in the type of `base`.
    pub fn forward_add(&self, base: Tensor, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.output(Some(base), x, pass)
    }

    fn output(&self, base: Option<Tensor>, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let adapter = self.adapter.as_ref().filter(|a| a.active(pass));
        let rounded = self.rounded(pass);
        if let (None, false, Some(adapter)) = (rounded, self.transposed, adapter) {
            let (w, low, b) = (
                self.weight(pass)?,
                adapter.low(x, pass)?,
                adapter.outer(pass)?,
            );
            return self.add_bias(linear_sum(base, [x, &w], [&low, &b])?);
        }
        let y = match (rounded, base) {
            (Some(w), Some(base)) => w.linear_add(base, x)?,
            (Some(w), None) => w.linear(x)?,
            (None, base) => {
                let w = self.weight(pass)?;
                match (self.transposed, base) {
                    (true, Some(base)) => linear_transposed_add(base, x, &w)?,
                    (true, None) => linear_transposed(x, &w)?,
                    (false, Some(base)) => linear_add(base, x, &w)?,
                    (false, None) => linear(x, &w)?,
                }
            }
        };
        let y = self.add_bias(y)?;
        match adapter {
            Some(adapter) => adapter.forward_add(y, x, pass),
            None => Ok(y),
        }
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

    fn add_bias(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => {
                let bias = bias.cast(y.dtype())?;
                add_bias(y, &bias)
            }
            None => Ok(y),
        }
    }

    /// Adds the gradients of what is trained here: `x` is the forward's, `dy` its output's
    /// gradient, and `d_low` what the layer's adapter, where one takes part, makes of that.
    pub fn accumulate(
        &mut self,
        dy: &Tensor,
        x: &Tensor,
        d_low: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<()> {
        if let Some(gradient) = &mut self.weight.gradient {
            match self.transposed {
                true => linear_weight_gradient(gradient, x, dy)?,
                false => linear_weight_gradient(gradient, dy, x)?,
            }
        }
        if let Some(gradient) = self.bias.as_mut().and_then(|b| b.gradient.as_mut()) {
            bias_gradient(gradient, dy)?;
        }
        match (&mut self.adapter, d_low) {
            (Some(adapter), Some(d_low)) => adapter.accumulate(dy, d_low, x, pass),
            _ => Ok(()),
        }
    }

    /// Whether there are gradients to add: otherwise [`Linear::backward`] needs no `x`.
    pub fn trains(&self) -> bool {
        let has = |p: &Parameter| p.gradient.is_some();
        has(&self.weight)
            || self.bias.as_ref().is_some_and(has)
            || self
                .adapter
                .as_ref()
                .is_some_and(|a| a.parameters().into_iter().any(has))
    }

    /// Adds the gradients of what is trained here, and returns `base` plus that of the layer's
    /// input: `dy` is the output's, `x` the forward's input where something is trained.
    pub fn backward(
        &mut self,
        base: Option<Tensor>,
        dy: &Tensor,
        x: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<Tensor> {
        let adapter = self.adapter.as_ref().filter(|a| a.active(pass));
        let d_low = adapter.map(|a| a.low_gradient(dy, pass)).transpose()?;
        if let Some(x) = x {
            self.accumulate(dy, x, d_low.as_ref(), pass)?;
        }
        let w = self.weight.cast(pass.compute)?;
        let adapter = self.adapter.as_ref().zip(d_low.as_ref());
        if let (false, Some((adapter, d_low))) = (self.transposed, adapter)
            && !adapter.drops(pass)
        {
            let a = adapter.inner(pass)?;
            return linear_sum_input_gradient(base, [dy, &w], [d_low, &a]);
        }
        let dx = match (self.transposed, base) {
            (false, base) => linear_input_gradient(base, dy, &w)?,
            (true, Some(base)) => linear_add(base, dy, &w)?,
            (true, None) => linear(dy, &w)?,
        };
        match adapter {
            Some((adapter, d_low)) => adapter.input_gradient(dx, d_low, pass),
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
