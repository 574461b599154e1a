//! PPO, GRPO and RLOO: the policy learns from rewards for its own responses.
//!
//! Plugins score a batch before the next one is sampled, not meanwhile: the next responses are to
//! come from the policy that has learned from this batch, and while a batch is sampled every core
//! is busy, as it is when plugins and sandbox workers score it.

use std::path::Path;

use serde_json::Value;

use super::Error;
use super::completions::Hashes;
use super::folder::RunFolder;
use super::held_out::HeldOut;
use super::policy::Policy;
use super::run::{Run, add_extras};
use super::samples::{Judge, curves};
use crate::config::Method;
use crate::data::Task;
use crate::report::RolloutSummary;
use crate::reward::Watch;
use crate::reward::watch::Batch;
use crate::rollout::Response;
use crate::tracking::Shared;
use crate::trainer::on_policy::{Environment, Job, Scores};
use crate::trainer::{self, grpo, ppo};

/// Scores responses with the run's plugins, and keeps them in its folder.
struct Scoring<'a> {
    judge: Judge<'a>,
    folder: &'a RunFolder,
    tasks: &'a [Task],
    stage: &'static str,
    watch: Watch,
    /// The step that was watched last: responses to other prompts may follow in the same.
    watched: Option<u64>,
    hashes: Hashes,
    tracker: Shared,
}

impl Environment for Scoring<'_> {
    type Error = Error;

    fn wants_divergence(&self) -> bool {
        !self.judge.plan.plugins.shapers.is_empty()
    }

    fn score(
        &mut self,
        step: u64,
        tasks: &[usize],
        responses: &[Response],
        divergence: &[f64],
    ) -> Result<Scores, Error> {
        let answered: Vec<&Task> = responses
            .iter()
            .map(|response| &self.tasks[tasks[response.prompt]])
            .collect();
        let judged = self.judge.rewards(step, &answered, responses, divergence)?;
        let stage = self.stage;
        let rows = judged.rows(stage, step + 1, &self.hashes);
        self.folder.append_rows("completions.jsonl", rows)?;
        let costs = judged.cost_rows(stage, step + 1);
        self.folder.append_rows("costs.jsonl", costs)?;
        judged.show(&mut self.tracker, step + 1);
        let mut means = curves(&judged.rewards);
        let mut warnings = Vec::new();
        if self.watched.replace(step) != Some(step) {
            let tokens: Vec<usize> = responses.iter().map(|r| r.ids.len()).collect();
            let samples = judged.samples();
            let parts = self.judge.plan.judging().parts();
            let weight = |name: &str| {
                let part = parts.iter().find(|part| part.name == name);
                part.map_or(1.0, |part| part.weight)
            };
            let batch = Batch {
                samples: &samples,
                tokens: &tokens,
                rewards: &judged.rewards,
                control: judged.control.as_ref(),
            };
            let signs = self.watch.observe(&batch, &weight);
            means.extend(signs.values);
            let told = signs.warnings.into_iter();
            warnings = told
                .map(|warning| format!("{stage}, step {}: {warning}", step + 1))
                .collect();
        }
        Ok(Scores {
            means,
            totals: judged.rewards.totals,
            per_token: judged.rewards.per_token,
            warnings,
        })
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.watch).expect("plain data")
    }

    fn restore(&mut self, state: &Value) {
        self.watch = serde_json::from_value(state.clone()).unwrap_or_default();
    }

    fn keep_bad_batch(&mut self, step: u64, batch: &Value) -> Result<(), Error> {
        self.folder.json(&format!("bad-batch-{step}.json"), batch)
    }
}

impl Run<'_> {
    /// Trains by a method that learns from the policy's own responses.
    pub(super) fn on_policy(&mut self, method: Method) -> Result<RolloutSummary, Error> {
        self.timed(method.name(), |run| {
            let plan = run.plan;
            let config = &plan.config;
            let tasks = &plan.examples.train_tasks;
            let prompts = run.prompts(tasks)?;
            let Policy { model, tokenizer } = &mut run.policy;
            let tokenizer = &*tokenizer;
            let held_out = HeldOut::of(plan, tokenizer)?;
            let path = run.folder.path("");
            let own = run.folder;
            let extras = |checkpoint: &Path| add_extras(own, tokenizer, checkpoint);
            let mut scoring = Scoring {
                judge: Judge {
                    plan,
                    tokenizer,
                    reward_model: run.reward_model.as_ref(),
                },
                folder: run.folder,
                tasks,
                stage: method.name(),
                watch: Watch::default(),
                watched: None,
                hashes: plan.plugins.hashes(),
                tracker: run.tracker.clone(),
            };
            let job = Job {
                prompts: &prompts,
                eos: &tokenizer.specials().eos,
                training: &config.training,
                generation: &config.generation,
                rollout: &config.rollout,
            };
            let mut training = trainer::Run {
                seed: config.seed,
                interrupt: run.interrupt,
                tracker: &mut run.tracker,
                checkpoints: Some(trainer::Checkpoints {
                    folder: &path,
                    resume: run.resume.clone(),
                    extras: &extras,
                    judge: Some(&held_out),
                }),
            };
            let (scoring, training) = (&mut scoring, &mut training);
            let outcome = match method {
                Method::Grpo => grpo::train(model, &job, &config.grpo, scoring, training),
                Method::Rloo => {
                    grpo::train_leave_one_out(model, &job, &config.rloo, scoring, training)
                }
                _ => ppo::train(model, &job, &config.ppo, scoring, training),
            }?;
            run.step = outcome.steps;
            run.after_training()?;
            Ok(RolloutSummary {
                steps: outcome.steps,
                responses: outcome.episodes,
                bad_batches: outcome.bad_batches,
                final_reward: outcome.final_score,
                final_kl: outcome.final_kl,
            })
        })
    }
}
