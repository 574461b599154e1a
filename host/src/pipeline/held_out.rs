//! Held-out tasks judged in the middle of a training: for the curves of the metrics, and where one
//! of them decides which checkpoint is the best.

use super::samples::{self, Judge};
use super::{Error, Plan};
use crate::config::Generation;
use crate::evaluate;
use crate::models::CausalLm;
use crate::plugin::Metric;
use crate::random::{Purpose, Stream};
use crate::rollout::{self, Stop};
use crate::tokenizer::Tokenizer;
use crate::trainer;

/// The run's metrics over the held-out tasks.
pub(super) struct HeldOut<'a> {
    plan: &'a Plan,
    tokenizer: &'a Tokenizer,
    prompts: Vec<Vec<u32>>,
}

impl<'a> HeldOut<'a> {
    /// Of a plan's metrics and tasks.
    ///
    /// # Errors
    /// A prompt can't be tokenised.
    pub fn of(plan: &'a Plan, tokenizer: &'a Tokenizer) -> Result<Self, Error> {
        Ok(Self {
            plan,
            tokenizer,
            prompts: samples::prompts(plan, tokenizer, &plan.examples.eval_tasks)?,
        })
    }
}

impl trainer::Judge for HeldOut<'_> {
    fn tags(&self) -> Vec<&str> {
        self.plan.plugins.metrics.iter().map(Metric::name).collect()
    }

    fn every(&self, steps_per_epoch: u64) -> Option<u64> {
        self.plan.config.evaluation.every(steps_per_epoch)
    }

    fn judge(&self, policy: &dyn CausalLm) -> Result<Vec<Result<f64, String>>, String> {
        let Self {
            plan,
            tokenizer,
            prompts,
        } = self;
        if plan.plugins.metrics.is_empty() {
            return Ok(Vec::new());
        }
        let generation = Generation {
            temperature: 0.0,
            ..plan.config.generation.clone()
        };
        let stop = Stop::tokens(&tokenizer.specials().eos);
        let responses = rollout::generate(policy, prompts, 1, &generation, &stop, 0, &mut |_| true);
        let responses = responses.map_err(|error| error.to_string())?;
        let judge = Judge {
            plan,
            tokenizer,
            reward_model: None,
        };
        let tasks = &plan.examples.eval_tasks;
        let answered = tasks.iter().zip(&responses);
        let samples: Vec<_> = answered
            .map(|(task, response)| judge.sample(task, response))
            .collect();
        let ids: Vec<&String> = samples.iter().map(|sample| &sample.id).collect();
        let of_metric = |metric: &Metric| {
            let scored = evaluate::score(metric, &samples);
            // Its interval is not looked at.
            let stream = Stream::new(plan.config.seed, Purpose::Bootstrap, 0, 0);
            let found = evaluate::summarise(metric, &ids, &scored, 1, stream);
            let reason = found.first_failure;
            found
                .value
                .ok_or_else(|| reason.unwrap_or_else(|| "no response could be scored".to_owned()))
        };
        Ok(plan.plugins.metrics.iter().map(of_metric).collect())
    }
}
