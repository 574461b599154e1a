//! Losses of Direct Preference Optimization (Rafailov et al. 2023, eq. 7,
//! <https://arxiv.org/abs/2305.18290>) and of its relatives, as TRL 1.16 has them.
//!
//! With `c = log π(chosen) − log π_ref(chosen)`, `r` the same of the rejected response, `m = c − r`
//! the margin and `σ` the logistic function:
//!
//! | loss | formula | source |
//! | --- | --- | --- |
//! | sigmoid | `−(1−ε) ln σ(βm) − ε ln σ(−βm)` | DPO eq. 7; ε: Mitchell 2023, cDPO |
//! | sigmoid_norm | the same of `c/\|c\| − r/\|r\|`, per token | TRL |
//! | hinge | `max(0, 1 − βm)` | Zhao et al. 2023, SLiC-HF |
//! | ipo | `(c/\|c\| − r/\|r\| − 1/2β)²`, per token | TRL |
//! | ipo_sum | `(m − 1/2β)²` | Azar et al. 2023, eq. 17 |
//! | robust | `(−(1−ε) ln σ(βm) + ε ln σ(−βm)) / (1 − 2ε)` | Chowdhury et al. 2024 |
//! | sppo_hard | `(c − 1/2β)² + (r + 1/2β)²` | Wu et al. 2024 |
//! | nca_pair | `−ln σ(βc) − ½ ln σ(−βc) − ½ ln σ(−βr)` | Chen et al. 2024 |
//! | bco_pair | `−ln σ(βc) − ln σ(−βr)` | Jung et al. 2024, δ = 0 |
//! | apo_zero | `1 − σ(βc) + σ(βr)` | D'Oosterlinck et al. 2024 |
//! | apo_down | `σ(βc) + 1 − σ(βm)` | the same |

use crate::config::dpo::{Dpo, Loss};

/// Log-probabilities of a pair's two responses, each the sum over its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairLogprobs {
    pub chosen: f64,
    pub rejected: f64,
}

/// Loss of one pair and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLoss {
    pub loss: f64,
    /// Implicit reward of the chosen response, `β (log π − log π_ref)`.
    pub chosen_reward: f64,
    /// The same for the rejected one.
    pub rejected_reward: f64,
    /// `∂loss/∂log π(chosen)`.
    pub d_chosen: f64,
    /// `∂loss/∂log π(rejected)`.
    pub d_rejected: f64,
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

/// A loss with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    pub loss: Loss,
    /// How strongly the policy is held to the reference, > 0.
    pub beta: f64,
    /// ε, in [0, 0.5); of `sigmoid` and `robust` only.
    pub label_smoothing: f64,
}

impl Objective {
    /// The loss that the settings ask for.
    pub fn of(settings: &Dpo) -> Self {
        Self {
            loss: settings.loss,
            beta: settings.beta,
            label_smoothing: settings.label_smoothing,
        }
    }

    /// Loss of one pair; `tokens` are the lengths of the chosen and the rejected response, 1 or
    /// more.
    pub fn of_pair(
        &self,
        policy: PairLogprobs,
        reference: PairLogprobs,
        tokens: [usize; 2],
    ) -> PairLoss {
        let beta = self.beta;
        let (c, r) = (
            policy.chosen - reference.chosen,
            policy.rejected - reference.rejected,
        );
        let per_token = tokens.map(|count| 1.0 / count.max(1) as f64);
        // Of a loss of the margin, the responses have gradients of one size.
        let of_margin = |(loss, slope): (f64, f64)| (loss, slope, -slope);
        let of_mean_margin = |f: &dyn Fn(f64) -> (f64, f64)| {
            let (loss, slope) = f(c * per_token[0] - r * per_token[1]);
            (loss, slope * per_token[0], -slope * per_token[1])
        };
        let square = |m: f64| (m - 0.5 / beta).powi(2);
        let ipo = |m: f64| (square(m), 2.0 * (m - 0.5 / beta));
        let (loss, d_chosen, d_rejected) = match self.loss {
            Loss::Sigmoid => of_margin(self.smoothed(c - r)),
            Loss::SigmoidNorm => of_mean_margin(&|m| self.smoothed(m)),
            Loss::Hinge => {
                let rest = 1.0 - beta * (c - r);
                of_margin((rest.max(0.0), if rest > 0.0 { -beta } else { 0.0 }))
            }
            Loss::Ipo => of_mean_margin(&ipo),
            Loss::IpoSum => of_margin(ipo(c - r)),
            Loss::Robust => {
                let (epsilon, m) = (self.label_smoothing, beta * (c - r));
                let scale = 1.0 / (1.0 - 2.0 * epsilon);
                of_margin((
                    scale * ((1.0 - epsilon) * softplus(-m) - epsilon * softplus(m)),
                    -scale * beta * ((1.0 - epsilon) * sigmoid(-m) + epsilon * sigmoid(m)),
                ))
            }
            Loss::SppoHard => (
                square(c) + (r + 0.5 / beta).powi(2),
                2.0 * (c - 0.5 / beta),
                2.0 * (r + 0.5 / beta),
            ),
            Loss::NcaPair => {
                let (c, r) = (beta * c, beta * r);
                (
                    softplus(-c) + 0.5 * softplus(c) + 0.5 * softplus(r),
                    beta * (0.5 * sigmoid(c) - sigmoid(-c)),
                    beta * 0.5 * sigmoid(r),
                )
            }
            Loss::BcoPair => {
                let (c, r) = (beta * c, beta * r);
                (
                    softplus(-c) + softplus(r),
                    -beta * sigmoid(-c),
                    beta * sigmoid(r),
                )
            }
            Loss::ApoZero => {
                let (c, r) = (beta * c, beta * r);
                (
                    sigmoid(-c) + sigmoid(r),
                    -beta * sigmoid_slope(c),
                    beta * sigmoid_slope(r),
                )
            }
            Loss::ApoDown => {
                let (c, m) = (beta * c, beta * (c - r));
                (
                    sigmoid(c) + sigmoid(-m),
                    beta * (sigmoid_slope(c) - sigmoid_slope(m)),
                    beta * sigmoid_slope(m),
                )
            }
        };
        PairLoss {
            loss,
            chosen_reward: beta * c,
            rejected_reward: beta * r,
            d_chosen,
            d_rejected,
        }
    }

