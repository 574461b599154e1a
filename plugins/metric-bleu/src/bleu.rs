//! BLEU as nltk 3.10.4 computes it (`nltk.translate.bleu_score`).
//!
//! `BLEU = BP · exp(Σ w_n ln p_n)` (Papineni et al. 2002,
//! <https://aclanthology.org/P02-1040>), with `p_n` the clipped precision of
//! n-grams of whitespace-separated tokens, smoothed as Chen and Cherry 2014
//! (<https://aclanthology.org/W14-3346>) number the methods.

use rlhf_text::{
    Clipped, brevity_penalty, closest_reference_length, geometric_mean, ngram_total, words,
};

/// What happens to an order without a single match. Names are nltk's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Smoothing {
    /// The smallest positive double: the score is all but 0.
    Method0,
    /// 0.1 matches.
    #[default]
    Method1,
    /// One more match and one more n-gram, for every order but the first.
    Method2,
    /// `1 / (2^k · total)` for the k-th such order.
    Method3,
    /// `ln(length) / (5 · 2^k)` matches for the k-th such order.
    Method4,
}

/// nltk's `epsilon`, the matches of method 1.
const METHOD1_MATCHES: f64 = 0.1;

/// nltk's `k`, the divisor of method 4.
const METHOD4_DIVISOR: f64 = 5.0;

/// Clipped matches and totals per order, and lengths in tokens. They add over samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    /// Length of the response.
    pub response: f64,
    /// Length of the nearest reference.
    pub reference: f64,
    /// Clipped matches of n-grams, n from 1.
    pub matches: Vec<f64>,
    /// N-grams in the response.
    pub totals: Vec<f64>,
}

impl Counts {
    /// Whitespace-separated response and references compared. `None` without references.
    #[must_use]
    pub fn new<R: AsRef<str>>(response: &str, references: &[R], order_max: usize) -> Option<Self> {
        let references = references.iter().map(|reference| words(reference.as_ref()));
        Self::of_tokens(&words(response), &references.collect::<Vec<_>>(), order_max)
    }

    /// The same of tokens.
    #[must_use]
    pub fn of_tokens(
        response: &[&str],
        references: &[Vec<&str>],
        order_max: usize,
    ) -> Option<Self> {
        let lengths = references.iter().map(Vec::len);
        let reference = closest_reference_length(lengths, response.len())?;
        let clipped = Clipped::new(references, response, order_max);
        let matches = clipped.matches().iter();
        let totals = (1..=order_max).map(|n| ngram_total(response.len(), n));
        Some(Self {
            response: response.len() as f64,
            reference: reference as f64,
            matches: matches.map(|&matches| matches as f64).collect(),
            totals: totals.map(|total| total as f64).collect(),
        })
    }

    /// With totals of at least 1, as nltk has them for each sample of a corpus.
    #[must_use]
    pub fn with_totals_of_one(mut self) -> Self {
        for total in &mut self.totals {
            *total = total.max(1.0);
        }
        self
    }

    /// Lengths, matches, totals: the statistics of a sample, `2 + 2N` numbers.
    #[must_use]
    pub fn to_statistics(&self) -> Vec<f64> {
        let mut statistics = Vec::with_capacity(2 + 2 * self.matches.len());
        statistics.extend([self.response, self.reference]);
        statistics.extend(&self.matches);
        statistics.extend(&self.totals);
        statistics
    }

    /// The reverse of [`to_statistics`](Self::to_statistics).
    #[must_use]
    pub fn from_statistics(statistics: &[f64]) -> Option<Self> {
        let (&[response, reference], counts) = statistics.split_first_chunk()?;
        let (matches, totals) = counts.split_at_checked(counts.len() / 2)?;
        (matches.len() == totals.len()).then(|| Self {
            response,
            reference,
            matches: matches.to_vec(),
            totals: totals.to_vec(),
        })
    }
}

/// BP, 1 for a response longer than its reference.
#[must_use]
pub fn penalty(counts: &Counts) -> f64 {
    brevity_penalty(counts.reference, counts.response)
}

/// `p_n`, smoothed.
#[must_use]
pub fn precisions(counts: &Counts, smoothing: Smoothing) -> Vec<f64> {
    let mut unmatched = 0;
    let orders = counts.matches.iter().zip(&counts.totals).enumerate();
    orders
        .map(|(i, (&matches, &total))| match smoothing {
            Smoothing::Method2 if i > 0 => (matches + 1.0) / (total + 1.0),
            _ if matches > 0.0 => matches / total,
            Smoothing::Method0 => f64::MIN_POSITIVE,
            Smoothing::Method1 => METHOD1_MATCHES / total,
            Smoothing::Method2 => 0.0,
            Smoothing::Method3 => {
                unmatched += 1;
                1.0 / (2f64.powi(unmatched) * total)
            }
            // The logarithm of a length of 1 is 0: nltk leaves such a response alone.
            Smoothing::Method4 if counts.response > 1.0 => {
                unmatched += 1;
                let matches = 1.0 / (2f64.powi(unmatched) * METHOD4_DIVISOR / counts.response.ln());
                matches / total
            }
            Smoothing::Method4 => 0.0,
        })
        .collect()
}

/// The score, 0..1, and 0 without a matching token. One weight and one of [`precisions`] per order.
#[must_use]
pub fn score(counts: &Counts, weights: &[f64], precisions: &[f64]) -> f64 {
    if counts.matches.first().is_none_or(|&matches| matches == 0.0) {
        return 0.0;
    }
    penalty(counts) * geometric_mean(weights, precisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(response: &str, references: &[&str], smoothing: Smoothing, expected: f64) {
        let counts = Counts::new(response, references, 4)
            .unwrap()
            .with_totals_of_one();
        let score = score(&counts, &[0.25; 4], &precisions(&counts, smoothing));
        assert!(
            (score - expected).abs() < 1e-15,
            "{response:?}: {score}, expected {expected}"
        );
        let again = Counts::from_statistics(&counts.to_statistics());
        assert_eq!(again, Some(counts));
    }

    /// Would catch an order that is smoothed differently, or an empty text that divides by zero.
    /// Expected values from nltk 3.10.4.
    #[test]
    fn smoothing_is_nltks() {
        use Smoothing::{Method0, Method1, Method2, Method3, Method4};
        check("", &["a"], Method1, 0.0);
        check("a", &[""], Method1, 0.0);
        check("a b c", &["a b c"], Method1, 0.562_341_325_190_349_1);
        let (response, references) = ("the cat sat on a mat", ["the cat is on the mat", "a mat"]);
        check(response, &references, Method0, SMOOTHED[0]);
        check(response, &references, Method1, SMOOTHED[1]);
        check(response, &references, Method2, SMOOTHED[2]);
        check(response, &references, Method3, SMOOTHED[3]);
        check(response, &references, Method4, SMOOTHED[4]);
        check("a", &["a"], Method4, 1.0);
    }

    const SMOOTHED: [f64; 5] = [
        1.133_422_688_662_942e-154,
        0.129_099_444_873_580_6,
        0.379_917_842_825_796_27,
        0.242_745_885_853_661_7,
        0.145_313_756_572_136_4,
    ];

    #[test]
    fn no_references_no_counts() {
        assert_eq!(Counts::new::<&str>("a", &[], 4), None);
        assert_eq!(Counts::from_statistics(&[1.0]), None);
        assert_eq!(Counts::from_statistics(&[1.0, 2.0, 3.0]), None);
    }
}
