//! Low-rank adapters (Hu et al. 2022, <https://arxiv.org/abs/2106.09685>):
//! `y = x Wᵀ + s (x Aᵀ) Bᵀ` with `s = alpha / rank`, `W` frozen.
//!
//! `A` `[rank, inputs]` begins random and `B` `[outputs, rank]` at zero, so that a new adapter
//! changes nothing. Names and initialisation are PEFT's. With the adapters off the model is the
//! one they were added to: the reference needs no second copy of the weights.

use candle_core::{Device, Result, Tensor};

use super::linear::{Linear, Size};
use super::{Parameter, Pass, peft};
use crate::config::model::Lora;
use crate::ops::dropout::dropout;
use crate::ops::matmul::{
    linear, linear_add, linear_input_gradient, linear_transposed, linear_weight_gradient,
};
use crate::random::{Purpose, Stream};

/// The adapter of one linear layer.
#[derive(Debug)]
pub(super) struct Adapter {
    a: Parameter,
    b: Parameter,
    scale: f64,
    dropout: f64,
    /// Tells the adapters of a model apart: part of the key of its dropout.
    number: u64,
    /// Whether the layer's weight holds the product already.
    merged: bool,
}

impl Adapter {
    fn new(
        name: &str,
        size: Size,
        config: &Lora,
        seed: u64,
        number: u64,
        device: &Device,
    ) -> Result<Self> {
        let Size { inputs, outputs } = size;
        let rank = config.rank;
        // torch's kaiming_uniform with a = √5, as PEFT calls it: uniform within ±1/√inputs.
        let bound = 1.0 / (inputs as f64).sqrt();
        let mut stream = Stream::new(seed, Purpose::AdapterInitialisation, number, 0);
        let a: Vec<f32> = (0..rank * inputs)
            .map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32)
            .collect();
        let named = |part: &str| format!("{}{name}.{part}.weight", peft::PREFIX);
        let b = Tensor::from_vec(vec![0f32; outputs * rank], (outputs, rank), device)?;
        Ok(Self {
            a: Parameter::new(
                named("lora_A"),
                Tensor::from_vec(a, (rank, inputs), device)?,
            ),
            b: Parameter::new(named("lora_B"), b),
            scale: config.alpha / rank as f64,
            dropout: config.dropout,
            number,
            merged: false,
        })
    }

    /// Whether it takes part in this pass.
    pub fn active(&self, pass: &Pass) -> bool {
        pass.adapters && !self.merged
    }

    /// The key of this pass's mask, where there is one.
    fn mask(&self, pass: &Pass) -> Option<u64> {
        pass.dropout
            .filter(|_| self.dropout > 0.0)
            .map(|key| key.wrapping_add(self.number.wrapping_mul(0xD134_2543_DE82_EF95)))
    }

    fn input(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        match self.mask(pass) {
            Some(key) => dropout(x, self.dropout, key),
            None => Ok(x.clone()),
        }
    }

    /// Whether this pass drops some of the input.
    pub fn drops(&self, pass: &Pass) -> bool {
        self.mask(pass).is_some()
    }

    /// `A`, in the pass's type.
    pub fn inner(&self, pass: &Pass) -> Result<Tensor> {
        self.a.cast(pass.compute)
    }

    /// `B`, in the pass's type.
    pub fn outer(&self, pass: &Pass) -> Result<Tensor> {
        self.b.cast(pass.compute)
    }

    /// `s x Aᵀ` `[T, rank]`.
    pub fn low(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.low_of(&self.input(x, pass)?, pass)
    }

    /// The same of what is left of the input.
    fn low_of(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        linear(input, &self.inner(pass)?)? * self.scale
    }

    /// `y + s (x Aᵀ) Bᵀ`, in the type of `y`.
    pub fn forward_add(&self, y: Tensor, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        linear_add(y, &self.low(x, pass)?, &self.outer(pass)?)
    }

    /// The gradient of `x Aᵀ`, `s dy B` `[T, rank]`.
    pub fn low_gradient(&self, dy: &Tensor, pass: &Pass) -> Result<Tensor> {
        linear_input_gradient(None, dy, &self.outer(pass)?)? * self.scale
    }

    /// `dB += s dyᵀ (x Aᵀ)`, `dA += d_lowᵀ x`.
    pub fn accumulate(
        &mut self,
        dy: &Tensor,
        d_low: &Tensor,
        x: &Tensor,
        pass: &Pass,
    ) -> Result<()> {
        if self.a.gradient.is_none() {
            return Ok(());
        }
        let x = self.input(x, pass)?;
        let low = self.low_of(&x, pass)?;
        for (parameter, dy, x) in [(&mut self.b, dy, &low), (&mut self.a, d_low, &x)] {
            if let Some(gradient) = &mut parameter.gradient {
                linear_weight_gradient(gradient, dy, x)?;
            }
        }
        Ok(())
    }

    /// `dx + d_low A`.
    pub fn input_gradient(&self, dx: Tensor, d_low: &Tensor, pass: &Pass) -> Result<Tensor> {
        let a = self.inner(pass)?;
        match self.mask(pass) {
            None => linear_input_gradient(Some(dx), d_low, &a),
            Some(key) => {
                let own = linear_input_gradient(None, d_low, &a)?;
                dx + dropout(&own, self.dropout, key)?
            }
        }
    }

    pub fn parameters(&self) -> [&Parameter; 2] {
        [&self.a, &self.b]
    }

    pub fn parameters_mut(&mut self) -> [&mut Parameter; 2] {
        [&mut self.a, &mut self.b]
    }
}

