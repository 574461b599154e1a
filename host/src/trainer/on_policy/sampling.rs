//! The first half of a step: responses are sampled and scored, and become what can be learned from.

use std::sync::atomic::Ordering;

use candle_core::DType;

use super::reference::divergence;
use super::{Environment, Experience, Job, Learner, Scores, experience};
use crate::config::{Generation, Rollout};
use crate::models::Model;
use crate::random::{Purpose, Stream};
use crate::rollout::{self, Response, Stop};
use crate::trainer::ppo::loss;
use crate::trainer::{Error, Run, doing};

/// Responses to learn from. `tasks[r.prompt]` is the prompt of the run that response `r` answers.
pub(super) struct Rollouts {
    pub tasks: Vec<usize>,
    pub responses: Vec<Response>,
    /// Log-probabilities under the reference, if they are known already.
    references: Vec<Vec<f32>>,
    pub scores: Scores,
    /// Prompts that took the place of others.
    pub replaced: usize,
}

/// Whether there is nothing to compare: fewer than two rewards, or all the same.
fn teaches_nothing(rollout: &Rollout, responses: &[Response], rewards: &[Option<f64>]) -> bool {
    let pairs = responses.iter().zip(rewards);
    let mut rewards = pairs.filter_map(|(response, reward)| {
        let ended = response.finish != rollout::FinishReason::Length;
        let penalty = rollout.missing_eos_penalty;
        Some(loss::score((*reward)?, ended, penalty, rollout.reward_clip))
    });
    let first = rewards.next();
    rewards.all(|reward| Some(reward) == first)
}

impl Learner<'_, '_> {
    /// The step's responses, scored; None where an interrupt came first.
    pub(super) fn rollouts<E: Environment>(
        &mut self,
        job: &Job,
        mut tasks: Vec<usize>,
        environment: &mut E,
        run: &mut Run,
    ) -> Result<Option<Rollouts>, E::Error> {
        let step = self.state.step;
        let Some(mut responses) = self.sample(job, &tasks, 0, run)? else {
            return Ok(None);
        };
        // Curves are those of the first: what was chosen by its rewards would flatter them.
        let (mut scores, mut references) = self.score(job, &tasks, &responses, environment)?;
        let mut replaced = 0;
        let per_prompt = job.rollout.samples_per_prompt;
        // A value model learns from equal rewards, too.
        let rounds = match self.recipe.critic {
            Some(_) => 0,
            None => job.rollout.resample_rounds as u64,
        };
        for round in 1..=rounds {
            let teaches_nothing = |responses: &[Response], rewards: &[Option<f64>]| {
                teaches_nothing(job.rollout, responses, rewards)
            };
            let groups = responses.chunks(per_prompt);
            let groups = groups.zip(scores.totals.chunks(per_prompt)).enumerate();
            let flat: Vec<usize> = groups
                .filter_map(|(at, (responses, rewards))| {
                    teaches_nothing(responses, rewards).then_some(at)
                })
                .collect();
            let mut stream = Stream::new(run.seed, Purpose::Resampling, step, round);
            let mut others = stream.permutation(job.prompts.len());
            others.retain(|task| !tasks.contains(task));
            others.truncate(flat.len());
            if others.is_empty() {
                break;
            }
            let Some(fresh) = self.sample(job, &others, round, run)? else {
                return Ok(None);
            };
            let (found, fresh_references) = self.score(job, &others, &fresh, environment)?;
            scores.warnings.extend(found.warnings);
            let groups = fresh
                .chunks(per_prompt)
                .zip(found.totals.chunks(per_prompt));
            let places = flat.into_iter().zip(others).enumerate();
            for ((at, (slot, task)), (fresh, rewards)) in places.zip(groups) {
                if teaches_nothing(fresh, rewards) {
                    continue;
                }
                let place = slot * per_prompt..(slot + 1) * per_prompt;
                if !fresh_references.is_empty() {
                    let fresh = &fresh_references[at * per_prompt..(at + 1) * per_prompt];
                    references[place.clone()].clone_from_slice(fresh);
                }
                scores.totals[place.clone()].copy_from_slice(rewards);
                for (old, new) in responses[place].iter_mut().zip(fresh) {
                    *old = Response {
                        prompt: slot,
                        ..new.clone()
                    };
                }
                tasks[slot] = task;
                replaced += 1;
            }
        }
        for warning in &scores.warnings {
            run.tracker.warn(warning);
        }
        Ok(Some(Rollouts {
            tasks,
            responses,
            references,
            scores,
            replaced,
        }))
    }

    /// What responses are worth, with the log-probabilities of their tokens under the reference
    /// where the environment wants to know how far they diverge from it.
    fn score<E: Environment>(
        &mut self,
        job: &Job,
        tasks: &[usize],
        responses: &[Response],
        environment: &mut E,
    ) -> Result<(Scores, Vec<Vec<f32>>), E::Error> {
        let mut references = Vec::new();
        if environment.wants_divergence() {
            let answered = responses.iter().map(|response| {
                let task = tasks[response.prompt];
                Experience::new(task, &job.prompts[task], response, 0.0)
            });
            let answered: Vec<Experience> = answered.collect();
            references = self.reference_logprobs(job, &answered)?;
        }
        let diverged = divergence(responses, &references);
        let scores = environment.score(self.state.step, tasks, responses, &diverged)?;
        Ok((scores, references))
    }

