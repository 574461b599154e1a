//! A scalar head on the states that the vocabulary head sees: the value model of a policy that
//! shares its backbone with it, as TRL's `AutoModelForCausalLMWithValueHead` does.

use std::io;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::{Parameter, weights};
use crate::ops::bias::bias_gradient;
use crate::ops::matmul::{linear, linear_input_gradient, linear_weight_gradient};

/// `w·h + b` of a state `h`; not a part of any model, so that the policy's files stay those of a
/// language model.
#[derive(Debug)]
pub struct ValueHead {
    /// `[1, H]`.
    weight: Parameter,
    /// `[1]`.
    bias: Parameter,
}

impl ValueHead {
    /// A head at zero for states of `hidden` numbers: all values begin at 0. It can be trained.
    ///
    /// # Errors
    /// The device has no room.
    pub fn new(hidden: usize, device: &Device) -> Result<Self> {
        let zeros = |name: &str, shape: &[usize]| -> Result<Parameter> {
            let value = Tensor::zeros(shape, DType::F32, device)?;
            let mut parameter = Parameter::new(name, value);
            parameter.train()?;
            Ok(parameter)
        };
        // TRL's names.
        Ok(Self {
            weight: zeros("v_head.summary.weight", &[1, hidden])?,
            bias: zeros("v_head.summary.bias", &[1])?,
        })
    }

    /// What an optimizer changes.
    pub fn parameters(&self) -> [&Parameter; 2] {
        [&self.weight, &self.bias]
    }

    /// The same, to change them.
    pub fn parameters_mut(&mut self) -> [&mut Parameter; 2] {
        [&mut self.weight, &mut self.bias]
    }

    /// Values of states `[R, H]`.
    ///
    /// # Errors
    /// The states have another width.
    pub fn values(&self, states: &Tensor) -> Result<Vec<f32>> {
        let states = states.to_dtype(DType::F32)?;
        let values = linear(&states, &self.weight.value)?.broadcast_add(&self.bias.value)?;
        values.squeeze(1)?.to_vec1()
    }

    /// Adds the head's gradients for `∂loss/∂value`; returns that of the states, in f32.
    pub(super) fn backward(&mut self, states: &Tensor, slopes: Vec<f32>) -> Result<Tensor> {
        let states = states.to_dtype(DType::F32)?;
        let rows = slopes.len();
        let d = Tensor::from_vec(slopes, (rows, 1), states.device())?;
        let (Some(of_weight), Some(of_bias)) = (&mut self.weight.gradient, &mut self.bias.gradient)
        else {
            bail!("a frozen value head cannot accumulate gradients");
        };
        linear_weight_gradient(of_weight, &d, &states)?;
        bias_gradient(of_bias, &d)?;
        linear_input_gradient(None, &d, &self.weight.value)
    }

    /// Writes the head as it is.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let parameters = self.parameters();
        let tensors = parameters.iter().map(|p| (p.name.as_str(), &p.value));
        weights::write_safetensors(file, tensors, &[])
    }

    /// Takes what [`ValueHead::save`] wrote.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn restore(&mut self, file: &Path) -> std::result::Result<(), weights::Error> {
        let mut files = weights::Files::single(file)?;
        for parameter in self.parameters_mut() {
            let device = parameter.value.device().clone();
            parameter.value = files.take(&parameter.name, parameter.value.dims(), &device)?;
        }
        files.finish(|_| false)
    }
}
