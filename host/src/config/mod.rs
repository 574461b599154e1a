//! A run's settings, one file a section.
//!
//! Layers, later ones win: the defaults in each section's `Default`, the
//! preset of `--mode`, a configuration file (JSON as in the Python project, or
//! TOML), variables of the environment, the flags; see [`layers`]. Everything
//! is checked before anything is loaded, and everything that is wrong is said at once.

pub mod data;
pub mod differences;
pub mod dpo;
pub mod evaluation;
mod file;
pub mod generation;
pub mod grpo;
pub mod layers;
pub mod model;
pub mod plugins;
pub mod ppo;
pub mod preferences;
pub mod presets;
pub mod problem;
pub mod ranges;
pub mod reasons;
pub mod reward_model;
pub mod rollout;
pub mod sandbox;
pub mod schema;
pub mod tracking;
pub mod training;
mod tree;
pub mod warm_up;

pub use data::Data;
pub use dpo::Dpo;
pub use evaluation::Evaluation;
pub use generation::Generation;
pub use grpo::{Grpo, Rloo};
pub use layers::{Layers, Resolved};
pub use model::{Device, Model};
pub use plugins::PluginEntry;
pub use ppo::Ppo;
pub use preferences::Preferences;
pub use presets::{Mode, Origin};
pub use problem::Problem;
pub use reward_model::RewardModel;
pub use rollout::Rollout;
pub use sandbox::Sandbox;
pub use tracking::Tracking;
pub use training::{Method, Schedule, Training};
pub use warm_up::WarmUp;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use ranges::{Check, Range, above_zero, check, in_unit, not_negative, one_or_more, two_or_more};

/// Everything a run can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Decides everything random. Default 42, the Python project's.
    pub seed: u64,
    /// The run's folder. Default `runs/rlhf`.
    pub output_dir: PathBuf,
    /// Name of the experiment; if given, the run's folder is `output_dir/experiment_name`.
    pub experiment_name: Option<String>,
    pub model: Model,
    pub data: Data,
    pub training: Training,
    pub warm_up: WarmUp,
    pub preferences: Preferences,
    pub dpo: Dpo,
    pub rollout: Rollout,
    pub ppo: Ppo,
    pub grpo: Grpo,
    pub rloo: Rloo,
    pub reward_model: RewardModel,
    pub generation: Generation,
    pub evaluation: Evaluation,
    pub sandbox: Sandbox,
    pub tracking: Tracking,
    pub plugins: Vec<PluginEntry>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 42,
            output_dir: PathBuf::from("runs/rlhf"),
            experiment_name: None,
            model: Model::default(),
            data: Data::default(),
            training: Training::default(),
            warm_up: WarmUp::default(),
            preferences: Preferences::default(),
            dpo: Dpo::default(),
            rollout: Rollout::default(),
            ppo: Ppo::default(),
            grpo: Grpo::default(),
            rloo: Rloo::default(),
            reward_model: RewardModel::default(),
            generation: Generation::default(),
            evaluation: Evaluation::default(),
            sandbox: Sandbox::default(),
            tracking: Tracking::default(),
            plugins: Vec::new(),
        }
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("config `{path}`: cannot read it: {source}\nhint: check the path given to --config")]
    Read {
        path: String,
        source: std::io::Error,
    },
    /// Never empty.
    #[error("{}", problem::list(.0))]
    Wrong(Vec<Problem>),
}

impl Config {
    /// The folder of this run.
    pub fn run_folder(&self) -> PathBuf {
        match &self.experiment_name {
            Some(name) => self.output_dir.join(name),
            None => self.output_dir.clone(),
        }
    }

    /// Checks every value's range, and values that contradict one another.
    ///
    /// # Errors
    /// Every value that is wrong, by its key.
    pub fn validate(&self) -> Result<(), Error> {
        match self.problems() {
            none if none.is_empty() => Ok(()),
            problems => Err(Error::Wrong(problems)),
        }
    }

    /// What [`Config::validate`] finds.
    pub fn problems(&self) -> Vec<Problem> {
        let checks = self.checks();
        let out_of_range = checks.into_iter().filter(|check| !check.is_fine());
        let mut problems: Vec<Problem> = out_of_range
            .map(|check| Problem::of_value(check.key, check.value, check.expected, ""))
            .collect();
        problems.extend(self.contradictions());
        problems
    }