    /// Log-probabilities of each response's tokens under the reference; empty without one.
    fn reference_logprobs(
        &mut self,
        job: &Job,
        batch: &[Experience],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let name = self.recipe.name;
        let micro = job.training.batch_size;
        let logprobs = self.reference.logprobs(self.model, batch, micro);
        let logprobs =
            logprobs.map_err(doing(format!("{name}: log-probabilities of the reference")))?;
        Ok(logprobs.unwrap_or_default())
    }

    /// Responses to some prompts; None where an interrupt came first. Each `round` of a step has
    /// random streams of its own.
    fn sample(
        &self,
        job: &Job,
        tasks: &[usize],
        round: u64,
        run: &mut Run,
    ) -> Result<Option<Vec<Response>>, Error> {
        let generation = Generation {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            num_beams: 1,
            ..job.generation.clone()
        };
        let prompts: Vec<Vec<u32>> = tasks.iter().map(|t| job.prompts[*t].clone()).collect();
        let per_prompt = job.rollout.samples_per_prompt;
        let seed = Stream::new(run.seed, Purpose::Rollouts, self.state.step, round).seed();
        let responses = rollout::generate(
            &*self.model,
            &prompts,
            per_prompt,
            &generation,
            &Stop::tokens(job.eos),
            seed,
            &mut |_| !run.interrupt.load(Ordering::Relaxed),
        )
        .map_err(doing(format!(
            "{}: sampling {per_prompt} responses to each of {} prompts",
            self.recipe.name,
            prompts.len()
        )))?;
        Ok((responses.len() == prompts.len() * per_prompt).then_some(responses))
    }

    /// The responses that have a score.
    pub(super) fn experiences(&mut self, job: &Job, rollouts: &Rollouts) -> Vec<Experience> {
        let Rollout {
            missing_eos_penalty,
            reward_normalisation,
            reward_clip,
            ..
        } = *job.rollout;
        let scored = rollouts.responses.iter().zip(&rollouts.scores.totals);
        let (responses, mut rewards): (Vec<(usize, &Response)>, Vec<f64>) = scored
            .enumerate()
            .filter(|(_, (response, _))| !response.ids.is_empty())
            .filter_map(|(at, (response, total))| Some(((at, response), (*total)?)))
            .unzip();
        let moments = &mut self.state.rewards;
        let scale = moments.normalise(&mut rewards, reward_normalisation);
        // Without values, the whole response is what is rewarded.
        let per_token = &rollouts.scores.per_token[..];
        let per_token = self.recipe.critic.map_or(&[][..], |_| per_token);
        responses
            .into_iter()
            .zip(rewards)
            .map(|((at, response), reward)| {
                let task = rollouts.tasks[response.prompt];
                let mut one = Experience::new(task, &job.prompts[task], response, reward);
                if let Some(logprobs) = rollouts.references.get(at) {
                    one.ref_logprobs.clone_from(logprobs);
                }
                if let Some(terms) = per_token.get(at) {
                    one.token_scores = terms.iter().map(|term| term / scale).collect();
                }
                one.score = loss::score(reward, one.ended, missing_eos_penalty, reward_clip);
                one
            })
            .collect()
    }

    /// Log-probabilities that sampling did not leave, values and advantages.
    pub(super) fn observe(&mut self, job: &Job, batch: &mut [Experience]) -> Result<(), Error> {
        let micro = job.training.batch_size;
        let name = self.recipe.name;
        // Half precision rounds differently where tokens come one by one, and the first ratio is to be
        // 1. In f32 it is, to the sixth digit, and a pass over the batch is saved.
        if self.model.backbone().compute() != DType::F32 {
            let policy = experience::logprobs(&*self.model, batch, micro)
                .map_err(doing(format!("{name}: log-probabilities of the policy")))?;
            for (one, logprobs) in batch.iter_mut().zip(policy) {
                one.logprobs = logprobs;
            }
        }
        if batch.iter().any(|one| one.ref_logprobs.is_empty()) {
            let reference = self.reference_logprobs(job, batch)?;
            for (one, logprobs) in batch.iter_mut().zip(reference) {
                one.ref_logprobs = logprobs;
            }
        }
        let values = match &self.critic {
            Some(critic) => Some(
                critic
                    .values(self.model, batch, micro)
                    .map_err(doing(format!("{name}: values")))?,
            ),
            None => None,
        };
        for (one, values) in batch.iter_mut().zip(values.into_iter().flatten()) {
            one.values = values;
        }
        (self.recipe.advantages)(batch, self.state.kl_coefficient);
        Ok(())
    }
}
