//! The frozen model that the policy is held to, and how far the policy has gone from it.

use super::experience::{self, Experience};
use crate::config::ppo::KlEstimator;
use crate::models::{LanguageModel, Model, with_reference};
use crate::rollout::Response;
use crate::rollout::kl::KlController;
use crate::trainer::{Error, doing};

/// The frozen model that the policy is held to.
pub(super) enum Reference {
    /// Nothing is held.
    None,
    /// The policy without its adapters.
    AdaptersOff,
    Copy(Box<LanguageModel>),
}

impl Reference {
    pub fn of(policy: &LanguageModel, kl: &KlController) -> Result<Self, Error> {
        if kl.coefficient == 0.0 {
            return Ok(Self::None);
        }
        if policy.backbone().lora().is_some() {
            return Ok(Self::AdaptersOff);
        }
        let copy = policy.copy().map_err(doing("copying the reference"))?;
        Ok(Self::Copy(Box::new(copy)))
    }

    pub fn logprobs(
        &self,
        policy: &mut LanguageModel,
        batch: &[Experience],
        micro: usize,
    ) -> candle_core::Result<Option<Vec<Vec<f32>>>> {
        match self {
            Self::None => Ok(None),
            Self::AdaptersOff => {
                with_reference(policy, |model| experience::logprobs(model, batch, micro)).map(Some)
            }
            Self::Copy(model) => experience::logprobs(&**model, batch, micro).map(Some),
        }
    }
}

/// By how much each response is likelier under the policy than under the reference, in nats;
/// nothing where the latter is not known.
pub(super) fn divergence(responses: &[Response], references: &[Vec<f32>]) -> Vec<f64> {
    let pairs = responses.iter().zip(references);
    pairs
        .map(|(response, reference)| KlEstimator::K1.sum(&response.logprobs, reference))
        .collect()
}
