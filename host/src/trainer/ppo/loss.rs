//! The clipped losses of Proximal Policy Optimization, token by token
//! (Schulman et al. 2017, eq. 7, <https://arxiv.org/abs/1707.06347>).

use std::ops::RangeInclusive;

/// A loss and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// The loss.
    pub loss: f64,
    /// Its slope by the log-probability, or by the value.
    pub slope: f64,
    /// Whether the limit decided.
    pub clipped: bool,
}

/// `max(−A·ratio, −A·clip(ratio))` with `ratio = exp(logprob − old_logprob)`.
///
/// `range` is what the ratio is cut to: `1 − ε ..= 1 + ε`. A token whose ratio lies outside and
/// whose advantage would drive it further has slope 0.
pub fn policy(
    logprob: f64,
    old_logprob: f64,
    advantage: f64,
    range: &RangeInclusive<f64>,
) -> Clipped {
    let ratio = (logprob - old_logprob).exp();
    let cut = ratio.clamp(*range.start(), *range.end());
    let (free, limited) = (-advantage * ratio, -advantage * cut);
    let clipped = limited > free;
    Clipped {
        // A NaN must show: `max` would drop it.
        loss: if clipped { limited } else { free },
        slope: if clipped { 0.0 } else { free },
        clipped,
    }
}

/// `½ max((V − R)², (clip(V) − R)²)`, where `clip` holds a value within `range` of what it was
/// when the response was sampled (the value loss of OpenAI's `baselines`, ppo2, and of TRL).
pub fn value(value: f64, old_value: f64, target: f64, range: f64) -> Clipped {
    let cut = value.clamp(old_value - range, old_value + range);
    let (free, limited) = ((value - target).powi(2), (cut - target).powi(2));
    let clipped = limited > free;
    Clipped {
        loss: 0.5 * if clipped { limited } else { free },
        slope: if clipped { 0.0 } else { value - target },
        clipped,
    }
}

/// The reward of a response: cut to ± `clip`, less `missing_eos_penalty` where it was cut off by
/// its length. The penalty is not cut: it says something else than the reward.
pub fn score(reward: f64, ended: bool, missing_eos_penalty: f64, clip: Option<f64>) -> f64 {
    let reward = clip.map_or(reward, |limit| reward.clamp(-limit, limit));
    if ended {
        reward
    } else {
        reward - missing_eos_penalty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a wrong slope on either side of the limits, for either sign of the advantage.
    #[test]
    fn slopes_are_those_of_the_losses() {
        let range = 0.8..=1.2;
        for advantage in [-2.0, 0.5] {
            for logprob in [-1.5, -1.1, -1.0, -0.9, -0.5] {
                let at = |x| policy(x, -1.0, advantage, &range);
                let slope = (at(logprob + 1e-6).loss - at(logprob - 1e-6).loss) / 2e-6;
                assert!((slope - at(logprob).slope).abs() < 1e-6, "{logprob}");
            }
        }
        for target in [-1.0, 0.4, 2.0] {
            for now in [-0.5, 0.1, 0.7] {
                let at = |x| value(x, 0.2, target, 0.2);
                let slope = (at(now + 1e-6).loss - at(now - 1e-6).loss) / 2e-6;
                assert!((slope - at(now).slope).abs() < 1e-6, "{now} {target}");
            }
        }
        assert!(policy(f64::NAN, -1.0, 1.0, &range).loss.is_nan());
        assert!(value(f64::NAN, 0.0, 1.0, 0.2).loss.is_nan());
    }

    // Would catch a penalty for responses that ended, or one that the clipping hides.
    #[test]
    fn scores_are_cut_and_penalised() {
        assert_eq!(score(7.0, true, 1.0, Some(5.0)), 5.0);
        assert_eq!(score(-7.0, false, 1.0, Some(5.0)), -6.0);
        assert_eq!(score(7.0, false, 0.0, None), 7.0);
    }
}
