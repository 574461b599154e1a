//! PPO, GRPO and RLOO: the policy learns from rewards for its own responses.

use std::path::Path;

use serde_json::Value;

use super::folder::RunFolder;
use super::held_out::HeldOut;
use super::policy::Policy;
use super::samples::{Judge, abstentions, curves};
use super::{Error, Run, add_extras};
use crate::config::Method;
use crate::data::Task;
use crate::report::RolloutSummary;
use crate::rollout::Response;
use crate::trainer::on_policy::{Environment, Job, Scores};
use crate::trainer::{self, grpo, ppo};

/// Scores responses with the run's plugins, and keeps them in its folder.
struct Scoring<'a> {
    judge: Judge<'a>,
    folder: &'a RunFolder,
    tasks: &'a [Task],
    stage: &'static str,
    /// Said once: a part that abstains does so at every step.
    warned: bool,
}

impl Environment for Scoring<'_> {
    type Error = Error;

    fn score(
        &mut self,
        step: u64,
        tasks: &[usize],
        responses: &[Response],
    ) -> Result<Scores, Error> {
        let answered: Vec<&Task> = responses
            .iter()
            .map(|response| &self.tasks[tasks[response.prompt]])
            .collect();
        let (samples, rewards) = self.judge.rewards(step, &answered, responses)?;
        self.folder
            .learned(self.stage, step + 1, &samples, &rewards)?;
        let mut warnings = Vec::new();
        if !self.warned {
            warnings = abstentions(self.stage, &rewards);
            self.warned = !warnings.is_empty();
        }
        Ok(Scores {
            means: curves(&rewards),
            totals: rewards.totals,
            warnings,
        })
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
                warned: false,
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
                    judge: held_out.as_ref().map(|held_out| held_out as _),
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
            run.after_training(outcome.interrupted)?;
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
