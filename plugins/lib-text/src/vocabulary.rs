//! Numbers for the distinct tokens of a text, in order of first occurrence.
//!
//! A table with open addressing, made for the sandbox, where a loop that calls something keeps
//! little in registers: room is made before the loop, and the loop is a function of its own. Texts
//! are compared wherever a hash could stand for two of them.

use std::borrow::Cow;

/// Multiplier of Fibonacci hashing: 2^64 over the golden ratio (Knuth, volume 3, section 6.4).
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// No number, and no place in the list.
pub(crate) const NONE: u32 = u32::MAX;

/// How many places a table has for so many keys: a power of two, of which half are taken at most.
pub(crate) fn places(keys: usize) -> usize {
    (2 * keys).next_power_of_two().max(8)
}

/// How far a hash is shifted down to be a place: its highest bits are taken.
pub(crate) fn shift(places: usize) -> u32 {
    u64::BITS - places.trailing_zeros()
}

/// The distinct tokens of a list, and the list as their numbers.
#[derive(Debug)]
pub(crate) struct Vocabulary<'a> {
    tokens: Cow<'a, [&'a str]>,
    hashes: Vec<u64>,
    numbers: Vec<u32>,
    /// By hash, where in the list a token occurs first.
    table: Vec<u32>,
    count: usize,
}

impl<'a> Vocabulary<'a> {
    /// Numbers the tokens of a list.
    pub fn new(tokens: Cow<'a, [&'a str]>) -> Self {
        let hashes = hashes(&tokens);
        let mut numbers = vec![NONE; tokens.len()];
        let mut table = vec![NONE; places(tokens.len())];
        let count = number(&tokens, &hashes, &mut table, &mut numbers);
        Self {
            tokens,
            hashes,
            numbers,
            table,
            count,
        }
    }

    /// How many distinct tokens there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The list.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// The distinct tokens, by number.
    pub fn distinct(&self) -> Vec<&'a str> {
        let mut distinct = Vec::with_capacity(self.count);
        for (token, &number) in self.tokens.iter().zip(&self.numbers) {
            if number as usize == distinct.len() {
                distinct.push(*token);
            }
        }
        distinct
    }

    /// The numbers of the tokens of another list, [`NONE`] of those that are not in this one.
    #[inline(never)]
    pub fn find(&self, tokens: &[&str]) -> Vec<u32> {
        let mut numbers = vec![NONE; tokens.len()];
        let shift = shift(self.table.len());
        for (number, token) in numbers.iter_mut().zip(tokens) {
            let place = place(
                &self.table,
                &self.hashes,
                &self.tokens,
                hash(token),
                token,
                shift,
            );
            if let Some(&known) = self.numbers.get(self.table[place] as usize) {
                *number = known;
            }
        }
        numbers
    }
}

#[inline(never)]
fn hashes(tokens: &[&str]) -> Vec<u64> {
    tokens.iter().map(|token| hash(token)).collect()
}

/// Numbers tokens whose table has room for all; says how many numbers there are.
#[inline(never)]
fn number(tokens: &[&str], hashes: &[u64], table: &mut [u32], numbers: &mut [u32]) -> usize {
    let shift = shift(table.len());
    let mut count = 0;
    for (at, &hash) in hashes.iter().enumerate() {
        let place = place(table, hashes, tokens, hash, tokens[at], shift);
        if let Some(&known) = numbers.get(table[place] as usize) {
            numbers[at] = known;
        } else {
            table[place] = at as u32;
            numbers[at] = count;
            count += 1;
        }
    }
    count as usize
}

/// Where in a table a token is, or belongs.
#[inline(always)]
fn place(
    table: &[u32],
    hashes: &[u64],
    tokens: &[&str],
    hash: u64,
    token: &str,
    shift: u32,
) -> usize {
    let mut place = (hash >> shift) as usize;
    while let Some(&known) = hashes.get(table[place] as usize)
        && !(known == hash && same(tokens[table[place] as usize], token))
    {
        place = (place + 1) & (table.len() - 1);
    }
    place
}

/// Whether two texts with one hash are the same.
#[inline(always)]
fn same(one: &str, other: &str) -> bool {
    // Short texts of one length have one hash each, and most texts are short.
    one.len() == other.len() && (one.len() <= SHORT || same_bytes(one.as_bytes(), other.as_bytes()))
}

/// Whether two texts of one length, longer than [`SHORT`], are the same: eight bytes at a time,
/// where a component's C library compares one.
#[inline(never)]
fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    let words = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let [ones, others] = [one, other].map(|bytes| bytes.as_chunks::<8>().0);
    let mut pairs = ones.iter().zip(others);
    pairs.all(|(one, other)| words(one) == words(other))
        && one.last_chunk().map(words) == other.last_chunk().map(words)
}

/// Bytes of a text that fit into one word.
const SHORT: usize = 8;

/// Eight bytes at a time; the last ones overlap with those before. Among texts of one length up
/// to [`SHORT`], no two have the same: every step can be undone.
#[inline(always)]
fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let length = bytes.len() as u64;
    let hash = if bytes.len() > SHORT {
        hash_long(bytes)
    } else if let (Some(&first), Some(&last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>())
    {
        let [first, last] = [first, last].map(|four| u64::from(u32::from_le_bytes(four)));
        mix(length, first << 32 | last)
    } else if let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) {
        let bytes = [first, bytes[bytes.len() / 2], last].map(u64::from);
        mix(length, bytes[0] << 16 | bytes[1] << 8 | bytes[2])
    } else {
        length
    };
    hash.wrapping_mul(GOLDEN)
}

#[inline(never)]
fn hash_long(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0.iter().chain(bytes.last_chunk());
    words.fold(bytes.len() as u64, |hash, &word| {
        mix(hash, u64::from_le_bytes(word))
    })
}

#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(GOLDEN).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a token that is taken for another one, or lost.
    #[test]
    fn numbers_are_those_of_a_map() {
        let mut state = 1u32;
        let mut next = |end: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % end
        };
        let mut word = || -> String {
            let letters = (0..next(20)).map(|_| ['a', 'b', 'é'][next(3) as usize]);
            letters.collect()
        };
        let words: Vec<String> = (0..5_000).map(|_| word()).collect();
        let others: Vec<String> = (0..5_000).map(|_| word()).collect();
        let [words, others] = [&words, &others]
            .map(|words| -> Vec<&str> { words.iter().map(String::as_str).collect() });
        let mut expected = std::collections::HashMap::new();
        let vocabulary = Vocabulary::new(Cow::Borrowed(&words));
        for (&word, &number) in words.iter().zip(vocabulary.numbers()) {
            let count = expected.len() as u32;
            assert_eq!(number, *expected.entry(word).or_insert(count));
        }
        assert_eq!(vocabulary.count(), expected.len());
        for (number, word) in vocabulary.distinct().into_iter().enumerate() {
            assert_eq!(expected[word] as usize, number);
        }
        for (&word, number) in others.iter().zip(vocabulary.find(&others)) {
            assert_eq!(number, expected.get(word).copied().unwrap_or(NONE));
        }
        assert_eq!(Vocabulary::new(Cow::default()).find(&["", "a"]), [NONE; 2]);
    }
}
