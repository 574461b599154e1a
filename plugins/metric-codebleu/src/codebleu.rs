//! CodeBLEU (Ren et al. 2020, <https://arxiv.org/abs/2009.10297>) as the
//! package codebleu 0.7.0 computes it.
//!
//! `CodeBLEU = α · BLEU + β · BLEU_weighted + γ · syntax + δ · flow`, each part a
//! ratio of counts that add over the samples of a corpus.

use rlhf_text::{
    Clipped, brevity_penalty, closest_reference_length, geometric_mean, ngram_total, words,
};

/// N-grams up to this length.
pub const ORDER_MAX: usize = 4;

/// Weight of each order in the two n-gram parts.
const ORDER_WEIGHTS: [f64; ORDER_MAX] = [0.25; ORDER_MAX];

/// Matches of an order without any. Unlike nltk's, codebleu's copy of BLEU always smooths.
const UNMATCHED: f64 = 0.1;

/// Weight of a token that is no keyword, in the weighted part.
const OTHER_TOKEN_WEIGHT: f64 = 0.2;

/// What the weighted part takes for the length of every reference: it measures
/// a list of two, the tokens and their weights.
const WEIGHTED_REFERENCE_LENGTH: f64 = 2.0;

/// Weights of the four parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// α
    pub ngram: f64,
    /// β
    pub weighted_ngram: f64,
    /// γ
    pub syntax: f64,
    /// δ
    pub dataflow: f64,
}

impl Default for Weights {
    /// Those of the paper, section 4.4, and of the package.
    fn default() -> Self {
        Self {
            ngram: 0.25,
            weighted_ngram: 0.25,
            syntax: 0.25,
            dataflow: 0.25,
        }
    }
}

impl Weights {
    /// The score of parts with these values, added from left to right.
    #[must_use]
    pub fn total(&self, parts: &Parts) -> f64 {
        // `dataflow_match_score or 1`: nothing matched counts as everything matched.
        let dataflow = parts.dataflow.filter(|&dataflow| dataflow != 0.0);
        self.without_dataflow(parts) + self.dataflow * dataflow.unwrap_or(1.0)
    }

    /// The score in strict mode, where nothing matched is 0. Without a data flow in the references
    /// the other parts share its weight in proportion to theirs; `None` if they have none.
    #[must_use]
    pub fn strict_total(&self, parts: &Parts) -> Option<f64> {
        let others = self.without_dataflow(parts);
        match parts.dataflow {
            Some(dataflow) => Some(others + self.dataflow * dataflow),
            None => {
                let weight = self.ngram + self.weighted_ngram + self.syntax;
                (weight > 0.0).then(|| others / weight * self.sum())
            }
        }
    }

    fn without_dataflow(&self, parts: &Parts) -> f64 {
        self.ngram * parts.ngram
            + self.weighted_ngram * parts.weighted_ngram
            + self.syntax * parts.syntax
    }

    /// The largest score there is: that of parts that are all 1.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.ngram + self.weighted_ngram + self.syntax + self.dataflow
    }
}

/// The four parts, 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// BLEU on tokens separated by whitespace.
    pub ngram: f64,
    /// The same with recall in place of precision, keywords weighing more.
    pub weighted_ngram: f64,
    /// Subtrees of the references that the response has.
    pub syntax: f64,
    /// Edges of the references' data flow that the response has; `None` if they have no edges.
    pub dataflow: Option<f64>,
}

/// Matches and totals of n-grams, by order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Orders {
    /// Clipped matches.
    pub matches: [f64; ORDER_MAX],
    /// N-grams there are; at least 1 for each sample.
    pub totals: [f64; ORDER_MAX],
}

/// What is counted for a sample. It adds over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Samples.
    pub samples: f64,
    /// Tokens of the response.
    pub response: f64,
    /// Tokens of the nearest reference.
    pub reference: f64,
    /// N-grams of the response found in the references.
    pub precision: Orders,
    /// N-grams of the references found in the response, tokens weighted.
    pub recall: Orders,
    /// Subtrees of the references found in the response.
    pub syntax_matches: f64,
    /// Subtrees of the references.
    pub syntax_total: f64,
    /// Edges of the references found in the response.
    pub dataflow_matches: f64,
    /// Edges of the references.
    pub dataflow_total: f64,
}

