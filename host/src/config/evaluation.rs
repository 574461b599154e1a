//! `[evaluation]`: metrics on held-out tasks, when, and what they should reach.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When the policy is judged in the middle of its training. transformers' `eval_strategy`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Only before and after it
    No,
    /// Each `evaluation.steps` steps
    Steps,
    /// At the end of each epoch
    Epoch,
}

/// Settings of the evaluation. Targets are the Python project's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Metrics computed besides those given by `--plugin`: names of shipped components.
    pub metrics: Vec<String>,
    /// Held-out tasks at most; 0: all. Default 0.
    pub tasks_max: usize,
    /// When the policy is judged in the middle of its training, by all metrics on the held-out
    /// tasks and pairs. Default none: each `steps` steps where that is set, else by epoch, as in
    /// the seed's plots.
    pub strategy: Option<Strategy>,
    /// Steps between two evaluations; 0: not by steps. Default 0.
    pub steps: usize,
    /// Model whose token embeddings metrics such as BERTScore compare, a BERT or a RoBERTa: a
    /// Hugging Face folder or a hub name. Default none: such metrics are not computed.
    pub encoder: Option<String>,
    /// Layer whose states the embeddings are, counted as transformers' `hidden_states`. Default:
    /// the one that bert-score 0.3.13 takes of a model of this name, or else the last.
    pub encoder_layer: Option<usize>,
    /// Resamples behind each 95 % interval. Default 1000.
    pub bootstrap_samples: usize,
    /// Semantic similarity. Default 0.7.
    pub target_bertscore: f64,
    /// Default 0.6.
    pub target_codebleu: f64,
    /// Default 0.4.
    pub target_bleu: f64,
    /// Default 0.5.
    pub target_rouge: f64,
    /// Default 0.3.
    pub target_ruby: f64,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            metrics: vec!["bleu".into(), "codebleu".into()],
            tasks_max: 0,
            strategy: None,
            steps: 0,
            encoder: None,
            encoder_layer: None,
            bootstrap_samples: 1000,
            target_bertscore: 0.7,
            target_codebleu: 0.6,
            target_bleu: 0.4,
            target_rouge: 0.5,
            target_ruby: 0.3,
        }
    }
}

impl Evaluation {
    /// Steps between two evaluations in the middle of a training whose epochs have
    /// `steps_per_epoch` steps; none: there are none.
    pub fn every(&self, steps_per_epoch: u64) -> Option<u64> {
        let strategy = self.strategy.unwrap_or(match self.steps {
            0 => Strategy::Epoch,
            _ => Strategy::Steps,
        });
        let every = match strategy {
            Strategy::No => 0,
            Strategy::Steps => self.steps as u64,
            Strategy::Epoch => steps_per_epoch,
        };
        (every > 0).then_some(every)
    }

    /// Each metric with a target, in the order users know them.
    pub fn targets(&self) -> [(&'static str, f64); 5] {
        [
            ("bertscore", self.target_bertscore),
            ("codebleu", self.target_codebleu),
            ("bleu", self.target_bleu),
            ("rouge", self.target_rouge),
            ("ruby", self.target_ruby),
        ]
    }
}
