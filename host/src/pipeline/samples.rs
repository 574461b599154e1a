//! The model's own responses: greedy ones to be judged, sampled ones to learn from.

use super::completions::{Judged, Meter};
use super::{Error, Plan, Plugins, Run};
use crate::config::{Config, Generation};
use crate::data::Task;
use crate::evaluate;
use crate::plugin::reward_shaper::{Context, Rollout};
use crate::plugin::{Metric, RewardShaper, Sample, Used};
use crate::random::{Purpose, Stream};
use crate::reward::watch::Control;
use crate::reward::{self, LearnedReward, Rewards};
use crate::rollout::{self, FinishReason, Response, Stop};
use crate::tokenizer::Tokenizer;
use crate::tracking::Tracker;
use crate::trainer;

/// Language that metrics are told responses are in.
pub(super) const LANGUAGE: &str = "python";

impl Run<'_> {
    /// The most likely response to each task's prompt, as samples for metrics.
    pub(super) fn greedy_responses(
        &mut self,
        stage: &str,
        tasks: &[Task],
    ) -> Result<Vec<Rollout>, Error> {
        let generation = Generation {
            temperature: 0.0,
            ..self.plan.config.generation.clone()
        };
        let prompts = self.prompts(tasks)?;
        let responses = self.generate(stage, &prompts, 1, &generation, 0)?;
        Ok(tasks
            .iter()
            .zip(&responses)
            .map(|(task, response)| self.judge().rollout(task, response, None))
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
        // The policy is still what it will be held to.
        let divergence = vec![0.0; responses.len()];
        let judged = self.judge().rewards(0, &answered, responses, &divergence)?;
        let hashes = self.plan.plugins.hashes();
        self.folder
            .append_rows("rewards.jsonl", judged.rows(stage, 0, &hashes))?;
        self.folder
            .append_rows("costs.jsonl", judged.cost_rows(stage, 0))?;
        let means = curves(&judged.rewards);
        let values: Vec<(&str, f64)> = means
            .iter()
            .map(|(name, mean)| (name.as_str(), *mean))
            .collect();
        self.tracker.log(round, &values);
        judged.show(&mut self.tracker, round);
        for warning in abstentions(stage, &judged.rewards) {
            self.warn(warning);
        }
        if let Some(warning) = judged.control.as_ref().and_then(Control::warning) {
            self.warn(format!("{stage}: {warning}"));
        }
        Ok(judged.rewards)
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
            language: LANGUAGE.to_owned(),
            tests: task.tests.clone(),
        }
    }

    /// What is known of a response that the policy has just sampled.
    fn rollout(&self, task: &Task, response: &Response, kl: Option<f64>) -> Rollout {
        Rollout {
            sample: self.sample(task, response),
            tokens: response
                .ids
                .iter()
                .map(|id| self.tokenizer.token_text(*id))
                .collect(),
            reward_model_score: None,
            metrics: Vec::new(),
            execution: None,
            kl,
            finish_reason: match response.finish {
                FinishReason::Length => "length",
                FinishReason::Eos | FinishReason::StopString(_) => "stop",
            }
            .to_owned(),
        }
    }

    /// Responses and their rewards; `tasks` has the task of each response, `divergence` its
    /// [`Rollout::kl`], or nothing where that is not known.
    ///
    /// # Errors
    /// A part ends the run, no response has a reward, or a canary passes.
    pub fn rewards(
        &self,
        step: u64,
        tasks: &[&Task],
        responses: &[Response],
        divergence: &[f64],
    ) -> Result<Judged, Error> {
        let plan = self.plan;
        let control = self.check_canaries(step, tasks)?;
        let answered = responses.iter().zip(tasks).enumerate();
        let rollouts: Vec<Rollout> = answered
            .map(|(at, (response, task))| self.rollout(task, response, divergence.get(at).copied()))
            .collect();
        let mut judged = plan.judging().judge(step, rollouts, self.reward_model)?;
        judged.control = control;
        if judged.rewards.totals.iter().all(Option::is_none)
            && let Some((part, reason)) = first_reason(&judged.rewards)
        {
            return Err(Error::Reward { part, reason });
        }
        Ok(judged)
    }
}

