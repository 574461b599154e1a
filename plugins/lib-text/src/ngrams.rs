//! Clipped n-gram counts.
//!
//! The n-grams of the references are numbered, order by order: an n-gram is the
//! number of its first n − 1 tokens and the number of its last one. What the
//! response has of them is looked up in the same way. This is exact (no hash stands
//! for a text) and linear in both lengths.

use std::borrow::Cow;
use std::ops::Range;

use crate::vocabulary::{GOLDEN, Vocabulary, places, shift};

/// What a response has in common with one reference, or with several that are alternatives to
/// each other.
#[derive(Debug)]
pub struct Clipped<'a> {
    references: &'a [Vec<&'a str>],
    vocabulary: Vocabulary<'a>,
    /// Occurrences in the references that the response has not, of each distinct token.
    left: Vec<u32>,
    matches: Vec<u64>,
}

/// N-grams of order `n` in a text of `length` tokens.
#[must_use]
pub fn ngram_total(length: usize, n: usize) -> usize {
    (length + 1).saturating_sub(n)
}

impl<'a> Clipped<'a> {
    /// Compares the n-grams of order 1 to `order_max` of texts given as their tokens.
    #[must_use]
    pub fn new(references: &'a [Vec<&'a str>], response: &[&str], order_max: usize) -> Self {
        let tokens = match references {
            [reference] => Cow::Borrowed(&reference[..]),
            _ => Cow::Owned(references.concat()),
        };
        let mut table = vec![EMPTY; places(tokens.len())];
        let vocabulary = Vocabulary::new(tokens);
        let numbers = vocabulary.numbers();
        let response = vocabulary.find(response);
        let mut matches = vec![0; order_max];

        let mut left_tokens = token_counts(references, &vocabulary);
        // Where the n-grams of the response begin that the references have, and their numbers.
        let mut known = vec![(0, 0); response.len()];
        let (mut count, taken) = take_tokens(&mut left_tokens, &mut known, &response);
        let (of_tokens, of_longer) = matches.split_at_mut(order_max.min(1));
        of_tokens.fill(taken);

        // Numbers of the references' n-grams by where they begin: at first those of order 1.
        let mut grams = numbers.to_vec();
        let mut left = vec![0; table.len()];
        for (n, matches) in (2..).zip(of_longer) {
            if count == 0 {
                break;
            }
            if n > 2 {
                table.fill(EMPTY);
                left.fill(0);
            }
            largest(references, &mut left, |reference, counts| {
                let grams = &mut grams[reference.clone()];
                let last = numbers[reference].get(n - 1..).unwrap_or_default();
                count_longer(&mut table, counts, grams, last);
            });
            let last = response.get(n - 1..).unwrap_or_default();
            (count, *matches) = take_longer(&table, &mut left, &mut known[..count], last);
        }
        Self {
            references,
            vocabulary,
            left: left_tokens,
            matches,
        }
    }

    /// `Σ min(occurrences in the response, in the references)` for each order from 1.
    #[must_use]
    pub fn matches(&self) -> &[u64] {
        &self.matches
    }

    /// The distinct tokens of the references, in order of first occurrence.
    #[must_use]
    pub fn tokens(&self) -> Vec<&'a str> {
        self.vocabulary.distinct()
    }

    /// Occurrences of each of these tokens in the references: the largest in any one of them.
    #[must_use]
    pub fn token_counts(&self) -> Vec<u32> {
        token_counts(self.references, &self.vocabulary)
    }

    /// `min(occurrences in the response, in the references)` of each of these tokens.
    #[must_use]
    pub fn token_matches(&self) -> Vec<u32> {
        let counts = self.token_counts().into_iter().zip(&self.left);
        counts.map(|(count, left)| count - left).collect()
    }
}

