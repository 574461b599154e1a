//! Proximal Policy Optimization: a value model says what was to be expected of each token, and
//! clipped ratios keep an update near the policy that sampled
//! (Schulman et al. 2017; Ouyang et al. 2022 for language models).
//!
//! The value model is a second network that begins as a copy of the policy, with a head at zero,
//! and is trained beside it with its own optimizer; or such a head on the policy's own states.

pub mod gae;
pub mod loss;

use serde_json::json;

use super::on_policy::{self, Environment, Experience, Job, Outcome, Ratio, Recipe, Surrogate};
use super::{Error, Run};
use crate::config::Ppo;
use crate::config::grpo::Aggregation;
use crate::models::LanguageModel;
use crate::rollout::kl::{KlController, token_rewards};
use gae::{Discount, Mean, gae, whiten};

/// Trains the policy on its own responses; `training.ppo_epochs` passes over each batch.
///
/// # Errors
/// No prompts, too many bad batches in a row, a checkpoint that cannot be read or written, or
/// what the environment reports.
pub fn train<E: Environment>(
    model: &mut LanguageModel,
    job: &Job,
    ppo: &Ppo,
    environment: &mut E,
    run: &mut Run,
) -> Result<Outcome, E::Error>
where
    E::Error: From<Error>,
{
    let mut recipe = Recipe {
        name: "ppo",
        settings: json!(ppo),
        passes: job.training.ppo_epochs,
        kl: KlController {
            coefficient: ppo.kl_coefficient,
            target: ppo.kl_target,
            horizon: ppo.kl_horizon,
        },
        kl_stop: ppo.kl_stop,
        surrogate: Surrogate {
            range: 1.0 - ppo.clip_range..=1.0 + ppo.clip_range,
            ratio: Ratio::Token,
            aggregation: Aggregation::Dapo,
            // The rewards have it.
            kl_coefficient: 0.0,
            entropy_coefficient: ppo.entropy_coefficient,
        },
        advantages: &|batch, beta| advantages(batch, ppo, beta),
        critic: Some(ppo),
    };
    on_policy::train(model, job, &mut recipe, environment, run)
}

/// Rewards by tokens, then advantages and returns from them.
fn advantages(batch: &mut [Experience], ppo: &Ppo, beta: f64) {
    let mut rewards: Vec<Vec<f64>> = batch
        .iter()
        .map(|e| {
            let estimator = ppo.kl_estimator;
            let at_end = e.score - e.token_scores.iter().sum::<f64>();
            let mut rewards = token_rewards(&e.logprobs, &e.ref_logprobs, estimator, beta, at_end);
            for (reward, score) in rewards.iter_mut().zip(&e.token_scores) {
                *reward += score;
            }
            rewards
        })
        .collect();
    if ppo.whiten_rewards {
        whiten(rewards.iter_mut().map(Vec::as_mut_slice), Mean::Keep);
    }
    let discount = Discount {
        gamma: ppo.gamma,
        lambda: ppo.lambda,
    };
    for (one, rewards) in batch.iter_mut().zip(&rewards) {
        one.advantages = gae(rewards, &one.values, discount);
        let pairs = one.advantages.iter().zip(&one.values);
        one.returns = pairs.map(|(a, v)| a + f64::from(*v)).collect();
    }
    if ppo.whiten_advantages {
        let rows = batch.iter_mut().map(|e| e.advantages.as_mut_slice());
        whiten(rows, Mean::Shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{FinishReason, Response};

    // Would catch scores of tokens that are counted twice, or given at the end like the rest.
    #[test]
    fn scores_of_tokens_are_given_where_they_belong() {
        let response = Response {
            prompt: 0,
            sample: 0,
            ids: vec![1, 2, 3],
            logprobs: vec![-1.0; 3],
            sampling_logprobs: vec![-1.0; 3],
            finish: FinishReason::Eos,
        };
        let settings = Ppo {
            gamma: 1.0,
            lambda: 1.0,
            whiten_rewards: false,
            whiten_advantages: false,
            ..Ppo::default()
        };
        let returns = |token_scores: &[f64]| {
            let mut one = Experience::new(0, &[7], &response, 2.0);
            one.values = vec![0.0; 3];
            one.token_scores = token_scores.to_vec();
            let mut batch = [one];
            advantages(&mut batch, &settings, 0.0);
            batch[0].returns.clone()
        };
        assert_eq!(returns(&[]), [2.0, 2.0, 2.0]);
        assert_eq!(returns(&[0.5, -1.0, 0.25]), [2.0, 1.5, 2.5]);
    }
}