/// Numbers in [`Counts::to_statistics`].
pub const STATISTICS: usize = 3 + 4 * ORDER_MAX + 4;

impl Counts {
    /// As a list of numbers.
    #[must_use]
    pub fn to_statistics(&self) -> Vec<f64> {
        let mut statistics = vec![self.samples, self.response, self.reference];
        for orders in [&self.precision, &self.recall] {
            statistics.extend(orders.matches);
            statistics.extend(orders.totals);
        }
        statistics.extend([self.syntax_matches, self.syntax_total]);
        statistics.extend([self.dataflow_matches, self.dataflow_total]);
        statistics
    }

    /// The reverse of [`to_statistics`](Self::to_statistics).
    #[must_use]
    pub fn from_statistics(statistics: &[f64]) -> Option<Self> {
        let statistics: &[f64; STATISTICS] = statistics.try_into().ok()?;
        let order = |from: usize| std::array::from_fn(|n| statistics[from + n]);
        let orders = |from| Orders {
            matches: order(from),
            totals: order(from + ORDER_MAX),
        };
        let [
            syntax_matches,
            syntax_total,
            dataflow_matches,
            dataflow_total,
        ] = *statistics.last_chunk()?;
        Some(Self {
            samples: statistics[0],
            response: statistics[1],
            reference: statistics[2],
            precision: orders(3),
            recall: orders(3 + 2 * ORDER_MAX),
            syntax_matches,
            syntax_total,
            dataflow_matches,
            dataflow_total,
        })
    }

    /// The four parts. `None` for no samples.
    #[must_use]
    pub fn parts(&self) -> Option<Parts> {
        if self.samples == 0.0 || self.syntax_total == 0.0 {
            return None;
        }
        let weighted_reference = WEIGHTED_REFERENCE_LENGTH * self.samples;
        Some(Parts {
            ngram: bleu(&self.precision, self.reference, self.response),
            weighted_ngram: bleu(&self.recall, weighted_reference, self.response),
            syntax: self.syntax_matches / self.syntax_total,
            dataflow: (self.dataflow_total > 0.0)
                .then(|| self.dataflow_matches / self.dataflow_total),
        })
    }
}

fn bleu(orders: &Orders, reference: f64, response: f64) -> f64 {
    if orders.matches[0] == 0.0 {
        return 0.0;
    }
    let precisions: [f64; ORDER_MAX] = std::array::from_fn(|n| {
        let matches = orders.matches[n];
        (if matches == 0.0 { UNMATCHED } else { matches }) / orders.totals[n]
    });
    brevity_penalty(reference, response) * geometric_mean(&ORDER_WEIGHTS, &precisions)
}

impl Counts {
    /// Adds what the n-grams of a response have in common with its references.
    pub fn add_ngrams(&mut self, response: &str, references: &[&str], keywords: &[&str]) {
        let response = words(response);
        let references: Vec<_> = references.iter().map(|text| words(text)).collect();
        let lengths = references.iter().map(Vec::len);
        self.response += response.len() as f64;
        self.reference += closest_reference_length(lengths, response.len()).unwrap_or(0) as f64;
        for n in 1..=ORDER_MAX {
            self.precision.totals[n - 1] += ngram_total(response.len(), n).max(1) as f64;
        }

        let add = |sums: &mut [f64; ORDER_MAX], matches: &[u64]| {
            for (sum, &matches) in sums.iter_mut().zip(matches) {
                *sum += matches as f64;
            }
        };
        // Precision clips against the largest of the references' counts, recall adds them up.
        if references.len() > 1 {
            let clipped = Clipped::new(&references, &response, ORDER_MAX);
            add(&mut self.precision.matches, clipped.matches());
        }
        for reference in references.chunks(1) {
            let clipped = Clipped::new(reference, &response, ORDER_MAX);
            if references.len() == 1 {
                add(&mut self.precision.matches, clipped.matches());
            }
            let weights = weights(&clipped.tokens(), keywords);
            self.recall.matches[0] += weighted_sum(&clipped.token_matches(), &weights);
            self.recall.totals[0] += weighted_sum(&clipped.token_counts(), &weights).max(1.0);
            for n in 2..=ORDER_MAX {
                self.recall.matches[n - 1] += clipped.matches()[n - 1] as f64;
                let total = ngram_total(reference[0].len(), n);
                self.recall.totals[n - 1] += total.max(1) as f64;
            }
        }
    }
}

