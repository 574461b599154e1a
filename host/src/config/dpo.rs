//! `[dpo]`: Direct Preference Optimization (Rafailov et al. 2023) and its relatives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a pair's log-probabilities are turned into. TRL's names; formulas with their sources in
/// `trainer/dpo/loss.rs`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Loss {
    /// DPO's: −ln σ of the margin; with label smoothing, cDPO
    #[default]
    Sigmoid,
    /// The same of the margin per token
    SigmoidNorm,
    /// SLiC's hinge on the margin
    Hinge,
    /// IPO on log-probabilities per token, TRL's convention
    Ipo,
    /// IPO on summed log-probabilities, the paper's
    IpoSum,
    /// Unbiased under labels flipped with the probability `dpo.label_smoothing`
    Robust,
    /// SPPO with hard labels
    SppoHard,
    /// Noise-contrastive alignment of pairs
    NcaPair,
    /// Binary classifier, without its running mean
    BcoPair,
    /// APO-zero: the chosen response becomes likelier, the rejected one less likely
    ApoZero,
    /// APO-down: both become less likely, the rejected one more so
    ApoDown,
}

/// Settings of the preference loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dpo {
    /// β of eq. 7: how strongly the policy is held to the reference. Default 0.1, TRL's.
    pub beta: f64,
    /// Default sigmoid.
    pub loss: Loss,
    /// Probability that a pair's label is wrong, in [0, 0.5): for `sigmoid` (cDPO, Mitchell 2023)
    /// and `robust` (Chowdhury et al. 2024). Default 0.
    pub label_smoothing: f64,
    /// Leave the reference out: its log-probabilities count as zero. Default off.
    pub reference_free: bool,
    /// Keep the reference's log-probabilities on disk and take them from there where weights and
    /// tokens are the same. Default on.
    pub cache_reference: bool,
}

impl Default for Dpo {
    fn default() -> Self {
        Self {
            beta: 0.1,
            loss: Loss::Sigmoid,
            label_smoothing: 0.0,
            reference_free: false,
            cache_reference: true,
        }
    }
}
