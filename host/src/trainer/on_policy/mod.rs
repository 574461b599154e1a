//! The loop that PPO, GRPO and RLOO share: sample responses, score them, learn from them.
//!
//! What differs is data ([`Recipe`]): how scores become advantages, whether a value model helps,
//! which loss an update minimises. What a response is worth, the [`Environment`] says. A step is
//! one batch of responses with all updates made from it. A batch whose numbers are not finite
//! changes nothing: it is counted and handed over to be kept, and three in a row end the training.
//! Of a value model with a backbone of its own, which learns first, that holds for its numbers.

mod checkpoint;
mod critic;
mod experience;
pub mod moments;
mod spikes;
mod surrogate;

use std::sync::atomic::Ordering;

use candle_core::DType;
use serde_json::{Value, json};

use super::checkpoint::Keeper;
use super::grpo::loss::deviation;
use super::loss_scale::LossScale;
use super::optimizer::{AdamW, LearningRate};
use super::ppo::loss;
use super::{Error, Judge, Plan, Run, doing, judged};
use crate::config::ppo::KlEstimator;
use crate::config::training::Training;
use crate::config::{Generation, Ppo, Rollout};
use crate::models::{CausalLm, LanguageModel, Model, Parameter, with_reference};
use crate::random::{Purpose, Stream};
use crate::rollout::kl::KlController;
use crate::rollout::{self, Response, Stop};
use critic::{Critic, ValueStats};
use moments::RunningMoments;
use spikes::Spikes;
use surrogate::Size;

pub use experience::Experience;
pub use surrogate::{Ratio, Surrogate, UpdateStats};

/// Bad batches in a row that end a training. Chosen: one is an accident, two may be the same
/// one, three are the rule.
const BAD_BATCHES_MAX: u64 = 3;

/// What surrounds a training: it says what responses are worth, and keeps what is handed over.
pub trait Environment {
    /// What can go wrong there.
    type Error: From<Error>;

    /// Whether [`Environment::score`] is to know how far responses diverge from the reference.
    fn wants_divergence(&self) -> bool {
        false
    }

    /// What each response is worth; `None` leaves it out. `tasks[r.prompt]` is the prompt of the
    /// run that response `r` answers; `divergence` has each response's log-probability under the
    /// policy less that under the reference, in nats, or nothing where it was not wanted or there
    /// is no reference.
    ///
    /// # Errors
    /// Whatever should end the run.
    fn score(
        &mut self,
        step: u64,
        tasks: &[usize],
        responses: &[Response],
        divergence: &[f64],
    ) -> Result<Scores, Self::Error>;

    /// Keeps a batch that was left out.
    ///
    /// # Errors
    /// It can't be kept.
    fn keep_bad_batch(&mut self, step: u64, batch: &Value) -> Result<(), Self::Error>;

    /// What it has to know again when the training is gone on with; null: nothing.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Takes in what [`Environment::state`] returned.
    fn restore(&mut self, _state: &Value) {}
}

/// What responses are worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// In the responses' order.
    pub totals: Vec<Option<f64>>,
    /// What of each total belongs to one of the response's tokens; empty where nothing does.
    pub per_token: Vec<Vec<f64>>,
    /// Means of the parts, under their tags.
    pub means: Vec<(String, f64)>,
    /// What a person should see.
    pub warnings: Vec<String>,
}

/// Prompts, and the settings that the methods share.
pub struct Job<'a> {
    /// Tokens of each prompt.
    pub prompts: &'a [Vec<u32>],
    /// Tokens that end a response.
    pub eos: &'a [u32],
    pub training: &'a Training,
    pub generation: &'a Generation,
    pub rollout: &'a Rollout,
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Batches of responses.
    pub steps: u64,
    /// Whether it was interrupted before its last step.
    pub interrupted: bool,
    /// Responses learned from.
    pub episodes: u64,
    /// Batches that were left out because a number was not finite.
    pub bad_batches: u64,
    /// Mean score of the last batch; NaN if there was none.
    pub final_score: f64,
    /// Divergence of a response from the reference in the last batch, in nats; 0 without one.
    pub final_kl: f64,
}