/// Weight of each token.
fn weights(tokens: &[&str], keywords: &[&str]) -> Vec<f64> {
    let weight = |token| {
        if keywords.contains(token) {
            1.0
        } else {
            OTHER_TOKEN_WEIGHT
        }
    };
    tokens.iter().map(weight).collect()
}

/// `Σ count · weight`, in order of first occurrence: the order decides the last bit.
fn weighted_sum(counts: &[u32], weights: &[f64]) -> f64 {
    let terms = counts.iter().zip(weights);
    terms.fold(0.0, |sum, (&count, weight)| sum + f64::from(count) * weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ngrams(response: &str, references: &[&str]) -> Counts {
        let mut counts = Counts {
            samples: 1.0,
            syntax_total: 1.0,
            ..Counts::default()
        };
        counts.add_ngrams(response, references, &["if", "return"]);
        counts
    }

    /// Would catch another order of statistics on the way out than on the way in.
    #[test]
    fn statistics_come_back() {
        let mut counts = ngrams("a b if c d", &["if c a b"]);
        (
            counts.syntax_matches,
            counts.dataflow_matches,
            counts.dataflow_total,
        ) = (5.0, 6.0, 7.0);
        assert_eq!(
            Counts::from_statistics(&counts.to_statistics()),
            Some(counts)
        );
        assert_eq!(counts.to_statistics().len(), STATISTICS);
        assert_eq!(Counts::from_statistics(&[1.0]), None);
        assert_eq!(Counts::default().parts(), None);
    }

    /// Would catch the quirks being repaired.
    #[test]
    fn quirks_are_kept() {
        // One token that is the same: three orders have 0.1 of 1.
        let parts = ngrams("x", &["x"]).parts().unwrap();
        assert!((parts.ngram - 0.1f64.powf(0.75)).abs() < 1e-15);
        // Its weighted length of 0.2 counts as 1, and a response of 1 is short of 2.
        let weighted = (1.0f64 - 2.0).exp() * (0.2f64 * 0.001).powf(0.25);
        assert!((parts.weighted_ngram - weighted).abs() < 1e-15);
        // Nothing to match in the flow counts as all matched.
        assert_eq!(parts.dataflow, None);
        let empty = ngrams("", &["x"]).parts().unwrap();
        assert_eq!(Weights::default().total(&empty), 0.25);
    }

    /// Would catch points for a data flow that isn't there, and identical texts that lose by it.
    #[test]
    fn strict_scores_give_nothing_for_no_data_flow() {
        let check = |weights: [f64; 4], dataflow: Option<f64>, expected: Option<f64>| {
            let [ngram, weighted_ngram, syntax, flow] = weights;
            let weights = Weights {
                ngram,
                weighted_ngram,
                syntax,
                dataflow: flow,
            };
            let parts = Parts {
                ngram: 0.5,
                weighted_ngram: 0.25,
                syntax: 1.0,
                dataflow,
            };
            assert_eq!(weights.strict_total(&parts), expected, "{weights:?}");
        };
        check([0.25; 4], Some(0.5), Some(0.5625));
        check([0.25; 4], Some(0.0), Some(0.4375));
        check([0.25; 4], None, Some(1.75 / 3.0));
        check([0.5, 0.0, 0.0, 0.5], None, Some(0.5));
        check([0.5, 0.5, 0.5, 0.5], None, Some(1.75 / 3.0 * 2.0));
        check([0.0, 0.0, 0.0, 1.0], None, None);
        check([0.0, 0.0, 0.0, 1.0], Some(0.0), Some(0.0));
    }

    /// Would catch references that are added where the largest counts, or the reverse.
    #[test]
    fn several_references() {
        let counts = ngrams("a a b", &["a c", "a a"]);
        assert_eq!(counts.precision.matches, [2.0, 1.0, 0.0, 0.0]);
        assert_eq!(counts.recall.matches[1..], [1.0, 0.0, 0.0]);
        assert_eq!(counts.recall.totals, [2.0, 2.0, 2.0, 2.0]);
        assert_eq!(counts.reference, 2.0);
    }
}
