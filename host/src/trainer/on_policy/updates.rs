//! The second half of a step: the updates that are made of a batch.

use super::critic::{Critic, ValueStats};
use super::surrogate::Size;
use super::{Experience, Job, Learner, UpdateStats, experience};
use crate::config::training::Training;
use crate::models::{CausalLm, Model, Parameter};
use crate::random::{Purpose, Stream};
use crate::trainer::optimizer::AdamW;
use crate::trainer::{Error, doing};

/// Means over the updates of a step.
#[derive(Default)]
pub(super) struct StepStats {
    updates: f64,
    policy: UpdateStats,
    value_loss: f64,
    value_clipped: f64,
    grad_norm: f64,
}

/// Responses of an optimizer step.
pub(super) fn update_size(training: &Training) -> usize {
    (training.batch_size * training.gradient_accumulation_steps).max(1)
}

impl Learner<'_, '_> {
    /// All updates of a step; the inner error says why the batch was left out.
    pub(super) fn learn(
        &mut self,
        job: &Job,
        batch: &[Experience],
        seed: u64,
        rate: &dyn Fn(u64) -> f64,
    ) -> Result<Result<StepStats, String>, Error> {
        if let Some(bad) = batch.iter().find(|e| !e.is_finite()) {
            return Ok(Err(format!(
                "a number of response {} to prompt {} is not finite",
                bad.sample, bad.task
            )));
        }
        let (step, size) = (self.state.step, update_size(job.training));
        let (mut all, mut number) = (StepStats::default(), 0);
        for pass in 0..self.recipe.passes.max(1) {
            let mut order: Vec<usize> = (0..batch.len()).collect();
            Stream::new(seed, Purpose::Minibatches, step, pass as u64).shuffle(&mut order);
            for update in order.chunks_mut(size) {
                // Neighbours that answer one prompt share its computation.
                update.sort_unstable();
                let update: Vec<&Experience> = update.iter().map(|i| &batch[*i]).collect();
                let one = match self.update(job, &update, rate(number))? {
                    Ok(stats) => stats,
                    Err(reason) => return Ok(Err(reason)),
                };
                number += 1;
                let stop = self
                    .recipe
                    .kl_stop
                    .is_some_and(|m| one.policy.approx_kl > m);
                all.add(&one);
                if stop {
                    return Ok(Ok(all));
                }
            }
        }
        Ok(Ok(all))
    }

    fn update(
        &mut self,
        job: &Job,
        update: &[&Experience],
        rate: f64,
    ) -> Result<Result<StepStats, String>, Error> {
        let name = self.recipe.name;
        let size = Size {
            responses: update.len(),
            tokens: update.iter().map(|e| e.tokens()).sum(),
            length_max: job.generation.max_new_tokens,
        };
        let mut stats = StepStats {
            updates: 1.0,
            ..StepStats::default()
        };
        let scale = self.state.loss_scale.map_or(1.0, |s| s.scale);
        self.model.set_loss_scale(scale as f32);
        self.model
            .backbone_mut()
            .begin_step(self.optimizer.number());
        let clip = job.training.max_grad_norm;
        let mut value = ValueStats::default();
        if let Some(Critic::Own(critic)) = &mut self.critic {
            let micro = job.training.batch_size;
            let learned = critic.update(self.model, update, micro, rate, clip);
            match learned.map_err(doing(format!(
                "{name}: values of {} responses",
                update.len()
            )))? {
                Ok(stats) => value = stats,
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let mut entropies = 0.0;
        for micro in update.chunks(job.training.batch_size.max(1)) {
            let (batch, mut targets) = experience::pack(micro);
            self.state.tokens += batch.tokens() as u64;
            let surrogate = &self.recipe.surrogate;
            targets.entropy_slopes = surrogate.entropy_slopes(targets.ids.len(), size);
            let policy = &mut |i: usize, logprobs: &[f32]| {
                surrogate.slopes(micro[i], logprobs, size, &mut stats.policy)
            };
            let doing = || doing(format!("{name}: {} responses", micro.len()));
            entropies += match &mut self.critic {
                Some(Critic::Shared(critic)) => critic
                    .accumulate(
                        self.model,
                        (&batch, &targets),
                        policy,
                        (micro, size.tokens),
                        &mut value,
                    )
                    .map_err(doing())?,
                _ => self
                    .model
                    .accumulate(&batch, &targets, policy)
                    .map_err(doing())?,
            };
        }
        (stats.value_loss, stats.value_clipped) = (value.loss, value.clipped);
        self.recipe
            .surrogate
            .add_entropies(entropies, &mut stats.policy);
        let losses = [
            ("the policy loss", stats.policy.loss),
            ("the value loss", stats.value_loss),
        ];
        if let Some((what, value)) = losses.into_iter().find(|(_, loss)| !loss.is_finite()) {
            self.discard()?;
            return Ok(Err(format!("{what} is {value}")));
        }
        let mut trained = self.model.trainable_mut();
        trained.extend(self.critic.iter_mut().flat_map(Critic::beside_policy_mut));
        stats.grad_norm = self
            .optimizer
            .update(trained, rate, clip, scale)
            .map_err(doing(format!("{name}: optimizer step")))?;
        if let Some(loss_scale) = &mut self.state.loss_scale {
            // An overflow in f16 is not the batch's fault as long as a smaller scale can help.
            if stats.grad_norm.is_finite() {
                loss_scale.done();
            } else if loss_scale.overflowed() {
                self.discard()?;
                return Ok(Ok(StepStats {
                    grad_norm: 0.0,
                    ..stats
                }));
            }
        }
        if !stats.grad_norm.is_finite() {
            self.discard()?;
            return Ok(Err(format!("the gradient's norm is {}", stats.grad_norm)));
        }
        Ok(Ok(stats))
    }

    /// Forgets what has been accumulated.
    pub(super) fn discard(&mut self) -> Result<(), Error> {
        let mut all: Vec<&mut Parameter> = self.model.trainable_mut();
        all.extend(self.critic.iter_mut().flat_map(Critic::beside_policy_mut));
        AdamW::discard(all).map_err(doing("zeroing gradients"))
    }
}

impl StepStats {
    fn add(&mut self, one: &Self) {
        self.updates += one.updates;
        self.policy.add(&one.policy, 1.0);
        self.value_loss += one.value_loss;
        self.value_clipped += one.value_clipped;
        self.grad_norm += one.grad_norm;
    }

    pub(super) fn tags(&self, values: bool) -> Vec<(&'static str, f64)> {
        let mean = |sum: f64| sum / self.updates.max(1.0);
        let policy = &self.policy;
        let clipped = policy.clipped_low + policy.clipped_high;
        let mut tags = vec![
            ("loss", mean(policy.loss)),
            ("loss/policy_avg", mean(policy.loss)),
            ("policy/approxkl_avg", mean(policy.approx_kl)),
            ("policy/clipfrac_avg", mean(clipped)),
            ("policy/entropy_avg", mean(policy.entropy)),
            ("entropy", mean(policy.entropy)),
            ("clip_ratio/low_mean", mean(policy.clipped_low)),
            ("clip_ratio/high_mean", mean(policy.clipped_high)),
            ("clip_ratio/region_mean", mean(clipped)),
            ("val/ratio", mean(policy.ratio)),
            ("grad_norm", mean(self.grad_norm)),
            ("updates", self.updates),
        ];
        if values {
            tags.extend([
                ("loss/value_avg", mean(self.value_loss)),
                ("val/clipfrac_avg", mean(self.value_clipped)),
            ]);
        }
        tags
    }
}
