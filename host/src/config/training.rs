//! `[training]`: what every trainer shares. The seed's section of that name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate moves after the warm-up steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays at the peak.
    Constant,
    /// Falls linearly to zero at the last step.
    Linear,
    /// Falls along half a cosine to zero at the last step.
    Cosine,
}

/// How the policy is trained.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Proximal Policy Optimization
    Ppo,
    /// Direct Preference Optimization
    Dpo,
    /// Group Relative Policy Optimization
    Grpo,
    /// REINFORCE leave-one-out
    Rloo,
    /// Supervised training on demonstrations alone
    Sft,
}

impl Method {
    /// Whether the policy learns from rewards for its own responses.
    pub fn learns_from_rewards(self) -> bool {
        matches!(self, Method::Ppo | Method::Grpo | Method::Rloo)
    }

    /// As flags and results have it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Ppo => "ppo",
            Method::Dpo => "dpo",
            Method::Grpo => "grpo",
            Method::Rloo => "rloo",
            Method::Sft => "sft",
        }
    }
}

/// Settings of the optimizer and the loop around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Unset: DPO where the data are preferences and no reward is configured, else PPO.
    pub method: Option<Method>,
    /// Peak learning rate. Default 5e-6, the seed's.
    pub learning_rate: f64,
    /// Examples (for DPO: pairs; for PPO, GRPO and RLOO: responses) of a micro-batch. Default 4,
    /// the seed's.
    pub batch_size: usize,
    /// Micro-batches of an optimizer step, which takes `batch_size` times as many examples. Default 1.
    pub gradient_accumulation_steps: usize,
    /// Passes over the training data; whichever of `epochs` and `steps` ends first.
    pub epochs: usize,
    /// Optimizer steps at most; for PPO, GRPO and RLOO batches of responses, each with all the
    /// updates made from it. 0 means that `epochs` decides.
    pub steps: usize,
    /// Steps of linear warm-up, as a fraction of all steps, in [0, 1). Default 0.1.
    pub warmup_ratio: f64,
    /// Shape of the decay. Default cosine.
    pub schedule: Schedule,
    /// Largest global norm of the gradient; 0 switches clipping off. Default 1.0.
    pub max_grad_norm: f64,
    /// Decoupled weight decay of AdamW (Loshchilov & Hutter 2019). Default 0.
    pub weight_decay: f64,
    /// AdamW's β₁ and β₂. Defaults 0.9 and 0.999, torch's.
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    /// AdamW's ε. Default 1e-8, torch's.
    pub adam_epsilon: f64,
    /// Longest prompt plus response in tokens; longer prompts lose their beginning. Default 512.
    pub max_length: usize,
    /// Write a checkpoint each so many steps; 0: only at the end. Default 500, transformers'.
    pub save_steps: usize,
    /// Checkpoints that stay at most: the oldest are removed, but never the newest and the best.
    /// Default none: all stay, as in transformers.
    pub save_total_limit: Option<usize>,
    /// What decides which checkpoint is the best: `loss`, `rewards/accuracies` or
    /// `rewards/margins` of held-out pairs (DPO), a metric of the run on its held-out tasks, else
    /// a tag of `metrics.jsonl`, as a mean over the steps since the last checkpoint. Default none;
    /// `loss` where `load_best_model_at_end` is set.
    pub metric_for_best_model: Option<String>,
    /// Whether more of it is better. Default: unless its name ends with `loss`, as in transformers.
    pub greater_is_better: Option<bool>,
    /// End the training with the weights of the best checkpoint. Default false: with the last.
    pub load_best_model_at_end: bool,
    /// Passes over each batch of rollouts in PPO. The seed's key; used by PPO only.
    pub ppo_epochs: usize,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            method: None,
            learning_rate: 5e-6,
            batch_size: 4,
            gradient_accumulation_steps: 1,
            epochs: 1,
            steps: 0,
            warmup_ratio: 0.1,
            schedule: Schedule::Cosine,
            max_grad_norm: 1.0,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_length: 512,
            save_steps: 500,
            save_total_limit: None,
            metric_for_best_model: None,
            greater_is_better: None,
            load_best_model_at_end: false,
            ppo_epochs: 4,
        }
    }
}
