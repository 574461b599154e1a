//! The two terms that every BLEU shares (Papineni et al. 2002,
//! <https://aclanthology.org/P02-1040>), rounded as nltk rounds them.

use crate::exact_sum;

/// The reference length nearest to the response's, the shorter of two equally near.
///
/// `None` without references.
#[must_use]
pub fn closest_reference_length(
    references: impl IntoIterator<Item = usize>,
    response: usize,
) -> Option<usize> {
    references
        .into_iter()
        .min_by_key(|&length| (length.abs_diff(response), length))
}

/// `BP = 1` if `c > r`, else `exp(1 − r/c)`; 0 for an empty response.
///
/// `c` is the length of the response, `r` of the reference, in tokens, or their
/// sums over a corpus.
#[must_use]
pub fn brevity_penalty(reference: f64, response: f64) -> f64 {
    if response > reference {
        1.0
    } else if response == 0.0 {
        0.0
    } else {
        (1.0 - reference / response).exp()
    }
}

/// `exp(Σ w_n ln p_n)`, the sum exactly rounded; precisions of 0 or less are left out.
#[must_use]
pub fn geometric_mean(weights: &[f64], precisions: &[f64]) -> f64 {
    let terms = weights.iter().zip(precisions);
    exact_sum(
        terms
            .filter(|&(_, &precision)| precision > 0.0)
            .map(|(weight, precision)| weight * precision.ln()),
    )
    .exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a tie going to the longer reference.
    #[test]
    fn nearest_length_prefers_the_shorter() {
        assert_eq!(closest_reference_length([13, 11], 12), Some(11));
        assert_eq!(closest_reference_length([17, 13, 2], 12), Some(13));
        assert_eq!(closest_reference_length([], 12), None);
    }

    #[test]
    fn short_responses_are_penalised() {
        assert_eq!(brevity_penalty(28.0, 28.0), 1.0);
        assert_eq!(brevity_penalty(3.0, 0.0), 0.0);
        // The documented example of nltk's `brevity_penalty`: lengths 12 and 28.
        assert!((brevity_penalty(28.0, 12.0) - 0.263_597_138_115_726_7).abs() < 1e-15);
    }
}
