//! Held-out tasks judged in the middle of a training, where that decides which of its checkpoints
//! is the best.

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

/// One metric over the held-out tasks.
pub(super) struct HeldOut<'a> {
    plan: &'a Plan,
    tokenizer: &'a Tokenizer,
    metric: &'a Metric,
    prompts: Vec<Vec<u32>>,
}

impl<'a> HeldOut<'a> {
    /// The metric that decides, where it is one of the run's.
    ///
    /// # Errors
    /// A prompt can't be tokenised.
    pub fn of(plan: &'a Plan, tokenizer: &'a Tokenizer) -> Result<Option<Self>, Error> {
        let Some(name) = &plan.config.training.metric_for_best_model else {
            return Ok(None);
        };
        let prefixes = ["eval/", "eval_"];
        let stripped = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
        let name = stripped.unwrap_or(name);
        let mut metrics = plan.plugins.metrics.iter();
        let Some(metric) = metrics.find(|metric| metric.name() == name) else {
            return Ok(None);
        };
        Ok(Some(Self {
            plan,
            tokenizer,
            metric,
            prompts: samples::prompts(plan, tokenizer, &plan.examples.eval_tasks)?,
        }))
    }
}

impl trainer::Judge for HeldOut<'_> {
    fn tag(&self) -> &str {
        self.metric.name()
    }

    fn judge(&self, policy: &dyn CausalLm) -> Result<f64, String> {
        let Self {
            plan,
            tokenizer,
            metric,
            prompts,
        } = self;
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
        let scored = evaluate::score(metric, &samples);
        // Its interval is not looked at.
        let stream = Stream::new(plan.config.seed, Purpose::Bootstrap, 0, 0);
        let found = evaluate::summarise(metric, &ids, &scored, 1, stream);
        let reason = found.first_failure;
        found
            .value
            .ok_or_else(|| reason.unwrap_or_else(|| "no response could be scored".to_owned()))
    }
}
