//! Policy gradients without a value model: what a response is worth is compared with the other
//! responses to its prompt. GRPO (Shao et al. 2024) scales by their deviation and clips ratios of
//! tokens; RLOO (Ahmadian et al. 2024) takes the mean of the others and the ratio of the whole
//! response.

pub mod loss;

use serde_json::json;

use super::Run;
use super::on_policy::{self, Environment, Experience, Job, Outcome, Ratio, Recipe, Surrogate};
use crate::config::grpo::Aggregation;
use crate::config::ppo::KlEstimator;
use crate::config::{Grpo, Rloo};
use crate::models::LanguageModel;
use crate::rollout::kl::KlController;
use loss::{group_advantages, leave_one_out, normalise};

/// Trains the policy on groups of its own responses, by GRPO.
///
/// # Errors
/// No prompts, too many bad batches in a row, a checkpoint that cannot be read or written, or
/// what the environment reports.
pub fn train<E: Environment>(
    model: &mut LanguageModel,
    job: &Job,
    grpo: &Grpo,
    environment: &mut E,
    run: &mut Run,
) -> Result<Outcome, E::Error> {
    let mut recipe = Recipe {
        name: "grpo",
        settings: json!(grpo),
        passes: grpo.iterations,
        kl: fixed(grpo.kl_coefficient),
        kl_stop: None,
        surrogate: Surrogate {
            range: 1.0 - grpo.clip_range_low..=1.0 + grpo.clip_range_high,
            ratio: Ratio::Token,
            aggregation: grpo.aggregation,
            kl_coefficient: grpo.kl_coefficient,
            entropy_coefficient: 0.0,
        },
        advantages: &|batch, _| {
            let scores = scores(batch, |e| e.score);
            let groups: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
            let advantages = group_advantages(&groups, grpo.scale_advantages);
            spread(batch, advantages.concat());
        },
        critic: None,
    };
    on_policy::train(model, job, &mut recipe, environment, run)
}

/// The same by REINFORCE leave-one-out.
///
/// # Errors
/// As for [`train`].
pub fn train_leave_one_out<E: Environment>(
    model: &mut LanguageModel,
    job: &Job,
    rloo: &Rloo,
    environment: &mut E,
    run: &mut Run,
) -> Result<Outcome, E::Error> {
    let mut recipe = Recipe {
        name: "rloo",
        settings: json!(rloo),
        passes: rloo.iterations,
        kl: fixed(rloo.kl_coefficient),
        kl_stop: None,
        surrogate: Surrogate {
            range: 1.0 - rloo.clip_range..=1.0 + rloo.clip_range,
            ratio: Ratio::Response,
            aggregation: Aggregation::Grpo,
            // The rewards have it.
            kl_coefficient: 0.0,
            entropy_coefficient: 0.0,
        },
        advantages: &|batch, beta| {
            let penalised = |e: &Experience| match e.ref_logprobs.is_empty() {
                true => e.score,
                false => e.score - beta * KlEstimator::K1.sum(&e.logprobs, &e.ref_logprobs),
            };
            let groups = scores(batch, penalised);
            let mut advantages: Vec<f64> = groups.iter().flat_map(|g| leave_one_out(g)).collect();
            if rloo.normalise_advantages {
                normalise(&mut advantages);
            }
            spread(batch, advantages);
        },
        critic: None,
    };
    on_policy::train(model, job, &mut recipe, environment, run)
}

fn fixed(coefficient: f64) -> KlController {
    KlController {
        coefficient,
        target: None,
        horizon: f64::INFINITY,
    }
}

/// What responses are worth, by prompt.
fn scores(batch: &[Experience], worth: impl Fn(&Experience) -> f64) -> Vec<Vec<f64>> {
    let groups = batch.chunk_by(|a, b| a.task == b.task);
    groups.map(|g| g.iter().map(&worth).collect()).collect()
}

/// Every token of a response has the response's advantage.
fn spread(batch: &mut [Experience], advantages: Vec<f64>) {
    for (one, advantage) in batch.iter_mut().zip(advantages) {
        one.advantages = vec![advantage; one.tokens()];
    }
}