impl Linear {
    /// Adds `sign · s B A` to the weight.
    fn add_product(&mut self, sign: f64) -> Result<()> {
        let Some(adapter) = &self.adapter else {
            return Ok(());
        };
        let product =
            (linear_transposed(&adapter.b.value, &adapter.a.value)? * (sign * adapter.scale))?;
        let product = match self.transposed {
            true => product.t()?.contiguous()?,
            false => product,
        };
        // In full precision: a weight that is stored in less would lose small changes.
        self.weight.value = (self.weight.value.to_dtype(product.dtype())? + product)?;
        Ok(())
    }

    /// Moves the adapter's product into the weight, or back out of it.
    pub(super) fn set_merged(&mut self, merged: bool) -> Result<()> {
        if self.adapter.as_ref().is_some_and(|a| a.merged != merged) {
            self.add_product(if merged { 1.0 } else { -1.0 })?;
        }
        if let Some(adapter) = &mut self.adapter {
            adapter.merged = merged;
        }
        Ok(())
    }
}

/// Gives every layer that `config` names an adapter, and returns how many they are.
///
/// # Errors
/// A name that fits no layer.
pub(super) fn add(
    layers: Vec<&mut Linear>,
    config: &Lora,
    seed: u64,
    device: &Device,
) -> Result<usize> {
    let fits =
        |layer: &str, target: &str| layer == target || layer.ends_with(&format!(".{target}"));
    for target in config.targets() {
        if !layers.iter().any(|l| fits(l.name(), target)) {
            let mut known: Vec<&str> = Vec::new();
            for layer in &layers {
                let name = layer.name().rsplit('.').next().unwrap_or_default();
                if !known.contains(&name) {
                    known.push(name);
                }
            }
            candle_core::bail!(
                "`model.lora.target_modules`: no layer of the model is called `{target}`\nhint: there are {}, and `{}` for all",
                known.join(", "),
                Lora::ALL_LINEAR
            );
        }
    }
    let mut count = 0;
    for layer in layers {
        let targets = config.targets();
        if targets.is_empty() || targets.iter().any(|t| fits(layer.name(), t)) {
            let name = layer.name().to_owned();
            layer.adapter = Some(Adapter::new(
                &name, layer.size, config, seed, count, device,
            )?);
            count += 1;
        }
    }
    Ok(count as usize)
}
