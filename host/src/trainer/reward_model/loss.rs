//! Losses of a reward model, by the scores of texts.

use crate::trainer::dpo::loss::{sigmoid, softplus};

/// A loss and its slope.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slope {
    pub loss: f64,
    /// `∂loss/∂score`; of a pair, by the chosen score.
    pub d: f64,
    /// Of a pair, by the rejected score; else 0.
    pub d_rejected: f64,
}

/// `−ln σ(chosen − rejected − margin)`: the chosen response wins with the probability of
/// Bradley & Terry 1952, as in InstructGPT (Ouyang et al. 2022, eq. 1); with a margin that a
/// clear preference must reach, Llama 2's (Touvron et al. 2023, eq. 2).
pub fn bradley_terry(chosen: f64, rejected: f64, margin: f64) -> Slope {
    let lead = chosen - rejected - margin;
    let d = -sigmoid(-lead);
    Slope {
        loss: softplus(-lead),
        d,
        d_rejected: -d,
    }
}

/// `coefficient · (chosen + rejected)²`: rewards of a pair lie around zero (Eisenstein et al.
/// 2023; TRL's `center_rewards_coefficient`).
pub fn centring(chosen: f64, rejected: f64, coefficient: f64) -> Slope {
    let d = 2.0 * coefficient * (chosen + rejected);
    Slope {
        loss: coefficient * (chosen + rejected).powi(2),
        d,
        d_rejected: d,
    }
}

/// `(score − rating)²`, the rating being normalised.
pub fn regression(score: f64, rating: f64) -> Slope {
    Slope {
        loss: (score - rating).powi(2),
        d: 2.0 * (score - rating),
        d_rejected: 0.0,
    }
}

impl std::ops::Add for Slope {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            loss: self.loss + other.loss,
            d: self.d + other.d,
            d_rejected: self.d_rejected + other.d_rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a sign or a factor that the loss has and its slope does not.
    #[test]
    fn slopes_are_those_of_the_losses() {
        type Loss = fn(f64, f64) -> Slope;
        let losses: [Loss; 3] = [
            |c, r| bradley_terry(c, r, 0.3),
            |c, r| centring(c, r, 0.01),
            |c, _| regression(c, 0.7),
        ];
        const STEP: f64 = 1e-5;
        for loss in losses {
            for (c, r) in [(-2.0, 1.0), (0.0, 0.0), (3.0, -0.5)] {
                let slope = |up: Slope, down: Slope| (up.loss - down.loss) / (2.0 * STEP);
                let found = loss(c, r);
                assert!((slope(loss(c + STEP, r), loss(c - STEP, r)) - found.d).abs() < 1e-8);
                let by_rejected = slope(loss(c, r + STEP), loss(c, r - STEP));
                assert!((by_rejected - found.d_rejected).abs() < 1e-8);
            }
        }
        assert!(bradley_terry(-1e6, 1e6, 0.0).loss.is_finite());
    }

    // Would catch a margin that makes a pair easier.
    #[test]
    fn a_margin_raises_the_loss() {
        assert_eq!(bradley_terry(1.0, 1.0, 0.0).loss, 2f64.ln());
        assert!(bradley_terry(1.0, 0.0, 0.5).loss > bradley_terry(1.0, 0.0, 0.0).loss);
    }
}
