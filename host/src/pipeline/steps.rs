//! How many optimizer steps a training takes, as far as that is known before it: for the plan,
//! for the disk that its checkpoints need, and for shapers, which may change their mind with time.

use super::Plan;
use crate::config::{Config, Method};
use crate::trainer;

/// The steps of a training.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub count: u64,
    /// Examples that each takes.
    pub per_step: usize,
    /// What those are.
    pub what: &'static str,
    /// Whether `count` is the most there can be: some examples may turn out to be none.
    at_most: bool,
    why: String,
}

/// Steps of a method on so many examples: demonstrations, pairs or prompts.
pub(super) fn count(config: &Config, method: Method, examples: usize) -> u64 {
    match method {
        // As a warm-up without anything behind it, which passes over the data as often as needed.
        Method::Sft if config.warm_up.steps > 0 => config.warm_up.steps as u64,
        _ => trainer::steps(examples, per_step(config, method), &config.training),
    }
}

fn per_step(config: &Config, method: Method) -> usize {
    match method {
        Method::Ppo | Method::Grpo | Method::Rloo => config.rollout.prompts_per_step,
        Method::Sft if config.warm_up.steps > 0 => config.warm_up.batch_size,
        Method::Sft | Method::Dpo => {
            config.training.batch_size * config.training.gradient_accumulation_steps
        }
    }
}

impl Plan {
    /// The most that the training can learn from: demonstrations, pairs or prompts.
    fn most_examples(&self) -> usize {
        let examples = &self.examples;
        match (self.method, &examples.preferences) {
            (Method::Sft, _) => examples.demonstrations.len(),
            (Method::Dpo, Some((pairs, _))) => pairs.len(),
            // Each prompt gives one pair, or none where its responses are equally good.
            (Method::Dpo, None) => self.sampled_prompts(),
            (Method::Ppo | Method::Grpo | Method::Rloo, _) => examples.train_tasks.len(),
        }
    }

    /// The most steps that the training can have.
    pub(super) fn steps_max(&self) -> u64 {
        count(&self.config, self.method, self.most_examples())
    }

    /// The steps of the training where `left_out` of its examples do not fit; none: that is not
    /// known.
    pub(super) fn steps(&self, left_out: Option<usize>) -> Steps {
        let (config, method) = (&self.config, self.method);
        let examples = self
            .most_examples()
            .saturating_sub(left_out.unwrap_or_default());
        let sampled = method == Method::Dpo && self.examples.preferences.is_none();
        let (training, count) = (&config.training, count(config, method, examples));
        let why = match (method, training.steps as u64) {
            (Method::Sft, _) if config.warm_up.steps > 0 => "--warm-up-steps".to_owned(),
            (_, 0) => format!("{} epochs", training.epochs),
            (_, most) if count == most => "--steps".to_owned(),
            (_, most) => format!(
                "{} epochs end before the {most} of --steps",
                training.epochs
            ),
        };
        Steps {
            count,
            // Where there are fewer than a step could take, it takes all.
            per_step: per_step(config, method).min(examples),
            what: match method {
                Method::Sft => "demonstrations",
                Method::Dpo => "pairs",
                Method::Ppo | Method::Grpo | Method::Rloo => "prompts",
            },
            at_most: sampled || left_out.is_none(),
            why,
        }
    }
}

impl Steps {
    /// The line of the plan.
    pub fn describe(&self) -> String {
        let at_most = if self.at_most { "at most " } else { "" };
        format!(
            "steps      {at_most}{} of {} {} ({})",
            self.count, self.per_step, self.what, self.why
        )
    }
}
