//! `[reward_model]`: a model that learns from people what a response is worth.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which layer's states meet the human logits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum HumanLogitsLayer {
    /// The states that the head sees
    #[default]
    Last,
    /// The states that go into the last layer
    SecondLast,
}

/// How the reward model is trained and used; what is not here (schedule, AdamW's numbers,
/// `max_length`) is `[training]`'s. The model is `model.reward_model_name`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardModel {
    /// Peak learning rate. Default 2e-5, usual for fine-tuning BERT and RoBERTa.
    pub learning_rate: f64,
    /// Pairs or ratings of an optimizer step. Default 8.
    pub batch_size: usize,
    /// Passes over the feedback; whichever of `epochs` and `steps` ends first. Default 1:
    /// InstructGPT's, whose reward models overfit after it.
    pub epochs: usize,
    /// Optimizer steps at most; 0, the default: `epochs` decides.
    pub steps: usize,
    /// Weight of `(chosen + rejected)²`, which holds the rewards around zero (Eisenstein et al.
    /// 2023; TRL's key). Default 0: off.
    pub center_rewards_coefficient: f64,
    /// A pair implied by two ratings must be apart by this much for each standard deviation
    /// between them (Llama 2, eq. 2). Default 0: no margin.
    pub margin: f64,
    /// Default last.
    pub human_logits_layer: HumanLogitsLayer,
    /// Share of given human logits that training hides, so that it meets what rollouts will: no
    /// human logits. In [0, 1]; default 0.5.
    pub human_logits_dropout: f64,
    /// Weight of the cross-entropy by which human logits are predicted. Default 1.
    pub human_logits_weight: f64,
    /// Let the ranking loss train the prediction of human logits as well, and that prediction the
    /// backbone. Default off.
    pub human_logits_joint: bool,
    /// Share w of human feedback in the reward: `w · human + (1 − w) · automated`, the former
    /// being the reward model's, the latter the weighted metrics, tests and shapers. In [0, 1];
    /// default 0.5.
    pub feedback_weight: f64,
    /// The model's scores are cut to ± this as a part of the reward; unset: they are not.
    pub clip: Option<f64>,
}

impl Default for RewardModel {
    fn default() -> Self {
        Self {
            learning_rate: 2e-5,
            batch_size: 8,
            epochs: 1,
            steps: 0,
            center_rewards_coefficient: 0.0,
            margin: 0.0,
            human_logits_layer: HumanLogitsLayer::Last,
            human_logits_dropout: 0.5,
            human_logits_weight: 1.0,
            human_logits_joint: false,
            feedback_weight: 0.5,
            clip: None,
        }
    }
}
