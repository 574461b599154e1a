//! Supervised warm-up: the model learns to say the demonstrated responses.
//!
//! The loss is the mean of `−logprob` over the response tokens of a step; prompts are not
//! learnt. A batch holds its sequences one after another, each attending to itself alone: nothing
//! is padded, so there is nothing that packing several into one row could save.

use super::minibatch::{Demonstration, demonstrations};
use super::{Error, Outcome, Run, Stats, Task};
use crate::config::training::Training;
use crate::models::CausalLm;

pub(super) struct Supervised<'a>(pub &'a [Demonstration]);

impl<'a> Task for Supervised<'a> {
    type Model = dyn CausalLm + 'a;

    const NAME: &'static str = "sft";
    const STAGE: &'static str = "warm-up";

    fn len(&self) -> usize {
        self.0.len()
    }

    fn accumulate(
        &self,
        model: &mut Self::Model,
        step: &[usize],
        micro: &[usize],
        stats: &mut Stats,
    ) -> candle_core::Result<()> {
        let tokens: usize = step.iter().map(|i| self.0[*i].response_tokens()).sum();
        let (batch, targets) = demonstrations(micro.iter().map(|i| &self.0[*i]));
        stats.tokens += batch.tokens() as u64;
        let weight = 1.0 / tokens as f64;
        let objective = &mut |_: usize, logprobs: &[f32]| {
            stats.loss -= logprobs.iter().map(|x| f64::from(*x)).sum::<f64>() * weight;
            vec![-weight as f32; logprobs.len()]
        };
        model.accumulate(&batch, &targets, objective).map(drop)
    }

    fn set_loss_scale(model: &mut Self::Model, scale: f32) {
        model.set_loss_scale(scale);
    }

    fn policy(model: &Self::Model) -> Option<&dyn CausalLm> {
        Some(model)
    }
}

/// Trains on demonstrations; the model keeps its gradients' room afterwards.
///
/// # Errors
/// No examples, a loss that is not finite, or a checkpoint that cannot be read or written.
pub fn train(
    model: &mut dyn CausalLm,
    examples: &[Demonstration],
    training: &Training,
    run: &mut Run,
) -> Result<Outcome, Error> {
    super::train::<Supervised>(model, &Supervised(examples), training, run)
}
