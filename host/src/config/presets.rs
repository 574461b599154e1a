//! `--mode`: sets of values that go together.

use serde::{Deserialize, Serialize};

use super::Config;

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

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Research => "research",
            Mode::Production => "production",
            Mode::Fast => "fast",
        }
    }

    /// The preset over the defaults.
    pub fn config(self) -> Config {
        let mut config = Config {
            output_dir: format!("runs/{}", self.name()).into(),
            ..Config::default()
        };
        match self {
            // DPO's usual rate for full fine-tuning of small models lies between
            // 5e-7 and 5e-6 (Rafailov et al. 2023 use 1e-6); research explores its upper end.
            Mode::Research => config.training.epochs = 3,
            Mode::Production => {
                config.training.learning_rate = 1e-6;
                config.training.batch_size = 8;
                config.training.epochs = 1;
            }
            // Chosen for `builtin:tiny-code` on two cores; see `host/docs/fast-mode.md`.
            Mode::Fast => {
                config.model.base_model_name = "builtin:tiny-code".into();
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
        }
        config
    }
}