    /// cDPO's loss of a margin and its slope.
    fn smoothed(&self, margin: f64) -> (f64, f64) {
        let (epsilon, m) = (self.label_smoothing, self.beta * margin);
        (
            (1.0 - epsilon) * softplus(-m) + epsilon * softplus(m),
            self.beta * (epsilon * sigmoid(m) - (1.0 - epsilon) * sigmoid(-m)),
        )
    }
}

/// `ln(1 + eˣ) = −ln σ(−x)`, from the side where the exponential cannot overflow.
pub(crate) fn softplus(x: f64) -> f64 {
    (-x.abs()).exp().ln_1p() + x.max(0.0)
}

/// `σ(x)`; where the exponential overflows, its limit 0.
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `σ'(x)`.
fn sigmoid_slope(x: f64) -> f64 {
    sigmoid(x) * sigmoid(-x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    const REFERENCE: PairLogprobs = PairLogprobs {
        chosen: -20.0,
        rejected: -30.0,
    };

    fn objective(loss: Loss) -> Objective {
        Objective {
            loss,
            beta: 0.1,
            label_smoothing: 0.0,
        }
    }

    fn at(chosen: f64, rejected: f64) -> PairLoss {
        objective(Loss::Sigmoid).of_pair(PairLogprobs { chosen, rejected }, REFERENCE, [5, 7])
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

    // Would catch a wrong sign or factor in the gradient of any loss, with and without label
    // smoothing, and a length that is used of the other response.
    #[test]
    fn gradients_are_the_losses_slopes() {
        const STEP: f64 = 1e-4;
        for loss in Loss::value_variants() {
            for label_smoothing in [0.0, 0.2] {
                let objective = Objective {
                    label_smoothing,
                    ..objective(*loss)
                };
                for (chosen, rejected) in [(-25.0, -31.0), (-20.0, -30.0), (-12.0, -42.5)] {
                    let at = |chosen, rejected| {
                        objective.of_pair(PairLogprobs { chosen, rejected }, REFERENCE, [5, 7])
                    };
                    let slope = |up: PairLoss, down: PairLoss| (up.loss - down.loss) / (2.0 * STEP);
                    let found = at(chosen, rejected);
                    let by_chosen = slope(at(chosen + STEP, rejected), at(chosen - STEP, rejected));
                    let by_rejected =
                        slope(at(chosen, rejected + STEP), at(chosen, rejected - STEP));
                    assert!((by_chosen - found.d_chosen).abs() < 1e-6, "{objective:?}");
                    assert!(
                        (by_rejected - found.d_rejected).abs() < 1e-6,
                        "{objective:?}"
                    );
                }
            }
        }
    }

    // Would catch overflow far from the middle.
    #[test]
    fn far_margins_stay_finite() {
        for loss in Loss::value_variants() {
            for chosen in [-1e6, 1e6] {
                let policy = PairLogprobs {
                    chosen,
                    rejected: -30.0,
                };
                let found = objective(*loss).of_pair(policy, REFERENCE, [5, 7]);
                assert!(
                    found.loss.is_finite() && found.d_chosen.is_finite(),
                    "{loss:?} {found:?}"
                );
            }
        }
        assert_eq!(at(1e6, -30.0).loss, 0.0);
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
