//! Human feedback as a part of the reward: the run trains its reward model before its policy.

use std::path::{Path, PathBuf};

use super::reward_model::{self, Beginning, Place, Report};
use super::{Error, Plan, Run, Source};
use crate::config::Config;
use crate::models::weights;
use crate::report::RewardModelSummary;
use crate::reward::LearnedReward;
use crate::trainer::checkpoint;
use crate::trainer::reward_model::STAGE;

/// Folder of the reward model that the run has trained.
pub(super) const FOLDER: &str = "reward-model";

/// Folder of the checkpoints of its training, until it is done.
pub(super) const CHECKPOINTS: &str = "reward-model-training";

/// What is known of that model, for whoever goes on with the run.
pub(super) const SUMMARY: &str = "reward-model.json";

/// The training of the reward model with the step that it goes on from, where a run in `folder`
/// had not come to its end.
pub(super) fn again(folder: &Path) -> Option<(&'static str, u64)> {
    let newest = checkpoint::latest(&folder.join(CHECKPOINTS));
    let step = newest.as_deref().map_or(0, super::checkpoint_step);
    (!folder.join(SUMMARY).is_file()).then_some((STAGE, step))
}

/// Where a run's reward model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Human {
    /// No model takes part in the reward.
    Nothing,
    /// A folder with a trained one.
    Trained(PathBuf),
    /// The run trains one on human feedback.
    Feedback,
}

impl Human {
    /// What the configuration and the data ask for.
    pub fn of(config: &Config, has_feedback: bool) -> Self {
        match reward_model::trained(config) {
            _ if has_feedback => Self::Feedback,
            Some(folder) => Self::Trained(folder),
            None => Self::Nothing,
        }
    }
}

/// Whether the reward model begins as the policy does.
fn begins_as_policy(config: &Config) -> bool {
    config.model.reward_model_name == config.model.base_model_name
}

/// Finds what the reward model begins with, before any work is done, and how many weights that
/// has; `policy` are the policy's.
///
/// # Errors
/// There is no such model.
pub(super) fn check(config: &Config, policy: usize) -> Result<usize, Error> {
    let name = &config.model.reward_model_name;
    if begins_as_policy(config) {
        return Ok(policy);
    }
    let found = match Source::of(name) {
        Ok(Source::TinyCode) => Err(format!(
            "`{name}` can only be the reward model of a policy that is the same"
        )),
        Ok(Source::Folder(folder) | Source::Adapter { base: folder, .. }) => {
            weights::count(&folder).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    found.map_err(|problem| {
        let problem = problem.split("\nhint:").next().unwrap_or_default().to_owned();
        Error::Input(format!(
            "human feedback trains a reward model, and {problem}\nhint: --reward-model-name takes a folder or a hub name, or the policy's own name to begin with the policy; --method dpo learns preferences without one"
        ))
    })
}

impl Plan {
    /// Whether a model that learned from people takes part in the reward.
    pub(super) fn has_reward_model(&self) -> bool {
        self.human != Human::Nothing
    }

    /// The line of the plan.
    pub(super) fn describe_human(&self) -> Option<String> {
        let feedback = self.examples.feedback.as_ref()?;
        let begun = match begins_as_policy(&self.config) {
            true => "the policy",
            false => &self.config.model.reward_model_name,
        };
        (self.human == Human::Feedback && self.samples()).then(|| {
            format!(
                "reward     a model, trained on {} from {begun}",
                feedback.describe()
            )
        })
    }
}

impl Run<'_> {
    /// Loads or trains the reward model where the plan has one; what is known of one that was
    /// trained here.
    pub(super) fn prepare_reward_model(&mut self) -> Result<Option<RewardModelSummary>, Error> {
        let plan = self.plan;
        if !plan.samples() {
            return Ok(None);
        }
        let max_length = plan.config.training.max_length;
        let load = |folder: &Path| LearnedReward::load(folder, max_length, &plan.device);
        match (&plan.human, &plan.examples.feedback) {
            (Human::Trained(folder), _) => {
                self.reward_model = Some(load(folder)?);
                Ok(None)
            }
            (Human::Feedback, Some(feedback)) => {
                let folder = self.folder.path(FOLDER);
                // What was trained before an interruption is not trained again.
                let summary = std::fs::read(self.folder.path(SUMMARY)).ok();
                if let Some(summary) = summary.and_then(|text| serde_json::from_slice(&text).ok()) {
                    self.reward_model = Some(load(&folder)?);
                    self.folder.remove(CHECKPOINTS)?;
                    return Ok(Some(summary));
                }
                self.timed("reward model", |run| {
                    let beginning = match begins_as_policy(&plan.config) {
                        true => Beginning::Policy(&run.policy),
                        false => Beginning::Named,
                    };
                    let mut config = plan.config.clone();
                    config.training.save_total_limit = Some(1);
                    let checkpoints = run.folder.path(CHECKPOINTS);
                    let newest = checkpoint::latest(&checkpoints);
                    let (model, report) = reward_model::train(
                        &config,
                        &plan.device,
                        (beginning, feedback),
                        Place {
                            last: Some(&folder),
                            checkpoints: Some(&checkpoints),
                            resume: newest.as_deref(),
                        },
                        &mut run.tracker,
                        run.interrupt,
                    )?;
                    run.reward_model = Some(model);
                    let summary = summary_of(&plan.config, &report);
                    run.folder.json(SUMMARY, &summary)?;
                    run.folder.remove(CHECKPOINTS)?;
                    Ok(Some(summary))
                })
            }
            _ => Ok(None),
        }
    }
}

fn summary_of(config: &Config, report: &Report) -> RewardModelSummary {
    RewardModelSummary {
        begun_with: config.model.reward_model_name.clone(),
        examples_trained: report.examples_trained,
        pairs_held_out: report.accuracy.pairs,
        accuracy: report.accuracy.value,
        interval: report.accuracy.interval,
        shorter_wins: report.shorter_wins.value,
        loss: report.loss,
    }
}