    /// The range of every number that has one.
    pub fn checks(&self) -> Vec<Check> {
        let Config {
            model,
            training,
            warm_up,
            preferences,
            dpo,
            rollout,
            ppo,
            grpo,
            rloo,
            reward_model,
            generation,
            evaluation,
            data,
            ..
        } = self;
        let samples_min = match training.method {
            Some(Method::Grpo | Method::Rloo) => 2.0,
            _ => 1.0,
        };
        let positive = "a number above 0";
        let count = "a whole number, 1 or more";
        let fraction = "a number from 0 to 1";
        vec![
            check(
                "training.learning_rate",
                training.learning_rate,
                above_zero,
                positive,
            ),
            check(
                "training.batch_size",
                training.batch_size as f64,
                one_or_more,
                count,
            ),
            check(
                "training.gradient_accumulation_steps",
                training.gradient_accumulation_steps as f64,
                one_or_more,
                count,
            ),
            check(
                "training.epochs",
                training.epochs as f64,
                one_or_more,
                count,
            ),
            check(
                "training.ppo_epochs",
                training.ppo_epochs as f64,
                one_or_more,
                count,
            ),
            check(
                "training.warmup_ratio",
                training.warmup_ratio,
                in_unit,
                fraction,
            ),
            check(
                "training.max_grad_norm",
                training.max_grad_norm,
                not_negative,
                "0 (off) or more",
            ),
            check(
                "training.weight_decay",
                training.weight_decay,
                not_negative,
                "0 or more",
            ),
            check(
                "training.adam_beta1",
                training.adam_beta1,
                in_unit,
                fraction,
            ),
            check(
                "training.adam_beta2",
                training.adam_beta2,
                in_unit,
                fraction,
            ),
            check(
                "training.adam_epsilon",
                training.adam_epsilon,
                above_zero,
                positive,
            ),
            check(
                "training.max_length",
                training.max_length as f64,
                two_or_more,
                "2 tokens or more",
            ),
            check(
                "training.save_total_limit",
                training.save_total_limit.unwrap_or(1) as f64,
                one_or_more,
                count,
            ),
            check(
                "warm_up.learning_rate",
                warm_up.learning_rate,
                above_zero,
                positive,
            ),
            check(
                "warm_up.weight_decay",
                warm_up.weight_decay,
                not_negative,
                "0 or more",
            ),
            check(
                "warm_up.batch_size",
                warm_up.batch_size as f64,
                one_or_more,
                count,
            ),
            check(
                "preferences.samples_per_prompt",
                preferences.samples_per_prompt as f64,
                two_or_more,
                "2 or more: one response can't be preferred to itself",
            ),
            check(
                "preferences.margin_min",
                preferences.margin_min,
                not_negative,
                "0 or more",
            ),
            check("dpo.beta", dpo.beta, above_zero, positive),
            check(
                "rollout.prompts_per_step",
                rollout.prompts_per_step as f64,
                one_or_more,
                count,
            ),
            check(
                "rollout.samples_per_prompt",
                rollout.samples_per_prompt as f64,
                || Range::from(samples_min),
                "1 or more; 2 or more for GRPO and RLOO, which compare responses",
            ),
            check(
                "rollout.missing_eos_penalty",
                rollout.missing_eos_penalty,
                not_negative,
                "0 or more",
            ),
            check(
                "rollout.reward_clip",
                rollout.reward_clip.unwrap_or(1.0),
                above_zero,
                positive,
            ),
            check("ppo.clip_range", ppo.clip_range, above_zero, positive),
            check(
                "ppo.clip_range_value",
                ppo.clip_range_value,
                above_zero,
                positive,
            ),
            check(
                "ppo.entropy_coefficient",
                ppo.entropy_coefficient,
                not_negative,
                "0 (off) or more",
            ),
            check(
                "ppo.value_coefficient",
                ppo.value_coefficient,
                above_zero,
                positive,
            ),
            check(
                "ppo.value_learning_rate",
                ppo.value_learning_rate.unwrap_or(1.0),
                above_zero,
                positive,
            ),
            check("ppo.gamma", ppo.gamma, in_unit, fraction),
            check("ppo.lambda", ppo.lambda, in_unit, fraction),
            check(
                "ppo.kl_coefficient",
                ppo.kl_coefficient,
                not_negative,
                "0 (no reference) or more",
            ),
            check(
                "ppo.kl_target",
                ppo.kl_target.unwrap_or(1.0),
                above_zero,
                positive,
            ),
            check("ppo.kl_horizon", ppo.kl_horizon, above_zero, positive),
            check(
                "ppo.kl_stop",
                ppo.kl_stop.unwrap_or(1.0),
                above_zero,
                positive,
            ),
            check(
                "grpo.clip_range_low",
                grpo.clip_range_low,
                in_unit,
                fraction,
            ),
            check(
                "grpo.clip_range_high",
                grpo.clip_range_high,
                above_zero,
                positive,
            ),
            check(
                "grpo.kl_coefficient",
                grpo.kl_coefficient,
                not_negative,
                "0 (no reference) or more",
            ),
            check(
                "grpo.iterations",
                grpo.iterations as f64,
                one_or_more,
                count,
            ),
            check("rloo.clip_range", rloo.clip_range, above_zero, positive),
            check(
                "rloo.kl_coefficient",
                rloo.kl_coefficient,
                not_negative,
                "0 (no reference) or more",
            ),
            check(
                "rloo.iterations",
                rloo.iterations as f64,
                one_or_more,
                count,
            ),
            check(
                "dpo.label_smoothing",
                dpo.label_smoothing,
                || Range::from(0.0).below(0.5),
                "0 or more, below 0.5",
            ),
            check(
                "reward_model.learning_rate",
                reward_model.learning_rate,
                above_zero,
                positive,
            ),
            check(
                "reward_model.batch_size",
                reward_model.batch_size as f64,
                one_or_more,
                count,
            ),
            check(
                "reward_model.epochs",
                reward_model.epochs as f64,
                one_or_more,
                count,
            ),
            check(
                "reward_model.center_rewards_coefficient",
                reward_model.center_rewards_coefficient,
                not_negative,
                "0 (off) or more",
            ),
            check(
                "reward_model.margin",
                reward_model.margin,
                not_negative,
                "0 (off) or more",
            ),
            check(
                "reward_model.human_logits_dropout",
                reward_model.human_logits_dropout,
                in_unit,
                fraction,
            ),
            check(
                "reward_model.human_logits_weight",
                reward_model.human_logits_weight,
                not_negative,
                "0 or more",
            ),
            check(
                "reward_model.feedback_weight",
                reward_model.feedback_weight,
                in_unit,
                fraction,
            ),
            check(
                "reward_model.clip",
                reward_model.clip.unwrap_or(1.0),
                above_zero,
                positive,
            ),
            check("model.lora.alpha", model.lora.alpha, above_zero, positive),
            check(
                "model.lora.dropout",
                model.lora.dropout,
                || Range::from(0.0).below(1.0),
                "0 or more, below 1",
            ),
            check(
                "model.lora.target_modules",
                model.lora.target_modules.len() as f64,
                one_or_more,
                "one name or more, or all-linear",
            ),
            check(
                "generation.max_new_tokens",
                generation.max_new_tokens as f64,
                one_or_more,
                count,
            ),
            check(
                "generation.temperature",
                generation.temperature,
                not_negative,
                "0 (greedy) or more",
            ),
            check(
                "generation.top_p",
                generation.top_p,
                || Range::above(0.0).to(1.0),
                "above 0, up to 1",
            ),
            check("generation.min_p", generation.min_p, in_unit, "0 to 1"),
            check(
                "generation.repetition_penalty",
                generation.repetition_penalty,
                above_zero,
                positive,
            ),
            check(
                "generation.num_beams",
                generation.num_beams as f64,
                one_or_more,
                count,
            ),
            check(
                "generation.batch_size",
                generation.batch_size as f64,
                one_or_more,
                count,
            ),
            check(
                "evaluation.bootstrap_samples",
                evaluation.bootstrap_samples as f64,
                || Range::from(100.0),
                "100 or more",
            ),
            check(
                "data.eval_fraction",
                data.eval_fraction,
                || Range::above(0.0).below(1.0),
                "above 0, below 1",
            ),
        ]
    }