/// What says what responses are worth: the run's plugins, its settings, and whether a reward model
/// has a say.
#[derive(Clone, Copy)]
pub(super) struct Judging<'a> {
    pub config: &'a Config,
    pub plugins: &'a Plugins,
    pub reward_model: bool,
    /// Of the training, as shapers are told.
    pub steps_total: u64,
}

impl Plan {
    pub(super) fn judging(&self) -> Judging<'_> {
        Judging {
            config: &self.config,
            plugins: &self.plugins,
            reward_model: self.has_reward_model(),
            steps_total: self.steps_max(),
        }
    }
}

impl<'a> Judging<'a> {
    /// What responses that a policy learns from are worth.
    ///
    /// # Errors
    /// A part ends the run, or the reward model fails.
    pub fn judge(
        &self,
        step: u64,
        rollouts: Vec<Rollout>,
        reward_model: Option<&LearnedReward>,
    ) -> Result<Judged, Error> {
        let mut judged = Judged::of(rollouts);
        for metric in self.plugins.reward_metrics() {
            measure(&mut judged, metric);
        }
        for metric in &judged.metrics {
            let scored = judged.rollouts.iter_mut().zip(&metric.scores);
            for (at, (rollout, score)) in scored.enumerate() {
                let value = score.as_ref().ok().map(|score| score.value);
                rollout
                    .metrics
                    .extend(value.map(|value| (metric.name.clone(), value)));
                rollout.execution = rollout.execution.or_else(|| metric.execution(at));
            }
        }
        if let Some(model) = reward_model {
            let samples = judged.samples();
            let texts: Vec<(&str, &str)> = samples
                .iter()
                .map(|sample| (sample.prompt.as_str(), sample.response.as_str()))
                .collect();
            let meter = Meter::start(Used::default);
            let scores = model.scores(&texts)?;
            judged.add_reward_model(meter);
            for (rollout, score) in judged.rollouts.iter_mut().zip(scores) {
                rollout.reward_model_score = Some(score);
            }
        }
        self.reward(step, &mut judged)?;
        Ok(judged)
    }

    /// Adds the rewards to responses whose metrics have been computed.
    fn reward(&self, step: u64, judged: &mut Judged) -> Result<(), Error> {
        let targets = self.config.evaluation.targets();
        let context = Context {
            step,
            steps_total: self.steps_total,
            response_tokens_max: u32::try_from(self.config.generation.max_new_tokens)
                .unwrap_or(u32::MAX),
            targets: targets
                .into_iter()
                .map(|(name, target)| (name.to_owned(), target))
                .collect(),
        };
        let parts = self.parts();
        let meters: Vec<(&RewardShaper, Meter)> = parts
            .iter()
            .filter_map(|part| match part.source {
                reward::Source::Shaper(shaper) => Some((shaper, Meter::start(|| shaper.used()))),
                _ => None,
            })
            .collect();
        judged.rewards = reward::rewards(&parts, &judged.rollouts, &context)?;
        judged.weights = parts.iter().map(|part| part.weight).collect();
        for (shaper, meter) in meters {
            judged.add_shaper(shaper, meter);
        }
        Ok(())
    }

    /// Parts of the reward: the plugins', and the reward model's.
    pub fn parts(&self) -> Vec<reward::Part<'a>> {
        let automated = self.plugins.reward_parts();
        match self.reward_model {
            false => automated,
            true => {
                let settings = &self.config.reward_model;
                reward::with_reward_model(automated, settings.feedback_weight, settings.clip)
            }
        }
    }
}

/// Adds a metric's scores to what is known of some responses.
pub(super) fn measure(judged: &mut Judged, metric: &Metric) -> evaluate::Scored {
    let meter = Meter::start(|| metric.used());
    let scored = evaluate::score(metric, &judged.samples());
    judged.add_metric(metric, &scored, meter);
    scored
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