/// Fills `advantages` (and `returns`) of scored experiences, given β.
pub(super) type Advantages<'a> = dyn Fn(&mut [Experience], f64) + 'a;

/// What makes a method.
pub(super) struct Recipe<'a> {
    pub name: &'static str,
    /// Its own settings, for checkpoints.
    pub settings: Value,
    /// Passes over each batch.
    pub passes: usize,
    pub kl: KlController,
    /// See [`Ppo::kl_stop`].
    pub kl_stop: Option<f64>,
    pub surrogate: Surrogate,
    pub advantages: &'a Advantages<'a>,
    /// Settings of the value model, where there is one.
    pub critic: Option<&'a Ppo>,
}

/// The frozen model that the policy is held to.
enum Reference {
    /// Nothing is held.
    None,
    /// The policy without its adapters.
    AdaptersOff,
    Copy(Box<LanguageModel>),
}

impl Reference {
    fn of(policy: &LanguageModel, kl: &KlController) -> Result<Self, Error> {
        if kl.coefficient == 0.0 {
            return Ok(Self::None);
        }
        if policy.backbone().lora().is_some() {
            return Ok(Self::AdaptersOff);
        }
        let copy = policy.copy().map_err(doing("copying the reference"))?;
        Ok(Self::Copy(Box::new(copy)))
    }

    fn logprobs(
        &self,
        policy: &mut LanguageModel,
        batch: &[Experience],
        micro: usize,
    ) -> candle_core::Result<Option<Vec<Vec<f32>>>> {
        match self {
            Self::None => Ok(None),
            Self::AdaptersOff => {
                with_reference(policy, |model| experience::logprobs(model, batch, micro)).map(Some)
            }
            Self::Copy(model) => experience::logprobs(&**model, batch, micro).map(Some),
        }
    }
}

/// Responses to learn from. `tasks[r.prompt]` is the prompt of the run that response `r` answers.
struct Rollouts {
    tasks: Vec<usize>,
    responses: Vec<Response>,
    /// Log-probabilities under the reference, if they are known already.
    references: Vec<Vec<f32>>,
    scores: Scores,
    /// Prompts that took the place of others.
    replaced: usize,
}

/// Where a training stands: with the weights, all that a checkpoint must hold.
#[derive(Clone, Debug, PartialEq)]
struct State {
    step: u64,
    episodes: u64,
    tokens: u64,
    bad_batches: u64,
    bad_in_a_row: u64,
    /// β as it is now.
    kl_coefficient: f64,
    /// Of the rewards so far, where they are normalised by them.
    rewards: RunningMoments,
    /// Of the divergence so far.
    divergence: Spikes,
    loss_scale: Option<LossScale>,
    score: f64,
    kl: f64,
}

/// What a training changes.
struct Learner<'a, 'b> {
    model: &'a mut LanguageModel,
    optimizer: AdamW,
    critic: Option<Critic>,
    reference: Reference,
    recipe: &'a mut Recipe<'b>,
    state: State,
}

/// Means over the updates of a step.
#[derive(Default)]
struct StepStats {
    updates: f64,
    policy: UpdateStats,
    value_loss: f64,
    value_clipped: f64,
    grad_norm: f64,
}

