//! Clipped n-gram counts.
//!
//! The n-grams of the references are numbered, order by order: an n-gram is the
//! number of its first n − 1 tokens and the number of its last one. A response
//! is then looked up token by token. This is exact (no hash stands for a text),
//! linear in both lengths, and the references' side can be kept for the next
//! response.

use rustc_hash::FxHashMap;

/// N-grams of one reference, or of several that are alternatives to each other.
#[derive(Debug, Default)]
pub struct NgramIndex {
    vocabulary: FxHashMap<Box<str>, u32>,
    /// `orders[n - 1]`: the n-grams.
    orders: Vec<Order>,
    /// Length of each reference in tokens.
    lengths: Vec<usize>,
}

#[derive(Debug, Default)]
struct Order {
    /// From (number of the shorter n-gram, number of the token). Unused for
    /// order 1, where the number is the token's.
    numbers: FxHashMap<(u32, u32), u32>,
    /// Occurrences, by number: the largest count in any one reference.
    counts: Vec<u32>,
}

/// N-grams of order `n` in a text of `length` tokens.
#[must_use]
pub fn ngram_total(length: usize, n: usize) -> usize {
    (length + 1).saturating_sub(n)
}

impl NgramIndex {
    /// Counts the n-grams up to `order_max` of each reference, given as its tokens.
    pub fn new<'a, R>(references: impl IntoIterator<Item = R>, order_max: usize) -> Self
    where
        R: IntoIterator<Item = &'a str>,
    {
        let mut index = Self::default();
        index.orders.resize_with(order_max, Order::default);
        for reference in references {
            index.add(reference);
        }
        index
    }

    fn add<'a>(&mut self, reference: impl IntoIterator<Item = &'a str>) {
        let tokens: Vec<u32> = reference
            .into_iter()
            .map(|token| match self.vocabulary.get(token) {
                Some(&number) => number,
                None => {
                    let number = self.vocabulary.len() as u32;
                    self.vocabulary.insert(token.into(), number);
                    number
                }
            })
            .collect();
        self.lengths.push(tokens.len());

        // `grams[i]`: number of the n-gram of the current order that starts at token i.
        let mut grams = tokens.clone();
        for (n, order) in (1..).zip(&mut self.orders) {
            if n > 1 {
                grams.truncate(ngram_total(tokens.len(), n));
                for (i, gram) in grams.iter_mut().enumerate() {
                    let next = order.numbers.len() as u32;
                    let key = (*gram, tokens[i + n - 1]);
                    *gram = *order.numbers.entry(key).or_insert(next);
                }
                order.counts.resize(order.numbers.len(), 0);
            } else {
                order.counts.resize(self.vocabulary.len(), 0);
            }
            let counts = occurrences(&grams, order.counts.len());
            for (largest, count) in order.counts.iter_mut().zip(counts) {
                *largest = count.max(*largest);
            }
        }
    }

    /// How often each n-gram of the references occurs in the response, order by order.
    ///
    /// `result[n - 1][k]` belongs to `counts(n)[k]`. N-grams that no reference
    /// has are left out.
    #[must_use]
    pub fn occurrences_in<'a>(&self, response: impl IntoIterator<Item = &'a str>) -> Vec<Vec<u32>> {
        let tokens: Vec<Option<u32>> = response
            .into_iter()
            .map(|token| self.vocabulary.get(token).copied())
            .collect();
        let mut grams = tokens.clone();
        let mut result = Vec::with_capacity(self.orders.len());
        for (n, order) in (1..).zip(&self.orders) {
            if n > 1 {
                grams.truncate(ngram_total(tokens.len(), n));
                for (i, gram) in grams.iter_mut().enumerate() {
                    *gram = gram
                        .zip(tokens[i + n - 1])
                        .and_then(|key| order.numbers.get(&key).copied());
                }
            }
            let mut counts = vec![0; order.counts.len()];
            for &gram in grams.iter().flatten() {
                counts[gram as usize] += 1;
            }
            result.push(counts);
        }
        result
    }

    /// `Σ min(occurrences in the response, in the references)` for each order.
    #[must_use]
    pub fn clipped_matches<'a>(&self, response: impl IntoIterator<Item = &'a str>) -> Vec<u64> {
        let occurrences = self.occurrences_in(response);
        (self.orders.iter().zip(occurrences))
            .map(|(order, found)| {
                let clipped = order.counts.iter().zip(found).map(|(&a, b)| a.min(b));
                clipped.map(u64::from).sum()
            })
            .collect()
    }

    /// Occurrences of each n-gram of order `n` in the references (the largest in
    /// any one of them), in order of first occurrence.
    #[must_use]
    pub fn counts(&self, n: usize) -> &[u32] {
        &self.orders[n - 1].counts
    }

    /// The distinct tokens, in order of first occurrence.
    #[must_use]
    pub fn tokens(&self) -> Vec<&str> {
        let mut tokens = vec![""; self.vocabulary.len()];
        for (token, &number) in &self.vocabulary {
            tokens[number as usize] = token;
        }
        tokens
    }

    /// Length of each reference in tokens.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }
}

fn occurrences(grams: &[u32], distinct: usize) -> Vec<u32> {
    let mut counts = vec![0; distinct];
    for &gram in grams {
        counts[gram as usize] += 1;
    }
    counts
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
                index.clipped_matches(split(response)),
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
