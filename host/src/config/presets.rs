//! `--mode`: sets of values that go together.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Config, Method};

/// A predefined configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Optimized for experiments and research
    Research,
    /// Stable settings for production deployment
    Production,
    /// Quick prototyping: the builtin model on embedded tasks, without network or files
    Fast,
}

/// Where the weights of a run's model come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `builtin:…`: initialised from the seed.
    Builtin,
    /// A folder or the hub.
    Pretrained,
}

impl Origin {
    /// By the model's name.
    pub fn of(model: &str) -> Self {
        if model.starts_with(super::model::BUILTIN) {
            Origin::Builtin
        } else {
            Origin::Pretrained
        }
    }
}

impl Mode {
    pub const ALL: [Mode; 3] = [Mode::Research, Mode::Production, Mode::Fast];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Research => "research",
            Mode::Production => "production",
            Mode::Fast => "fast",
        }
    }

    /// Where a run's results go unless it is told otherwise.
    pub fn output_dir(self) -> PathBuf {
        format!("runs/{}", self.name()).into()
    }

    /// The preset over the defaults. What suits a model that is made on the
    /// spot would ruin one that has been trained, so both have their own numbers; and rewards need
    /// larger batches than preferences.
    pub fn config(self, model: Origin, method: Option<Method>) -> Config {
        let mut config = Config {
            output_dir: self.output_dir(),
            ..Config::default()
        };
        match (self, model) {
            // DPO's usual rate for full fine-tuning of small models lies between
            // 5e-7 and 5e-6 (Rafailov et al. 2023 use 1e-6); research explores its upper end.
            (Mode::Research, _) => config.training.epochs = 3,
            (Mode::Production, _) => {
                config.training.learning_rate = 1e-6;
                config.training.batch_size = 8;
                config.training.epochs = 1;
            }
            // Short texts and one epoch: minutes for a model of 100 million parameters.
            (Mode::Fast, Origin::Pretrained) => {
                config.generation.max_new_tokens = 64;
                config.training.max_length = 256;
            }
            (Mode::Fast, Origin::Builtin) => {}
        }
        if model == Origin::Builtin {
            tiny_code(&mut config);
            if method == Some(Method::Sft) {
                tiny_code_alone(&mut config);
            }
            if method.is_some_and(Method::learns_from_rewards) {
                tiny_code_rewards(&mut config);
            }
        }
        config
    }
}

/// What `builtin:tiny-code` needs, chosen on two cores; see `host/docs/fast-mode.md`.
fn tiny_code(config: &mut Config) {
    config.model.base_model_name = super::model::TINY_CODE.into();
    // It begins with the policy after its warm-up.
    config.model.reward_model_name = super::model::TINY_CODE.into();
    config.reward_model.learning_rate = 3e-4;
    config.reward_model.epochs = 3;
    config.generation.max_new_tokens = 56;
    config.generation.batch_size = 64;
    // Pairs should show what the model does, not only what it does best.
    config.generation.temperature = 1.0;
    config.generation.top_k = 0;
    config.generation.top_p = 1.0;
    config.preferences.prompts_max = 240;
    config.training.learning_rate = 1e-4;
    config.training.batch_size = 16;
    config.training.epochs = 2;
    config.training.max_length = 128;
    config.training.warmup_ratio = 0.05;
    config.training.adam_beta2 = 0.99;
    config.warm_up.steps = 400;
    config.warm_up.learning_rate = 3e-3;
    config.warm_up.weight_decay = 0.1;
}

/// Its warm-up as a training with nothing behind it, whose settings are those of any training.
fn tiny_code_alone(config: &mut Config) {
    config.training.learning_rate = config.warm_up.learning_rate;
    config.training.weight_decay = config.warm_up.weight_decay;
    config.training.batch_size = config.warm_up.batch_size;
    config.training.steps = config.warm_up.steps;
    // More than the embedded tasks need for these steps.
    config.training.epochs = 20;
    config.warm_up.steps = 0;
}

/// What it needs to learn from rewards for its own responses: an update of 64 responses is where
/// PPO's gradient is more signal than noise. Chosen; see the deep test of `tests/training`.
fn tiny_code_rewards(config: &mut Config) {
    config.training.batch_size = 32;
    config.training.gradient_accumulation_steps = 2;
    config.training.steps = 120;
    config.training.epochs = 4;
    config.training.ppo_epochs = 2;
    config.rollout.prompts_per_step = 32;
    config.rollout.samples_per_prompt = 4;
    config.ppo.kl_coefficient = 0.01;
    config.ppo.value_coefficient = 0.5;
    // The value model's head begins at zero: it has more to learn than the policy.
    config.ppo.value_learning_rate = Some(5e-4);
}
