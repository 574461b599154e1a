//! PPO, GRPO and RLOO: the policy learns from rewards for its own responses.

use serde_json::Value;

use super::completions::Hashes;
use super::folder::RunFolder;
use super::policy::Policy;
use super::samples::{Judge, abstentions, curves};
use super::{Error, Run};
use crate::config::Method;
use crate::data::Task;
use crate::report::RolloutSummary;
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
    hashes: Hashes,
    tracker: Shared,
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
        let judged = self.judge.rewards(step, &answered, responses)?;
        let rows = judged.rows(self.stage, step + 1, &self.hashes);
        self.folder.append_rows("completions.jsonl", rows)?;
        let costs = judged.cost_rows(self.stage, step + 1);
        self.folder.append_rows("costs.jsonl", costs)?;
        judged.show(&mut self.tracker, step + 1);
        let mut warnings = Vec::new();
        if !self.warned {
            warnings = abstentions(self.stage, &judged.rewards);
            self.warned = !warnings.is_empty();
        }
        Ok(Scores {
            means: curves(&judged.rewards),
            totals: judged.rewards.totals,
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
            let mut scoring = Scoring {
                judge: Judge {
                    plan,
                    tokenizer,
                    reward_model: run.reward_model.as_ref(),
                },
                folder: run.folder,
                tasks,
                stage: method.name(),
                hashes: plan.plugins.hashes(),
                tracker: run.tracker.clone(),
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
                    folder: &run.folder.path(""),
                    resume: run.resume.clone(),
                    extras: &|folder| tokenizer.save(folder),
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