/// Trains by `recipe`.
pub(super) fn train<E: Environment>(
    model: &mut LanguageModel,
    job: &Job,
    recipe: &mut Recipe,
    environment: &mut E,
    run: &mut Run,
) -> Result<Outcome, E::Error> {
    let plan = Plan::of(
        job.prompts.len(),
        job.rollout.prompts_per_step.max(1),
        job.training,
        run.seed,
    );
    if plan.steps == 0 {
        return Err(Error::NoExamples {
            trainer: recipe.name,
        }
        .into());
    }
    let updates = plan.per_step * job.rollout.samples_per_prompt;
    let updates = (updates.div_ceil(update_size(job.training)) * recipe.passes.max(1)) as u64;
    let schedule = LearningRate::new(job.training, plan.steps * updates);
    let fingerprint = checkpoint::fingerprint(recipe, job, &plan, model);
    let reference = Reference::of(model, &recipe.kl)?;
    let critic = match recipe.critic {
        Some(settings) => Some(Critic::new(model, settings, job, run.seed)?),
        None => None,
    };
    model.train().map_err(doing("making room for gradients"))?;
    let mut trained = model.trainable();
    trained.extend(critic.iter().flat_map(Critic::beside_policy));
    let optimizer =
        AdamW::of(&trained, job.training).map_err(doing("making room for the optimizer"))?;
    let state = State {
        step: 0,
        episodes: 0,
        tokens: 0,
        bad_batches: 0,
        bad_in_a_row: 0,
        kl_coefficient: recipe.kl.coefficient,
        rewards: RunningMoments::default(),
        divergence: Spikes::default(),
        loss_scale: LossScale::of(model.backbone().compute()),
        score: f64::NAN,
        kl: 0.0,
    };
    let mut learner = Learner {
        model,
        optimizer,
        critic,
        reference,
        recipe,
        state,
    };
    let held_out: Vec<&str> = judged(run).map(Judge::tags).unwrap_or_default();
    let (name, keeps) = (learner.recipe.name, run.checkpoints.is_some());
    let mut keeper = Keeper::new(job.training, name, plan.steps, keeps, &held_out)?;
    if let Some(folder) = run.checkpoints.as_ref().and_then(|c| c.resume.clone()) {
        let kept = checkpoint::load(&folder, &mut learner, &fingerprint)?;
        environment.restore(&kept["environment"]);
        run.resume_keeping(&mut keeper, learner.state.step, &kept);
    }
    run.tracker.stage(learner.recipe.name, plan.steps, "steps");
    run.tracker.progress(learner.state.step);
    let mut interrupted = false;
    while learner.state.step < plan.steps {
        let step = learner.state.step;
        let tasks = plan.examples(step);
        let Some(rollouts) = learner.rollouts(job, tasks, environment, run)? else {
            interrupted = true;
            break;
        };
        let mut batch = learner.experiences(job, &rollouts);
        learner.observe(job, &mut batch)?;
        let rate = |update: u64| schedule.at(step * updates + update.min(updates - 1));
        let done = learner.learn(job, &batch, run.seed, &rate)?;
        learner.state.step += 1;
        match done {
            Ok(stats) => {
                learner.state.bad_in_a_row = 0;
                let mut values = learner.summary(&batch, &rollouts);
                values.extend(stats.tags(learner.critic.is_some()));
                let rate = rate(updates - 1);
                values.extend([("learning_rate", rate), ("lr", rate)]);
                values.push(("epoch", (step + 1) as f64 / plan.steps_per_epoch as f64));
                let means = rollouts.scores.means.iter();
                values.extend(means.map(|(tag, mean)| (tag.as_str(), *mean)));
                run.tracker.log(step + 1, &values);
                learner.watch_divergence(run);
                keeper.observe(name, &values)?;
            }
            Err(reason) => learner.bad_batch(&reason, &batch, environment, run)?,
        }
        let wanted = keeper.wants_held_out();
        let wanted = wanted.filter(|_| keeper.is_due(learner.state.step));
        let number = match wanted.is_some() || run.is_judgement_due(&plan, learner.state.step) {
            true => {
                let policy = Some(&*learner.model as _);
                run.judge(name, policy, &plan, learner.state.step, wanted)?
            }
            false => None,
        };
        run.tracker.progress(learner.state.step);
        if keeper.is_due(learner.state.step) {
            keeper.compare(learner.state.step, number);
            checkpoint::save(
                run,
                &mut keeper,
                &learner,
                &environment.state(),
                &fingerprint,
            )?;
        }
    }
    learner.model.set_loss_scale(1.0);
    // Where it was interrupted: an uninterrupted run compares nothing here.
    checkpoint::save(
        run,
        &mut keeper,
        &learner,
        &environment.state(),
        &fingerprint,
    )?;
    if let Some(best) = run.best_to_load(&keeper, learner.state.step, interrupted) {
        super::checkpoint::restore_best(&best, learner.model)?;
    }
    let State {
        step,
        episodes,
        bad_batches,
        score,
        kl,
        ..
    } = learner.state;
    Ok(Outcome {
        steps: step,
        interrupted,
        episodes,
        bad_batches,
        final_score: score,
        final_kl: kl,
    })
}