    /// Values that are fine one by one, and not together.
    fn contradictions(&self) -> Vec<Problem> {
        let Config {
            dpo,
            ppo,
            evaluation,
            model,
            ..
        } = self;
        let mut problems = Vec::new();
        let smoothed = matches!(
            dpo.loss,
            dpo::Loss::Sigmoid | dpo::Loss::SigmoidNorm | dpo::Loss::Robust
        );
        if dpo.label_smoothing > 0.0 && !smoothed {
            problems.push(Problem::of_value(
                "dpo.label_smoothing",
                dpo.label_smoothing,
                "0 with this `dpo.loss`",
                "the losses `sigmoid`, `sigmoid_norm` and `robust` know of wrong labels",
            ));
        }
        if let Some(target) = ppo.kl_target
            && ppo.kl_coefficient == 0.0
        {
            problems.push(Problem::of_value(
                "ppo.kl_target",
                target,
                "none where `ppo.kl_coefficient` is 0",
                "a coefficient of 0 keeps no reference to measure the divergence from",
            ));
        }
        if let (Some(layer), None) = (evaluation.encoder_layer, &evaluation.encoder) {
            problems.push(Problem::of_value(
                "evaluation.encoder_layer",
                layer,
                "none without `evaluation.encoder`",
                "name the model whose layer is meant",
            ));
        }
        if evaluation.strategy == Some(evaluation::Strategy::Steps) && evaluation.steps == 0 {
            problems.push(Problem::of_value(
                "evaluation.steps",
                0,
                "1 or more where `evaluation.strategy` is `steps`",
                "say how many steps lie between two evaluations",
            ));
        }
        if evaluation.strategy == Some(evaluation::Strategy::No) && evaluation.steps > 0 {
            problems.push(Problem::of_value(
                "evaluation.steps",
                evaluation.steps,
                "0 where `evaluation.strategy` is `no`",
                "`steps` evaluates in the middle of the training, `no` only before and after it",
            ));
        }
        if model.merge_adapters && model.lora.rank == 0 {
            problems.push(Problem::of_value(
                "model.merge_adapters",
                true,
                "false where `model.lora.rank` is 0",
                "a model that is trained as a whole has no adapters; --lora-rank gives it some",
            ));
        }
        if let Some(name) = &self.experiment_name
            && (name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.'))
        {
            problems.push(Problem::of_value(
                "experiment_name",
                format!("`{name}`"),
                "a plain folder name",
                "`output_dir` takes a path",
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a value that is out of range and trained with all the same.
    fn check(change: impl Fn(&mut Config), expected: Option<&str>) {
        let mut config = Config::default();
        change(&mut config);
        let found = config.validate().err().map(|error| error.to_string());
        match expected {
            None => assert_eq!(found, None),
            Some(expected) => assert_eq!(found.as_deref(), Some(expected)),
        }
    }

    #[test]
    fn ranges() {
        check(|_| {}, None);
        check(
            |config| config.training.learning_rate = f64::NAN,
            Some("`training.learning_rate` is NaN; expected a number above 0"),
        );
        check(
            |config| config.model.lora.dropout = 1.0,
            Some("`model.lora.dropout` is 1; expected 0 or more, below 1"),
        );
        check(
            |config| {
                config.training.method = Some(Method::Grpo);
                config.rollout.samples_per_prompt = 1;
            },
            Some(
                "`rollout.samples_per_prompt` is 1; expected 1 or more; 2 or more for GRPO and RLOO, which compare responses",
            ),
        );
        check(
            |config| config.generation.top_p = 0.0,
            Some("`generation.top_p` is 0; expected above 0, up to 1"),
        );
        check(
            |config| config.model.merge_adapters = true,
            Some(
                "`model.merge_adapters` is true; expected false where `model.lora.rank` is 0\nhint: a model that is trained as a whole has no adapters; --lora-rank gives it some",
            ),
        );
        check(
            |config| {
                config.evaluation.strategy = Some(evaluation::Strategy::No);
                config.evaluation.steps = 5;
            },
            Some(
                "`evaluation.steps` is 5; expected 0 where `evaluation.strategy` is `no`\nhint: `steps` evaluates in the middle of the training, `no` only before and after it",
            ),
        );
        check(
            |config| config.experiment_name = Some("a/b".into()),
            Some(
                "`experiment_name` is `a/b`; expected a plain folder name\nhint: `output_dir` takes a path",
            ),
        );
    }
}
