//! AdamW over a model, clipping by the global norm, and learning-rate schedules.

use std::f64::consts::PI;
use std::io;
use std::path::Path;

use candle_core::Result;

use crate::config::training::{Schedule, Training};
use crate::models::{Model, Parameter, weights};
use crate::ops::adamw::{Moments, Step, adamw, square_sum};
use crate::ops::{addresses, touch};

/// Added to the norm before division; torch's `clip_grad_norm_`.
const CLIP_EPSILON: f64 = 1e-6;

/// AdamW with torch's semantics: decay is decoupled and falls on every parameter.
#[derive(Debug)]
pub struct AdamW {
    moments: Vec<Moments>,
    /// Steps done.
    number: u64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
}

impl AdamW {
    /// An optimizer for the model's trainable parameters, at its first step.
    ///
    /// # Errors
    /// The device has no room for two moments a weight.
    pub fn new<M: Model + ?Sized>(model: &M, training: &Training) -> Result<Self> {
        Self::of(&model.trainable(), training)
    }

    /// The same for any parameters; all later calls must get these, in this order.
    ///
    /// # Errors
    /// As for [`AdamW::new`].
    pub fn of(parameters: &[&Parameter], training: &Training) -> Result<Self> {
        let moments: Vec<Moments> = parameters
            .iter()
            .map(|p| Moments::new(&p.value))
            .collect::<Result<_>>()?;
        // The first step would wait for the system at each page of these.
        let gradients = parameters.iter().filter_map(|p| p.gradient.as_ref());
        let written = gradients.chain(moments.iter().flat_map(|m| [&m.first, &m.second]));
        touch(written.filter_map(addresses).collect());
        Ok(Self {
            moments,
            number: 0,
            beta1: training.adam_beta1,
            beta2: training.adam_beta2,
            epsilon: training.adam_epsilon,
            weight_decay: training.weight_decay,
        })
    }

    /// Changes the model by its gradients and zeroes them.
    ///
    /// Gradients are those of `loss_scale` times the loss. They are scaled down so that their
    /// global norm is at most `max_norm` (0: never). Returns the norm before that. Where it is
    /// not finite, the gradients are zeroed and nothing else changes.
    ///
    /// # Errors
    /// The model is frozen.
    pub fn step<M: Model + ?Sized>(
        &mut self,
        model: &mut M,
        learning_rate: f64,
        max_norm: f64,
        loss_scale: f64,
    ) -> Result<f64> {
        self.update(model.trainable_mut(), learning_rate, max_norm, loss_scale)
    }

    /// The same for the parameters of [`AdamW::of`].
    ///
    /// # Errors
    /// One of them is frozen.
    pub fn update(
        &mut self,
        mut parameters: Vec<&mut Parameter>,
        learning_rate: f64,
        max_norm: f64,
        loss_scale: f64,
    ) -> Result<f64> {
        let mut gradients = Vec::with_capacity(parameters.len());
        for parameter in &parameters {
            let Some(gradient) = &parameter.gradient else {
                candle_core::bail!("`{}` is frozen", parameter.name)
            };
            gradients.push(gradient);
        }
        let norm = square_sum(&gradients)?.sqrt() / loss_scale;
        if !norm.is_finite() {
            for parameter in parameters {
                parameter.gradient = Some(parameter.value.zeros_like()?);
            }
            return Ok(norm);
        }
        self.number += 1;
        let step = Step {
            learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            number: self.number,
            gradient_scale: if max_norm > 0.0 {
                (max_norm / (norm + CLIP_EPSILON)).min(1.0) / loss_scale
            } else {
                1.0 / loss_scale
            },
        };
        for (parameter, moments) in parameters.iter_mut().zip(&mut self.moments) {
            let gradient = parameter.gradient.as_mut().expect("checked above");
            adamw(&mut parameter.value, gradient, moments, &step)?;
        }
        Ok(norm)
    }

    /// Updates done.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Zeroes gradients: what was accumulated is not learned.
    ///
    /// # Errors
    /// The device has no room.
    pub fn discard(parameters: Vec<&mut Parameter>) -> Result<()> {
        for parameter in parameters {
            if parameter.gradient.is_some() {
                parameter.gradient = Some(parameter.value.zeros_like()?);
            }
        }
        Ok(())
    }

