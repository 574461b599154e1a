//! How far the policy has gone from its reference: estimates from sampled tokens, the penalty
//! they make, and the controller of its weight.

use crate::config::ppo::KlEstimator;

impl KlEstimator {
    /// Estimate for one token, in nats, from its log-probabilities
    /// (Schulman 2020, <http://joschu.net/blog/kl-approx.html>).
    pub fn estimate(self, logprob: f64, ref_logprob: f64) -> f64 {
        let log_ratio = ref_logprob - logprob;
        match self {
            Self::K1 => -log_ratio,
            Self::K3 => log_ratio.exp_m1() - log_ratio,
        }
    }

    /// `∂estimate/∂logprob`.
    pub fn slope(self, logprob: f64, ref_logprob: f64) -> f64 {
        match self {
            Self::K1 => 1.0,
            Self::K3 => -(ref_logprob - logprob).exp_m1(),
        }
    }

    /// Sum of the estimates over a response's tokens.
    pub fn sum(self, logprobs: &[f32], ref_logprobs: &[f32]) -> f64 {
        let pairs = logprobs.iter().zip(ref_logprobs);
        pairs
            .map(|(l, r)| self.estimate(f64::from(*l), f64::from(*r)))
            .sum()
    }
}

/// Reward of each token of a response: `−β·KL_t`, and the response's score on the last token
/// (Ouyang et al. 2022, eq. 2, taken apart by tokens as in Ziegler et al. 2019).
///
/// `ref_logprobs` is as long as `logprobs`, or empty where there is no reference. The score lands
/// on the last response token: later positions would be padding.
pub fn token_rewards(
    logprobs: &[f32],
    ref_logprobs: &[f32],
    estimator: KlEstimator,
    coefficient: f64,
    score: f64,
) -> Vec<f64> {
    let mut rewards = vec![0.0; logprobs.len()];
    for ((reward, l), r) in rewards.iter_mut().zip(logprobs).zip(ref_logprobs) {
        *reward = -coefficient * estimator.estimate(f64::from(*l), f64::from(*r));
    }
    if let Some(last) = rewards.last_mut() {
        *last += score;
    }
    rewards
}

/// Largest relative error that the controller answers (Ziegler et al. 2019, section 2.2).
const ERROR_MAX: f64 = 0.2;

/// β, and where it is steered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlController {
    /// β as it is now.
    pub coefficient: f64,
    /// Divergence of a response to hold, in nats; None: β is fixed.
    pub target: Option<f64>,
    /// Responses over which β changes by its error.
    pub horizon: f64,
}

impl KlController {
    /// Answers a mean divergence `kl` of `responses` responses:
    /// `β ← β (1 + clip(kl/target − 1, ±0.2) · responses/horizon)`.
    pub fn update(&mut self, kl: f64, responses: usize) {
        let Some(target) = self.target else { return };
        let error = (kl / target - 1.0).clamp(-ERROR_MAX, ERROR_MAX);
        self.coefficient *= 1.0 + error * responses as f64 / self.horizon;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a wrong sign, or a divergence where there is none.
    #[test]
    fn equal_models_do_not_diverge() {
        for estimator in [KlEstimator::K1, KlEstimator::K3] {
            assert_eq!(estimator.estimate(-1.5, -1.5), 0.0);
            let slope = |x: f64| {
                (estimator.estimate(x + 1e-6, -2.0) - estimator.estimate(x - 1e-6, -2.0)) / 2e-6
            };
            assert!((slope(-1.0) - estimator.slope(-1.0, -2.0)).abs() < 1e-6);
        }
        assert!(KlEstimator::K3.estimate(-1.0, -3.0) > 0.0);
        assert!(KlEstimator::K3.estimate(-3.0, -1.0) > 0.0);
    }

    // Would catch a score on the wrong token, and a penalty that is paid out.
    #[test]
    fn the_score_lands_on_the_last_token() {
        let rewards = token_rewards(&[-1.0, -2.0], &[-3.0, -2.0], KlEstimator::K1, 0.5, 4.0);
        assert_eq!(rewards, [-1.0, 4.0]);
        assert_eq!(
            token_rewards(&[-1.0], &[], KlEstimator::K1, 0.5, 4.0),
            [4.0]
        );
    }

    // Would catch a controller that steers away from its target. By hand: errors are cut at 0.2.
    #[test]
    fn the_controller_steers_to_its_target() {
        let mut fixed = KlController {
            coefficient: 0.1,
            target: None,
            horizon: 100.0,
        };
        fixed.update(50.0, 10);
        assert_eq!(fixed.coefficient, 0.1);
        let adaptive = KlController {
            target: Some(6.0),
            ..fixed
        };
        for (kl, expected) in [(6.0, 0.1), (60.0, 0.102), (0.0, 0.098), (6.6, 0.101)] {
            let mut controller = adaptive;
            controller.update(kl, 10);
            assert!((controller.coefficient - expected).abs() < 1e-12, "{kl}");
        }
    }
}