/// Responses of an optimizer step.
fn update_size(training: &Training) -> usize {
    (training.batch_size * training.gradient_accumulation_steps).max(1)
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

/// By how much each response is likelier under the policy than under the reference, in nats;
/// nothing where the latter is not known.
fn divergence(responses: &[Response], references: &[Vec<f32>]) -> Vec<f64> {
    let pairs = responses.iter().zip(references);
    pairs
        .map(|(response, reference)| KlEstimator::K1.sum(&response.logprobs, reference))
        .collect()
}

impl Learner<'_, '_> {
    /// The step's responses, scored; None where an interrupt came first.
    fn rollouts<E: Environment>(
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
        let wanted = environment.wants_divergence();
        let mut references = match wanted {
            true => self.references(job, &tasks, &responses)?,
            false => Vec::new(),
        };
        let diverged = divergence(&responses, &references);
        let mut scores = environment.score(step, &tasks, &responses, &diverged)?;
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
            let fresh_references = match wanted {
                true => self.references(job, &others, &fresh)?,
                false => Vec::new(),
            };
            let diverged = divergence(&fresh, &fresh_references);
            let found = environment.score(step, &others, &fresh, &diverged)?;
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

    /// Log-probabilities of each response's tokens under the reference; empty without one.
    fn references(
        &mut self,
        job: &Job,
        tasks: &[usize],
        responses: &[Response],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let answered = responses.iter().map(|response| {
            let task = tasks[response.prompt];
            Experience::new(task, &job.prompts[task], response, 0.0)
        });
        let answered: Vec<Experience> = answered.collect();
        self.reference_logprobs(job, &answered)
    }

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
    fn experiences(&mut self, job: &Job, rollouts: &Rollouts) -> Vec<Experience> {
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

    /// Says so where the divergence from the reference has jumped.
    fn watch_divergence(&mut self, run: &mut Run) {
        let State { step, kl, .. } = self.state;
        let held = !matches!(self.reference, Reference::None);
        if let Some(before) = self.state.divergence.observe(kl).filter(|_| held) {
            run.tracker.warn(&format!(
                "{}, step {step}: a response diverges by {kl:.1} nats from the reference, after {before:.1} in the steps before",
                self.recipe.name
            ));
        }
    }

    /// Log-probabilities that sampling did not leave, values and advantages.
    fn observe(&mut self, job: &Job, batch: &mut [Experience]) -> Result<(), Error> {
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

    /// All updates of a step; the inner error says why the batch was left out.
    fn learn(
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
    fn discard(&mut self) -> Result<(), Error> {
        let mut all: Vec<&mut Parameter> = self.model.trainable_mut();
        all.extend(self.critic.iter_mut().flat_map(Critic::beside_policy_mut));
        AdamW::discard(all).map_err(doing("zeroing gradients"))
    }

    /// Counts a batch that was left out and hands it over.
    fn bad_batch<E: Environment>(
        &mut self,
        reason: &str,
        batch: &[Experience],
        environment: &mut E,
        run: &mut Run,
    ) -> Result<(), E::Error> {
        let step = self.state.step;
        self.state.bad_batches += 1;
        self.state.bad_in_a_row += 1;
        let responses: Vec<Value> = batch.iter().map(Experience::dump).collect();
        let dump = json!({ "step": step, "reason": reason, "responses": responses });
        environment.keep_bad_batch(step, &dump)?;
        run.tracker
            .warn(&format!("step {step} was left out: {reason}"));
        let count = self.state.bad_batches as f64;
        run.tracker.log(step, &[("bad_batches", count)]);
        if self.state.bad_in_a_row >= BAD_BATCHES_MAX {
            return Err(Error::BadBatches {
                trainer: self.recipe.name,
                count: self.state.bad_in_a_row,
                step,
                reason: reason.to_owned(),
            }
            .into());
        }
        Ok(())
    }

    /// Numbers of a step's responses, under the names that TRL's users know; steers β.
    fn summary(&mut self, batch: &[Experience], rollouts: &Rollouts) -> Vec<(&'static str, f64)> {
        let responses = &rollouts.responses;
        let count = batch.len().max(1) as f64;
        let mean = |f: &dyn Fn(&Experience) -> f64| batch.iter().map(f).sum::<f64>() / count;
        let estimator = estimator_of(self.recipe);
        let kl = mean(&|e| match e.ref_logprobs.is_empty() {
            true => 0.0,
            false => estimator.sum(&e.logprobs, &e.ref_logprobs),
        });
        let entropy = mean(&|e| -e.logprobs.iter().map(|x| f64::from(*x)).sum::<f64>());
        let scores: Vec<f64> = batch.iter().map(|e| e.score).collect();
        let score = mean(&|e| e.score);
        let groups: Vec<&[Experience]> = batch.chunk_by(|a, b| a.task == b.task).collect();
        let same = groups
            .iter()
            .filter(|group| group.iter().all(|e| e.score == group[0].score))
            .count();
        let lengths: Vec<f64> = responses.iter().map(|r| r.ids.len() as f64).collect();
        let all = responses.len().max(1) as f64;
        let cut = responses
            .iter()
            .filter(|r| r.finish == rollout::FinishReason::Length)
            .count();
        let beta = self.state.kl_coefficient;
        let penalty = match self.recipe.surrogate.kl_coefficient {
            0.0 => -beta * kl,
            _ => 0.0,
        };
        self.state.episodes += batch.len() as u64;
        (self.state.score, self.state.kl) = (score, kl);
        let mut controller = KlController {
            coefficient: beta,
            ..self.recipe.kl
        };
        controller.update(kl, batch.len());
        self.state.kl_coefficient = controller.coefficient;
        let mut values = vec![
            ("reward", score),
            ("reward_std", deviation(&scores)),
            (
                "frac_reward_zero_std",
                same as f64 / groups.len().max(1) as f64,
            ),
            ("objective/scores", score),
            ("objective/entropy", entropy),
            ("completions/mean_length", lengths.iter().sum::<f64>() / all),
            (
                "completions/min_length",
                lengths.iter().copied().fold(f64::INFINITY, f64::min),
            ),
            (
                "completions/max_length",
                lengths.iter().copied().fold(0.0, f64::max),
            ),
            ("completions/clipped_ratio", cut as f64 / all),
            ("episode", self.state.episodes as f64),
            ("num_tokens", self.state.tokens as f64),
            ("bad_batches", self.state.bad_batches as f64),
        ];
        if rollouts.replaced > 0 {
            values.push(("resampled_prompts", rollouts.replaced as f64));
        }
        if !matches!(self.reference, Reference::None) {
            values.extend([
                ("kl", kl),
                ("objective/kl", kl),
                ("objective/kl_coefficient", beta),
                ("objective/non_score_reward", penalty),
                ("objective/rlhf_reward", score + penalty),
            ]);
        }
        values
    }
}

/// How the divergence is reported: as the rewards have it, else by the estimator of the loss.
fn estimator_of(recipe: &Recipe) -> KlEstimator {
    match (recipe.critic, recipe.surrogate.kl_coefficient) {
        (Some(ppo), _) => ppo.kl_estimator,
        (None, 0.0) => KlEstimator::K1,
        (None, _) => KlEstimator::K3,
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

    fn tags(&self, values: bool) -> Vec<(&'static str, f64)> {
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

#[cfg(test)]
mod tests;
