//! The model's own responses: greedy ones to be judged, sampled ones to learn from.

use super::{Error, Plan, Run};
use crate::config::Generation;
use crate::data::Task;
use crate::evaluate;
use crate::plugin::Sample;
use crate::plugin::reward_shaper::{Context, Rollout};
use crate::random::{Purpose, Stream};
use crate::reward::{self, LearnedReward, Rewards};
use crate::rollout::{self, FinishReason, Response, Stop};
use crate::tokenizer::Tokenizer;
use crate::tracking::Tracker;
use crate::trainer;

impl Run<'_> {
    /// The most likely response to each task's prompt, as samples for metrics.
    pub(super) fn greedy_responses(
        &mut self,
        stage: &str,
        tasks: &[Task],
    ) -> Result<Vec<Sample>, Error> {
        let generation = Generation {
            temperature: 0.0,
            ..self.plan.config.generation.clone()
        };
        let prompts = self.prompts(tasks)?;
        let responses = self.generate(stage, &prompts, 1, &generation, 0)?;
        Ok(tasks
            .iter()
            .zip(&responses)
            .map(|(task, response)| self.judge().sample(task, response))
            .collect())
    }

    /// Preference pairs from sampled responses: for each task the best against
    /// the worst by their reward, where they differ enough. Each `round` of
    /// sampling has random streams of its own.
    pub(super) fn sampled_pairs(
        &mut self,
        stage: &str,
        round: u64,
        tasks: &[Task],
    ) -> Result<Vec<trainer::Pair>, Error> {
        self.timed(stage, |run| {
            let plan = run.plan;
            let settings = &plan.config.preferences;
            let per_prompt = settings.samples_per_prompt;
            let prompts = run.prompts(tasks)?;
            // A search finds what is most likely: pairs come from what is sampled.
            let generation = Generation {
                num_beams: 1,
                ..plan.config.generation.clone()
            };
            let responses = run.generate(stage, &prompts, per_prompt, &generation, round)?;
            let rewards = run.rewards(stage, round, tasks, &responses)?;
            let mut pairs = Vec::new();
            for (group, responses) in responses.chunks(per_prompt).enumerate() {
                let ranked = rank(responses, |at| rewards.totals[group * per_prompt + at]);
                let Some((best, worst, margin)) = ranked else {
                    continue;
                };
                if margin < settings.margin_min || best.ids == worst.ids {
                    continue;
                }
                pairs.extend(trainer::Pair::new(
                    &prompts[best.prompt],
                    run.without_eos(&best.ids),
                    run.without_eos(&worst.ids),
                    run.policy.tokenizer.eos(),
                    plan.config.training.max_length,
                ));
            }
            Ok(pairs)
        })
    }

    /// What the responses are worth, logged by part and kept sample by sample.
    fn rewards(
        &mut self,
        stage: &str,
        round: u64,
        tasks: &[Task],
        responses: &[Response],
    ) -> Result<Rewards, Error> {
        let answered: Vec<&Task> = responses.iter().map(|r| &tasks[r.prompt]).collect();
        let (samples, rewards) = self.judge().rewards(0, &answered, responses)?;
        self.folder.rewards(stage, &samples, &rewards)?;
        let means = curves(&rewards);
        let values: Vec<(&str, f64)> = means
            .iter()
            .map(|(name, mean)| (name.as_str(), *mean))
            .collect();
        self.tracker.log(round, &values);
        for warning in abstentions(stage, &rewards) {
            self.warn(warning);
        }
        Ok(rewards)
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            plan: self.plan,
            tokenizer: &self.policy.tokenizer,
            reward_model: self.reward_model.as_ref(),
        }
    }

    pub(super) fn prompts(&self, tasks: &[Task]) -> Result<Vec<Vec<u32>>, Error> {
        prompts(self.plan, &self.policy.tokenizer, tasks)
    }

    fn generate(
        &mut self,
        stage: &str,
        prompts: &[Vec<u32>],
        per_prompt: usize,
        generation: &Generation,
        round: u64,
    ) -> Result<Vec<Response>, Error> {
        let total = (prompts.len() * per_prompt) as u64;
        self.tracker.stage(stage, total, "responses");
        let Self {
            policy,
            tracker,
            interrupt,
            plan,
            ..
        } = self;
        let tokenizer = &policy.tokenizer;
        let stop = Stop {
            tokens: &tokenizer.specials().eos,
            strings: &[],
            decode: &|ids| tokenizer.decode(ids),
        };
        let responses = rollout::generate(
            &policy.model,
            prompts,
            per_prompt,
            generation,
            &stop,
            Stream::new(plan.config.seed, Purpose::Preferences, round, 0).seed(),
            &mut |done| {
                tracker.progress(done as u64);
                !interrupt.load(std::sync::atomic::Ordering::SeqCst)
            },
        )
        .map_err(|source| Error::Tensor {
            doing: format!("{stage}, {} prompts", prompts.len()),
            source,
        })?;
        self.go_on()?;
        Ok(responses)
    }

    fn without_eos<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        match ids.split_last() {
            Some((last, rest)) if self.policy.tokenizer.specials().eos.contains(last) => rest,
            _ => ids,
        }
    }
}

/// The tokens of each task's prompt.
pub(super) fn prompts(
    plan: &Plan,
    tokenizer: &Tokenizer,
    tasks: &[Task],
) -> Result<Vec<Vec<u32>>, Error> {
    let config = &plan.config;
    // A prompt as long as the context would leave no room for an answer.
    let room = config
        .training
        .max_length
        .max(config.generation.max_new_tokens + 1);
    tasks
        .iter()
        .map(|task| {
            let mut ids = tokenizer.encode(&task.prompt)?;
            if ids.len() > room {
                ids.drain(..ids.len() - room);
            }
            Ok(ids)
        })
        .collect()
}

