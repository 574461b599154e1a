//! Clipped n-gram counts.
//!
//! The n-grams of the references are numbered, order by order: an n-gram is the
//! number of its first n − 1 tokens and the number of its last one. A response
//! is then looked up token by token. This is exact (no hash stands for a text),
//! linear in both lengths, and the references' side can be kept for the next
//! response.

use std::ops::Range;

use crate::numbering::{Pairs, Texts};

/// N-grams of one reference, or of several that are alternatives to each other.
#[derive(Debug, Default)]
pub struct NgramIndex<'a> {
    /// A token's number is also that of the n-gram of order 1.
    vocabulary: Texts<'a>,
    /// N-grams of orders from 2, numbered behind the vocabulary, order by order.
    longer: Pairs,
    /// Where the numbers of each order begin, and where they end.
    starts: Vec<usize>,
    /// Occurrences, by number: the largest count in any one reference.
    counts: Vec<u32>,
    /// Length of each reference in tokens.
    lengths: Vec<usize>,
}

/// No n-gram of the references.
const UNKNOWN: u32 = u32::MAX;

/// N-grams of order `n` in a text of `length` tokens.
#[must_use]
pub fn ngram_total(length: usize, n: usize) -> usize {
    (length + 1).saturating_sub(n)
}

impl<'a> NgramIndex<'a> {
    /// Counts the n-grams up to `order_max` of each reference, given as its tokens.
    pub fn new<R>(references: impl IntoIterator<Item = R>, order_max: usize) -> Self
    where
        R: IntoIterator<Item = &'a str>,
    {
        let mut index = Self::default();
        let references: Vec<Vec<u32>> = references
            .into_iter()
            .map(|reference| {
                let tokens = reference.into_iter();
                tokens.map(|token| index.vocabulary.number(token)).collect()
            })
            .collect();
        index.lengths = references.iter().map(Vec::len).collect();
        let length: usize = index.lengths.iter().sum();
        index.longer = Pairs::with_room(length * order_max.saturating_sub(1));

        // `grams[i]`: number of the n-gram of the current order that starts at token i.
        let mut grams = references.clone();
        let words = index.vocabulary.count();
        let mut next = words;
        index.starts.reserve_exact(order_max + 1);
        index.starts.extend([0, next]);
        index.counts.reserve_exact(length * order_max);
        for n in 1..=order_max {
            if n > 1 {
                for (grams, tokens) in grams.iter_mut().zip(&references) {
                    grams.truncate(ngram_total(tokens.len(), n));
                    for (gram, token) in grams.iter_mut().zip(&tokens[(n - 1).min(tokens.len())..])
                    {
                        *gram = words as u32 + index.longer.number(*gram, *token);
                    }
                }
                next = words + index.longer.count();
                index.starts.push(next);
            }
            let start = index.starts[n - 1];
            index.counts.resize(next, 0);
            if let [grams] = &grams[..] {
                for &gram in grams {
                    index.counts[gram as usize] += 1;
                }
                continue;
            }
            for grams in &grams {
                let mut counts = vec![0; next - start];
                for &gram in grams {
                    counts[gram as usize - start] += 1;
                }
                for (largest, count) in index.counts[start..].iter_mut().zip(counts) {
                    *largest = count.max(*largest);
                }
            }
        }
        index
    }

    /// With texts of its own, to be kept.
    #[must_use]
    pub fn into_owned(self) -> NgramIndex<'static> {
        NgramIndex {
            vocabulary: self.vocabulary.into_owned(),
            longer: self.longer,
            starts: self.starts,
            counts: self.counts,
            lengths: self.lengths,
        }
    }

    /// How often each n-gram of the references occurs in the response, by number.
    ///
    /// N-grams that no reference has are left out.
    #[must_use]
    pub fn occurrences_in(&self, response: &[&str]) -> Vec<u32> {
        let number = |token: &&str| self.vocabulary.get(token).unwrap_or(UNKNOWN);
        let tokens: Vec<u32> = response.iter().map(number).collect();
        let words = self.vocabulary.count() as u32;
        let mut counts = vec![0; self.counts.len()];
        let mut grams = tokens.clone();
        for n in 1..self.starts.len() {
            if n > 1 {
                grams.truncate(ngram_total(tokens.len(), n));
                for (gram, &token) in grams.iter_mut().zip(&tokens[(n - 1).min(tokens.len())..]) {
                    if *gram != UNKNOWN {
                        let longer = self.longer.get(*gram, token);
                        *gram = longer.map_or(UNKNOWN, |number| words + number);
                    }
                }
            }
            for &gram in grams.iter().filter(|&&gram| gram != UNKNOWN) {
                counts[gram as usize] += 1;
            }
        }
        counts
    }

    /// `Σ min(occurrences in the response, in the references)` for each order.
    #[must_use]
    pub fn clipped_matches(&self, response: &[&str]) -> Vec<u64> {
        let found = self.occurrences_in(response);
        let clipped = |numbers: Range<usize>| {
            let counts = self.counts[numbers.clone()].iter().zip(&found[numbers]);
            counts.map(|(&a, &b)| u64::from(a.min(b))).sum()
        };
        (1..self.starts.len())
            .map(|n| clipped(self.order(n)))
            .collect()
    }

    /// The numbers of the n-grams of order `n`, in order of first occurrence.
    #[must_use]
    pub fn order(&self, n: usize) -> Range<usize> {
        self.starts[n - 1]..self.starts[n]
    }

    /// Occurrences of each n-gram in the references, by number: the largest in
    /// any one of them.
    #[must_use]
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The distinct tokens, in order of first occurrence.
    #[must_use]
    pub fn tokens(&self) -> Vec<&str> {
        let texts = self.vocabulary.texts().iter();
        texts.map(AsRef::as_ref).collect()
    }

    /// Length of each reference in tokens.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split;

    /// Would catch clipping against the sum of the references, or wrong orders.
    #[test]
    fn clips_against_the_largest_reference() {
        let check = |references: &[&str], response: &str, expected: &[u64]| {
            let index = NgramIndex::new(references.iter().map(|text| split(text)), expected.len());
            assert_eq!(
                index.clipped_matches(&split(response).collect::<Vec<_>>()),
                expected,
                "{response}"
            );
        };
        // The example of Papineni et al. 2002, section 2.1.
        let references = ["the cat is on the mat", "there is a cat on the mat"];
        check(&references, "the the the the the the the", &[2, 0]);
        check(&["a b c d"], "a b c d", &[4, 3, 2, 1]);
        check(&["a b c d", "x b c"], "b c x", &[3, 1, 0, 0]);
        check(&["a"], "", &[0, 0, 0, 0]);
        check(&["", "a b"], "a b", &[2, 1, 0, 0]);
        check(&["a b a b"], "b a b a b", &[4, 3, 2, 1]);
    }

    #[test]
    fn short_texts_have_no_ngrams() {
        assert_eq!(ngram_total(0, 1), 0);
        assert_eq!(ngram_total(3, 4), 0);
        assert_eq!(ngram_total(4, 4), 1);
    }
}
