//! Advantages from the other responses to a prompt, and the losses built on them.

use std::ops::RangeInclusive;

use crate::config::grpo::{AdvantageScale, Aggregation};
use crate::config::ppo::KlEstimator;
use crate::trainer::ppo::loss::{Clipped, policy};

/// Added to a deviation before division: TRL's.
const SCALE_EPSILON: f64 = 1e-4;

/// `(r − mean)/(deviation + 1e-4)` within each group of responses to one prompt
/// (Shao et al. 2024, section 4.1.2, <https://arxiv.org/abs/2402.03300>).
///
/// The deviation is the unbiased one over the group or over all groups; a group of one has
/// advantage 0.
pub fn group_advantages(groups: &[&[f64]], scale: AdvantageScale) -> Vec<Vec<f64>> {
    let all: Vec<f64> = groups.concat();
    let batch = deviation(&all);
    groups
        .iter()
        .map(|rewards| {
            let mean = mean(rewards);
            let divisor = match scale {
                AdvantageScale::Group => deviation(rewards) + SCALE_EPSILON,
                AdvantageScale::Batch => batch + SCALE_EPSILON,
                AdvantageScale::None => 1.0,
            };
            rewards.iter().map(|r| (r - mean) / divisor).collect()
        })
        .collect()
}

/// A reward less the mean of the *other* rewards of its group
/// (Ahmadian et al. 2024, section 2.2, <https://arxiv.org/abs/2402.14740>); 0 in a group of one.
pub fn leave_one_out(rewards: &[f64]) -> Vec<f64> {
    let (sum, others) = (rewards.iter().sum::<f64>(), rewards.len() as f64 - 1.0);
    let baseline = |r: f64| {
        if others > 0.0 { (sum - r) / others } else { r }
    };
    rewards.iter().map(|r| r - baseline(*r)).collect()
}

/// `(x − mean)/(deviation + 1e-4)` over all: TRL's `normalize_advantages`.
pub fn normalise(advantages: &mut [f64]) {
    let (mean, divisor) = (mean(advantages), deviation(advantages) + SCALE_EPSILON);
    for a in advantages {
        *a = (*a - mean) / divisor;
    }
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len().max(1) as f64
}

/// The unbiased one; 0 for fewer than two numbers.
pub fn deviation(x: &[f64]) -> f64 {
    if x.len() < 2 {
        return 0.0;
    }
    let mean = mean(x);
    (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (x.len() - 1) as f64).sqrt()
}

/// Loss of one token: the clipped policy loss, and `β` times k3 where there is a reference.
pub fn token(
    logprob: f64,
    old_logprob: f64,
    reference: Option<(f64, f64)>,
    advantage: f64,
    range: &RangeInclusive<f64>,
) -> Clipped {
    let mut loss = policy(logprob, old_logprob, advantage, range);
    if let Some((ref_logprob, beta)) = reference {
        loss.loss += beta * KlEstimator::K3.estimate(logprob, ref_logprob);
        loss.slope += beta * KlEstimator::K3.slope(logprob, ref_logprob);
    }
    loss
}

impl Aggregation {
    /// Weight of each token of a response of `length` tokens, in an update of `responses`
    /// responses with `tokens` tokens in all, of which none has more than `length_max`.
    pub fn weight(self, length: usize, responses: usize, tokens: usize, length_max: usize) -> f64 {
        let divisor = match self {
            Self::Grpo => length * responses,
            Self::Dapo => tokens,
            Self::DrGrpo => responses * length_max,
        };
        1.0 / divisor.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a baseline that contains the response itself. By hand.
    #[test]
    fn one_is_left_out() {
        assert_eq!(leave_one_out(&[1.0, 0.0, 0.5]), [0.75, -0.75, 0.0]);
        assert_eq!(leave_one_out(&[3.0]), [0.0]);
        // TRL's form of the same: N/(N − 1) · (r − mean).
        let rewards = [0.3, -1.2, 2.0, 0.1];
        let mean = mean(&rewards);
        for (a, r) in leave_one_out(&rewards).iter().zip(rewards) {
            assert!((a - 4.0 / 3.0 * (r - mean)).abs() < 1e-12);
        }
    }

    // Would catch equal rewards that teach something, or a division by zero.
    #[test]
    fn equal_rewards_teach_nothing() {
        for scale in [
            AdvantageScale::Group,
            AdvantageScale::Batch,
            AdvantageScale::None,
        ] {
            let advantages = group_advantages(&[&[1.0, 1.0], &[2.0]], scale);
            assert_eq!(advantages, [vec![0.0, 0.0], vec![0.0]]);
        }
    }
}