/// Occurrences of each distinct token in the references.
fn token_counts(references: &[Vec<&str>], vocabulary: &Vocabulary<'_>) -> Vec<u32> {
    let mut counts = vec![0; vocabulary.count()];
    largest(references, &mut counts, |reference, counts| {
        for &token in &vocabulary.numbers()[reference] {
            counts[token as usize] += 1;
        }
    });
    counts
}

/// Counts something in each reference, given as its range of all tokens, and keeps the largest
/// of each count.
fn largest(
    references: &[Vec<&str>],
    counts: &mut [u32],
    mut count: impl FnMut(Range<usize>, &mut [u32]),
) {
    if let [reference] = references {
        return count(0..reference.len(), counts);
    }
    let mut end = 0;
    for reference in references {
        let mut own = vec![0; counts.len()];
        count(end..end + reference.len(), &mut own);
        end += reference.len();
        for (largest, own) in counts.iter_mut().zip(own) {
            *largest = own.max(*largest);
        }
    }
}

/// A place of a table without an n-gram.
const EMPTY: u64 = u64::MAX;

/// Key of an n-gram, given its first n − 1 tokens and its last one.
fn key(start: u32, last: u32) -> u64 {
    u64::from(start) << 32 | u64::from(last)
}

/// Where in a table the key is, or belongs.
#[inline(always)]
fn place(table: &[u64], key: u64, shift: u32) -> usize {
    let mut place = (key.wrapping_mul(GOLDEN) >> shift) as usize;
    while table[place] != key && table[place] != EMPTY {
        place = (place + 1) & (table.len() - 1);
    }
    place
}

/// Counts the n-grams that begin with `grams` and end with `last`, and puts their numbers, which
/// are their places in the table, into `grams`.
#[inline(never)]
fn count_longer(table: &mut [u64], counts: &mut [u32], grams: &mut [u32], last: &[u32]) {
    let shift = shift(table.len());
    for (gram, &last) in grams.iter_mut().zip(last) {
        let key = key(*gram, last);
        let place = place(table, key, shift);
        table[place] = key;
        counts[place] += 1;
        *gram = place as u32;
    }
}

/// Takes the tokens of a response out of those that are left of the references'. Those that the
/// references have become `known`; says how many these are, and how many of them were left.
#[inline(never)]
fn take_tokens(left: &mut [u32], known: &mut [(u32, u32)], tokens: &[u32]) -> (usize, u64) {
    let (mut end, mut taken) = (0, 0);
    for (at, &token) in (0..).zip(tokens) {
        if let Some(left) = left.get_mut(token as usize) {
            let one = u32::from(*left > 0);
            *left -= one;
            taken += u64::from(one);
            known[end] = (at, token);
            end += 1;
        }
    }
    (end, taken)
}

/// The same for longer n-grams, given the `known` ones of the order before. `last` are the tokens
/// that n-grams end with, from the first n-gram's on.
#[inline(never)]
fn take_longer(
    table: &[u64],
    left: &mut [u32],
    known: &mut [(u32, u32)],
    last: &[u32],
) -> (usize, u64) {
    let shift = shift(table.len());
    let (mut end, mut taken) = (0, 0);
    for number in 0..known.len() {
        let (at, gram) = known[number];
        let Some(&last) = last.get(at as usize) else {
            break;
        };
        let key = key(gram, last);
        let place = place(table, key, shift);
        let found = table[place] == key;
        let one = u32::from(found && left[place] > 0);
        left[place] -= one;
        taken += u64::from(one);
        known[end] = (at, place as u32);
        end += usize::from(found);
    }
    (end, taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    /// Would catch clipping against the sum of the references, or wrong orders.
    #[test]
    fn clips_against_the_largest_reference() {
        let check = |references: &[&str], response: &str, expected: &[u64]| {
            let references: Vec<_> = references.iter().map(|text| words(text)).collect();
            let clipped = Clipped::new(&references, &words(response), expected.len());
            assert_eq!(clipped.matches(), expected, "{response}");
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