    /// Writes the moments, under torch's names behind each parameter's.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save<M: Model + ?Sized>(&self, file: &Path, model: &M) -> io::Result<()> {
        self.write(file, &model.trainable())
    }

    /// The same for the parameters of [`AdamW::of`].
    ///
    /// # Errors
    /// As for [`AdamW::save`].
    pub fn write(&self, file: &Path, parameters: &[&Parameter]) -> io::Result<()> {
        let names: Vec<[String; 2]> = parameters
            .iter()
            .map(|p| {
                [
                    format!("{}.exp_avg", p.name),
                    format!("{}.exp_avg_sq", p.name),
                ]
            })
            .collect();
        let tensors = names
            .iter()
            .zip(&self.moments)
            .flat_map(|([first, second], m)| {
                [(first.as_str(), &m.first), (second.as_str(), &m.second)]
            });
        weights::write_safetensors(file, tensors, &[("step", &self.number.to_string())])
    }

    /// Reads what [`AdamW::save`] wrote after `number` steps.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load<M: Model + ?Sized>(
        &mut self,
        file: &Path,
        model: &M,
        number: u64,
    ) -> std::result::Result<(), weights::Error> {
        self.read(file, &model.trainable(), number)
    }

    /// The same for the parameters of [`AdamW::of`].
    ///
    /// # Errors
    /// As for [`AdamW::load`].
    pub fn read(
        &mut self,
        file: &Path,
        parameters: &[&Parameter],
        number: u64,
    ) -> std::result::Result<(), weights::Error> {
        let mut files = weights::Files::single(file)?;
        for (parameter, moments) in parameters.iter().zip(&mut self.moments) {
            let (name, shape, device) = (
                &parameter.name,
                parameter.value.dims(),
                parameter.value.device(),
            );
            moments.first = files.take(&format!("{name}.exp_avg"), shape, device)?;
            moments.second = files.take(&format!("{name}.exp_avg_sq"), shape, device)?;
        }
        self.number = number;
        files.finish(|_| false)
    }
}

/// The learning rate of each step, as transformers' `get_*_schedule_with_warmup` has it.
#[derive(Clone, Copy, Debug)]
pub struct LearningRate {
    peak: f64,
    schedule: Schedule,
    warmup: u64,
    steps: u64,
}

impl LearningRate {
    /// For `steps` steps in all; `warmup_ratio` of them, rounded up, warm up.
    pub fn new(training: &Training, steps: u64) -> Self {
        let warmup = (steps as f64 * training.warmup_ratio).ceil() as u64;
        Self {
            peak: training.learning_rate,
            schedule: training.schedule,
            warmup,
            steps,
        }
    }

    /// Learning rate of step `step`, counted from 0: with a warm-up the first is 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * step as f64 / self.warmup.max(1) as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup).max(1) as f64;
        self.peak
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => self.steps.saturating_sub(step) as f64 / rest,
                Schedule::Cosine => {
                    (0.5 * (1.0 + (PI * (step - self.warmup) as f64 / rest).cos())).max(0.0)
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: Schedule, warmup_ratio: f64, expected: [f64; 5]) {
        let training = Training {
            schedule,
            warmup_ratio,
            learning_rate: 2.0,
            ..Training::default()
        };
        let rate = LearningRate::new(&training, 10);
        for (step, expected) in [0, 1, 3, 6, 9].into_iter().zip(expected) {
            assert!(
                (rate.at(step) - expected).abs() < 1e-12,
                "{schedule:?} {step}: {} for {expected}",
                rate.at(step)
            );
        }
    }

    // Would catch an off-by-one against transformers 5.23: values of
    // `get_{constant,linear,cosine}_schedule_with_warmup` with 10 steps and peak 2.
    #[test]
    fn schedules_are_transformers() {
        check(Schedule::Constant, 0.25, [0.0, 2.0 / 3.0, 2.0, 2.0, 2.0]);
        check(Schedule::Linear, 0.0, [2.0, 1.8, 1.4, 0.8, 0.2]);
        check(
            Schedule::Linear,
            0.25,
            [0.0, 2.0 / 3.0, 2.0, 8.0 / 7.0, 2.0 / 7.0],
        );
        let cosine = |x: f64| 1.0 + (PI * x).cos();
        check(
            Schedule::Cosine,
            0.0,
            [2.0, cosine(0.1), cosine(0.3), cosine(0.6), cosine(0.9)],
        );
        check(
            Schedule::Cosine,
            0.25,
            [0.0, 2.0 / 3.0, 2.0, cosine(3.0 / 7.0), cosine(6.0 / 7.0)],
        );
    }
}
