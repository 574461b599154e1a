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
mod reference;
mod sampling;
mod spikes;
mod surrogate;
mod updates;

use serde_json::{Value, json};

use super::checkpoint::Keeper;
use super::grpo::loss::deviation;
use super::loss_scale::LossScale;
use super::optimizer::{AdamW, LearningRate};
use super::{Error, Judge, Plan, Run, doing, judged};
use crate::config::ppo::KlEstimator;
use crate::config::training::Training;
use crate::config::{Generation, Ppo, Rollout};
use crate::models::{CausalLm, LanguageModel, Model};
use crate::rollout::kl::KlController;
use crate::rollout::{self, Response};
use critic::Critic;
use moments::RunningMoments;
use reference::Reference;
use sampling::Rollouts;
use spikes::Spikes;
use updates::update_size;

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

impl Learner<'_, '_> {
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

#[cfg(test)]
mod tests;
