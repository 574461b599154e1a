//! How far a value has come on its way to a target.

/// Part of the target that is reached: 0 for a value of 0 or less, 1 at the
/// target, and at most `cap` beyond it. `target` is above 0.
pub fn reached(value: f64, target: f64, cap: f64) -> f64 {
    (value / target).clamp(0.0, cap)
}

/// Mean of values with their weights; `None` if there are none, or none weighs.
pub fn weighted_mean(terms: &[(f64, f64)]) -> Option<f64> {
    let total: f64 = terms.iter().map(|(_, weight)| weight).sum();
    let sum: f64 = terms.iter().map(|(value, weight)| value * weight).sum();
    (total > 0.0).then(|| sum / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches rewards for what lies beyond a target, and negative ones.
    #[test]
    fn reached_is_capped_at_both_ends() {
        for (value, target, cap, expected) in [
            (0.3, 0.6, 1.0, 0.5),
            (0.6, 0.6, 1.0, 1.0),
            (0.9, 0.6, 1.0, 1.0),
            (0.9, 0.6, 2.0, 1.5),
            (-0.2, 0.6, 1.0, 0.0),
        ] {
            assert!((reached(value, target, cap) - expected).abs() < 1e-15);
        }
    }

    // Catches a mean over metrics that were not computed, and a division by zero.
    #[test]
    fn the_mean_is_over_what_is_there() {
        assert_eq!(weighted_mean(&[(1.0, 1.0), (0.0, 3.0)]), Some(0.25));
        assert_eq!(weighted_mean(&[]), None);
        assert_eq!(weighted_mean(&[(1.0, 0.0)]), None);
    }
}
