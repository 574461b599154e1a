//! The sigmoid loss of Direct Preference Optimization
//! (Rafailov et al. 2023, eq. 7, <https://arxiv.org/abs/2305.18290>).

/// Log-probabilities of a pair's two responses, each the sum over its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairLogprobs {
    pub chosen: f64,
    pub rejected: f64,
}

/// Loss of one pair and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLoss {
    /// `−ln σ(margin)`.
    pub loss: f64,
    /// Implicit reward of the chosen response, `β (log π − log π_ref)`.
    pub chosen_reward: f64,
    /// The same for the rejected one.
    pub rejected_reward: f64,
    /// `∂loss/∂log π(chosen)`; that of the rejected response is its negative.
    pub d_chosen: f64,
}

impl PairLoss {
    /// Chosen less rejected reward.
    pub fn margin(&self) -> f64 {
        self.chosen_reward - self.rejected_reward
    }

    /// 1 where the chosen response has the higher reward, one half where both are equal: a
    /// policy that is still the reference has learnt nothing, and scores one half.
    pub fn accuracy(&self) -> f64 {
        match self.margin() {
            m if m > 0.0 => 1.0,
            0.0 => 0.5,
            _ => 0.0,
        }
    }
}

/// `−ln σ(β ((log π_c − log π_r) − (log ref_c − log ref_r)))`.
///
/// `beta` > 0 is how strongly the policy is held to the reference.
pub fn sigmoid(policy: PairLogprobs, reference: PairLogprobs, beta: f64) -> PairLoss {
    let chosen_reward = beta * (policy.chosen - reference.chosen);
    let rejected_reward = beta * (policy.rejected - reference.rejected);
    let margin = chosen_reward - rejected_reward;
    PairLoss {
        // ln(1 + e^−m), from the side where the exponential cannot overflow.
        loss: (-margin.abs()).exp().ln_1p() + (-margin).max(0.0),
        chosen_reward,
        rejected_reward,
        // −σ(−m)
        d_chosen: -beta / (1.0 + margin.exp()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(chosen: f64, rejected: f64) -> PairLoss {
        sigmoid(
            PairLogprobs { chosen, rejected },
            PairLogprobs {
                chosen: -20.0,
                rejected: -30.0,
            },
            0.1,
        )
    }

    // Would catch a swapped response or a lost β. By hand: margin 0.1 (5 − −10) = 1.5.
    #[test]
    fn the_loss_is_the_formula() {
        let loss = at(-15.0, -40.0);
        assert!((loss.margin() - 1.5).abs() < 1e-12);
        assert!((loss.loss - (1.0 + (-1.5f64).exp()).ln()).abs() < 1e-12);
        assert_eq!(at(-20.0, -30.0).loss, 2f64.ln());
        assert_eq!(
            (
                at(-20.0, -30.0).accuracy(),
                loss.accuracy(),
                at(-21.0, -30.0).accuracy()
            ),
            (0.5, 1.0, 0.0)
        );
    }

    // Would catch a wrong sign of the gradient; and overflow far from the middle.
    #[test]
    fn the_gradient_is_the_loss_slope() {
        for chosen in [-500.0, -25.0, -20.0, -10.0, 300.0] {
            let slope = (at(chosen + 1e-4, -30.0).loss - at(chosen - 1e-4, -30.0).loss) / 2e-4;
            assert!(
                (slope - at(chosen, -30.0).d_chosen).abs() < 1e-8,
                "{chosen}"
            );
        }
        assert!(at(-1e6, -30.0).loss.is_finite() && at(1e6, -30.0).loss == 0.0);
    }

    // Would catch a loss that rewards a smaller margin.
    #[test]
    fn the_loss_falls_as_the_margin_grows() {
        let losses: Vec<f64> = (-10..=10)
            .map(|m| at(-20.0 + f64::from(m), -30.0).loss)
            .collect();
        assert!(losses.windows(2).all(|w| w[1] < w[0]));
    }
}