/// Says what responses are worth.
pub(super) struct Judge<'a> {
    pub plan: &'a Plan,
    pub tokenizer: &'a Tokenizer,
    pub reward_model: Option<&'a LearnedReward>,
}

impl Judge<'_> {
    /// A response as metrics see it.
    pub fn sample(&self, task: &Task, response: &Response) -> Sample {
        Sample {
            id: format!("{}/{}", task.id, response.sample),
            prompt: task.prompt.clone(),
            response: self.tokenizer.decode(&response.ids),
            references: task.references.clone(),
            language: "python".to_owned(),
            tests: task.tests.clone(),
        }
    }

    /// What is known of a response that the policy has just sampled.
    fn rollout(&self, response: &Response, sample: &Sample) -> Rollout {
        Rollout {
            sample: sample.clone(),
            tokens: response
                .ids
                .iter()
                .map(|id| self.tokenizer.token_text(*id))
                .collect(),
            reward_model_score: None,
            metrics: Vec::new(),
            execution: None,
            // The trainers hold the policy to its reference themselves.
            kl: 0.0,
            finish_reason: match response.finish {
                FinishReason::Length => "length",
                FinishReason::Eos | FinishReason::StopString(_) => "stop",
            }
            .to_owned(),
        }
    }

    /// Responses as samples, and their rewards; `tasks` has the task of each response.
    ///
    /// # Errors
    /// A part ends the run, or no response has a reward.
    pub fn rewards(
        &self,
        step: u64,
        tasks: &[&Task],
        responses: &[Response],
    ) -> Result<(Vec<Sample>, Rewards), Error> {
        let plan = self.plan;
        let samples: Vec<Sample> = responses
            .iter()
            .zip(tasks)
            .map(|(response, task)| self.sample(task, response))
            .collect();
        let mut rollouts: Vec<Rollout> = responses
            .iter()
            .zip(&samples)
            .map(|(response, sample)| self.rollout(response, sample))
            .collect();
        for metric in plan.plugins.reward_metrics() {
            let scores = evaluate::score(metric, &samples).per_sample;
            for (rollout, score) in rollouts.iter_mut().zip(scores) {
                let value = score.ok().map(|score| score.value);
                rollout
                    .metrics
                    .extend(value.map(|value| (metric.name().to_owned(), value)));
            }
        }
        if let Some(model) = self.reward_model {
            let texts: Vec<(&str, &str)> = samples
                .iter()
                .map(|sample| (sample.prompt.as_str(), sample.response.as_str()))
                .collect();
            for (rollout, score) in rollouts.iter_mut().zip(model.scores(&texts)?) {
                rollout.reward_model_score = Some(score);
            }
        }
        let targets = plan.config.evaluation.targets();
        let context = Context {
            step,
            steps_total: plan.config.training.steps as u64,
            response_tokens_max: u32::try_from(plan.config.generation.max_new_tokens)
                .unwrap_or(u32::MAX),
            targets: targets
                .into_iter()
                .map(|(name, target)| (name.to_owned(), target))
                .collect(),
        };
        let rewards = reward::rewards(&plan.reward_parts(), &rollouts, &context)?;
        if rewards.totals.iter().all(Option::is_none)
            && let Some((part, reason)) = first_reason(&rewards)
        {
            return Err(Error::Reward { part, reason });
        }
        Ok((samples, rewards))
    }
}

/// The parts' means under their tags.
pub(super) fn curves(rewards: &Rewards) -> Vec<(String, f64)> {
    let means = rewards.means().into_iter();
    means
        .map(|(name, mean)| (format!("rewards/{name}"), mean))
        .collect()
}

/// One line for each part that gave some responses no reward.
pub(super) fn abstentions(stage: &str, rewards: &Rewards) -> Vec<String> {
    let parts = rewards.parts.iter();
    parts
        .filter_map(|part| {
            let missing = part.reasons.iter().flatten().count();
            let reason = part.reasons.iter().flatten().next()?;
            Some(format!(
                "{stage}: `{}` gave no reward for {missing} of {} responses: {reason}",
                part.name,
                part.values.len()
            ))
        })
        .collect()
}

/// The first part that gave no reward, and why.
fn first_reason(rewards: &Rewards) -> Option<(String, String)> {
    rewards.parts.iter().find_map(|part| {
        let reason = part.reasons.iter().flatten().next()?;
        Some((part.name.clone(), reason.clone()))
    })
}

/// The best and the worst of a prompt's responses, the first of equals, and how
/// far apart they are. A response cut off by its length is never the best.
fn rank(
    responses: &[Response],
    score: impl Fn(usize) -> Option<f64>,
) -> Option<(&Response, &Response, f64)> {
    let scored: Vec<(&Response, f64)> = responses
        .iter()
        .enumerate()
        .filter_map(|(at, response)| Some((response, score(at)?)))
        .collect();
    let best = scored
        .iter()
        .filter(|(response, _)| response.finish != FinishReason::Length)
        .copied()
        .reduce(|best, other| if other.1 > best.1 { other } else { best })?;
    let worst = scored
        .iter()
        .copied()
        .reduce(|worst, other| if other.1 < worst.1 { other } else { worst })?;
    Some((best.0, worst.0, best.1 - worst.1))
}
