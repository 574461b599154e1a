//! The loss of an update over sampled responses, as all policy-gradient methods share it.

use std::ops::RangeInclusive;

use super::experience::Experience;
use crate::config::grpo::Aggregation;
use crate::trainer::grpo::loss::token;
use crate::trainer::ppo::loss::{Clipped, policy};

/// Whose probabilities are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ratio {
    /// Each token's.
    Token,
    /// The whole response's; its advantage is that of its first token.
    Response,
}

/// What is minimised.
#[derive(Clone, Debug, PartialEq)]
pub struct Surrogate {
    /// What a ratio is cut to.
    pub range: RangeInclusive<f64>,
    pub ratio: Ratio,
    pub aggregation: Aggregation,
    /// Weight of the divergence from the reference in the loss itself; 0 where rewards have it.
    pub kl_coefficient: f64,
    /// What the loss falls by for each nat of entropy a token has in the mean.
    pub entropy_coefficient: f64,
}

/// An update's size: losses are means over all of it, so that micro-batches add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub responses: usize,
    pub tokens: usize,
    /// Tokens that a response can have.
    pub length_max: usize,
}

/// Means over an update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateStats {
    pub loss: f64,
    /// ½E[(log ratio)²] by tokens.
    pub approx_kl: f64,
    /// Shares of tokens (or responses) whose ratio was cut below and above.
    pub clipped_low: f64,
    pub clipped_high: f64,
    /// Mean ratio of probabilities.
    pub ratio: f64,
    /// Mean of −logprob: the entropy as the sampled tokens show it, in nats a token; the exact one
    /// where it is a part of the loss.
    pub entropy: f64,
}

impl UpdateStats {
    pub(super) fn add(&mut self, other: &Self, weight: f64) {
        self.loss += other.loss * weight;
        self.approx_kl += other.approx_kl * weight;
        self.clipped_low += other.clipped_low * weight;
        self.clipped_high += other.clipped_high * weight;
        self.ratio += other.ratio * weight;
        self.entropy += other.entropy * weight;
    }
}

impl Surrogate {
    /// `∂loss/∂entropy` of `targets` tokens; nothing where there is no such term.
    pub(super) fn entropy_slopes(&self, targets: usize, size: Size) -> Vec<f32> {
        match self.entropy_coefficient {
            0.0 => Vec::new(),
            c => vec![(-c / size.tokens.max(1) as f64) as f32; targets],
        }
    }

    /// Adds the entropies' part of an update's loss to its numbers.
    pub(super) fn add_entropies(&self, part: f64, stats: &mut UpdateStats) {
        if self.entropy_coefficient != 0.0 {
            stats.loss += part;
            stats.entropy = -part / self.entropy_coefficient;
        }
    }

    /// `∂loss/∂logprob` of a response's tokens; adds its share to `stats`.
    pub(super) fn slopes(
        &self,
        response: &Experience,
        logprobs: &[f32],
        size: Size,
        stats: &mut UpdateStats,
    ) -> Vec<f32> {
        let per_token = 1.0 / size.tokens.max(1) as f64;
        for (new, old) in logprobs.iter().zip(&response.logprobs) {
            let log_ratio = f64::from(*new) - f64::from(*old);
            stats.approx_kl += 0.5 * log_ratio * log_ratio * per_token;
            stats.ratio += log_ratio.exp() * per_token;
            stats.entropy -= f64::from(*new) * per_token;
        }
        match self.ratio {
            Ratio::Token => self.token_slopes(response, logprobs, size, stats),
            Ratio::Response => {
                let sum = |x: &[f32]| x.iter().map(|x| f64::from(*x)).sum();
                let advantage = response.advantages.first().copied().unwrap_or(0.0);
                let old = sum(&response.logprobs);
                let loss = policy(sum(logprobs), old, advantage, &self.range);
                let weight = 1.0 / size.responses.max(1) as f64;
                stats.count(&loss, advantage, weight, weight);
                vec![(loss.slope * weight) as f32; logprobs.len()]
            }
        }
    }

    fn token_slopes(
        &self,
        response: &Experience,
        logprobs: &[f32],
        size: Size,
        stats: &mut UpdateStats,
    ) -> Vec<f32> {
        let Size {
            responses,
            tokens,
            length_max,
        } = size;
        let weight = self
            .aggregation
            .weight(logprobs.len(), responses, tokens, length_max);
        let share = 1.0 / tokens.max(1) as f64;
        (0..logprobs.len())
            .map(|t| {
                let reference = response.ref_logprobs.get(t);
                let reference = reference
                    .filter(|_| self.kl_coefficient > 0.0)
                    .map(|r| (f64::from(*r), self.kl_coefficient));
                let advantage = response.advantages[t];
                let (new, old) = (f64::from(logprobs[t]), f64::from(response.logprobs[t]));
                let loss = token(new, old, reference, advantage, &self.range);
                stats.count(&loss, advantage, weight, share);
                (loss.slope * weight) as f32
            })
            .collect()
    }
}

impl UpdateStats {
    fn count(&mut self, loss: &Clipped, advantage: f64, weight: f64, share: f64) {
        self.loss += loss.loss * weight;
        if loss.clipped && advantage < 0.0 {
            self.clipped_low += share;
        } else if loss.clipped {
            self.clipped_high += share;
        }
    }
}
