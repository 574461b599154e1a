//! Numbers for texts and for pairs of numbers, in order of first occurrence.
//!
//! Both are tables with open addressing whose slots hold nothing but the number: the keys lie
//! side by side in a list, by number. As a component that takes about half the steps of the
//! standard library's maps, which are made for 16 bytes at once. Keys are compared wherever
//! a hash could stand for two of them. What is done for every n-gram is inlined: a component's
//! calls are dear, since each counts fuel and looks at the stack.

use std::borrow::Cow;

/// An empty slot.
const EMPTY: u32 = u32::MAX;

/// Multiplier of Fibonacci hashing: 2^64 over the golden ratio (Knuth, volume 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers by hash, a power of two of them and at most half of them taken.
#[derive(Debug, Default)]
struct Slots(Vec<u32>);

impl Slots {
    /// Room for so many numbers.
    fn with_room(count: usize) -> Self {
        Self(vec![EMPTY; (2 * count).next_power_of_two().max(8)])
    }

    /// The first place of a hash: its highest bits.
    fn start(&self, hash: u64) -> usize {
        (hash >> (64 - self.0.len().trailing_zeros())) as usize
    }

    /// The place of a key with this hash, which `is_key` recognises by its number, or else the
    /// empty one where it belongs.
    #[inline(always)]
    fn find(&self, hash: u64, is_key: impl Fn(u32) -> bool) -> usize {
        let mask = self.0.len() - 1;
        let mut at = self.start(hash);
        while self.0[at] != EMPTY && !is_key(self.0[at]) {
            at = (at + 1) & mask;
        }
        at
    }

    /// Makes room for one number more than there are, given the hashes of those.
    #[inline(always)]
    fn grow(&mut self, count: usize, hash: impl Fn(u32) -> u64) {
        if 2 * (count + 1) > self.0.len() {
            self.rebuild(count, hash);
        }
    }

    #[cold]
    #[inline(never)]
    fn rebuild(&mut self, count: usize, hash: impl Fn(u32) -> u64) {
        *self = Self::with_room(2 * (count + 1));
        for number in 0..count as u32 {
            let at = self.find(hash(number), |_| false);
            self.0[at] = number;
        }
    }
}

/// Numbers of texts.
#[derive(Debug, Default)]
pub(crate) struct Texts<'a> {
    slots: Slots,
    hashes: Vec<u64>,
    texts: Vec<Cow<'a, str>>,
}

impl<'a> Texts<'a> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.texts.len()
    }

    /// The number of a text, a new one if it has none.
    #[inline(always)]
    pub fn number(&mut self, text: &'a str) -> u32 {
        let Self {
            slots,
            hashes,
            texts,
        } = self;
        slots.grow(texts.len(), |number| hashes[number as usize]);
        let hash = hash(text);
        let at = slots.find(hash, |number| is_text(hashes, texts, number, hash, text));
        if slots.0[at] == EMPTY {
            slots.0[at] = texts.len() as u32;
            hashes.push(hash);
            texts.push(Cow::Borrowed(text));
        }
        slots.0[at]
    }

    /// The number of a text that has one.
    pub fn get(&self, text: &str) -> Option<u32> {
        if self.texts.is_empty() {
            return None;
        }
        let hash = hash(text);
        let is_key = |number| is_text(&self.hashes, &self.texts, number, hash, text);
        let number = self.slots.0[self.slots.find(hash, is_key)];
        (number != EMPTY).then_some(number)
    }

    /// The texts, by number.
    pub fn texts(&self) -> &[Cow<'a, str>] {
        &self.texts
    }

    /// With texts of its own.
    pub fn into_owned(self) -> Texts<'static> {
        let texts = self.texts.into_iter();
        Texts {
            slots: self.slots,
            hashes: self.hashes,
            texts: texts.map(|text| Cow::Owned(text.into_owned())).collect(),
        }
    }
}

fn is_text(hashes: &[u64], texts: &[Cow<'_, str>], number: u32, hash: u64, text: &str) -> bool {
    let known = &texts[number as usize];
    // Short texts of one length have one hash each, and most texts are short.
    hashes[number as usize] == hash
        && known.len() == text.len()
        && (text.len() <= SHORT || same(known.as_bytes(), text.as_bytes()))
}

/// Whether two texts of one length, longer than [`SHORT`], are the same: eight bytes at a time,
/// where a component's C library compares one.
fn same(one: &[u8], other: &[u8]) -> bool {
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
fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(GOLDEN).rotate_left(29);
    let length = bytes.len() as u64;
    let hash = if bytes.len() > SHORT {
        let words = bytes.as_chunks::<8>().0.iter().chain(bytes.last_chunk());
        words.fold(length, |hash, &word| mix(hash, u64::from_le_bytes(word)))
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

/// Numbers of pairs of numbers.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    slots: Slots,
    keys: Vec<u64>,
}

impl Pairs {
    /// Room for so many pairs.
    pub fn with_room(count: usize) -> Self {
        Self {
            slots: Slots::with_room(count),
            keys: Vec::with_capacity(count),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// The number of a pair, a new one if it has none.
    #[inline(always)]
    pub fn number(&mut self, one: u32, other: u32) -> u32 {
        let Self { slots, keys } = self;
        slots.grow(keys.len(), |number| {
            keys[number as usize].wrapping_mul(GOLDEN)
        });
        let key = key(one, other);
        let at = slots.find(key.wrapping_mul(GOLDEN), |number| {
            keys[number as usize] == key
        });
        if slots.0[at] == EMPTY {
            slots.0[at] = keys.len() as u32;
            keys.push(key);
        }
        slots.0[at]
    }

    /// The number of a pair that has one.
    #[inline(always)]
    pub fn get(&self, one: u32, other: u32) -> Option<u32> {
        if self.keys.is_empty() {
            return None;
        }
        let key = key(one, other);
        let is_key = |number: u32| self.keys[number as usize] == key;
        let number = self.slots.0[self.slots.find(key.wrapping_mul(GOLDEN), is_key)];
        (number != EMPTY).then_some(number)
    }
}

fn key(one: u32, other: u32) -> u64 {
    u64::from(one) << 32 | u64::from(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a key that is taken for another one, or lost when the table grows.
    #[test]
    fn numbers_are_those_of_a_map() {
        let mut state = 1u32;
        let mut next = |end: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % end
        };
        let words: Vec<String> = (0..5_000)
            .map(|_| {
                (0..next(20))
                    .map(|_| ['a', 'b', 'é'][next(3) as usize])
                    .collect()
            })
            .collect();
        let mut texts = Texts::default();
        let mut pairs = Pairs::default();
        assert_eq!((texts.get(""), pairs.get(0, 0)), (None, None));
        let mut expected = std::collections::HashMap::new();
        let mut expected_pairs = std::collections::HashMap::new();
        for word in &words {
            let count = expected.len() as u32;
            let number = *expected.entry(word).or_insert(count);
            assert_eq!(texts.get(word).is_none(), number == count);
            assert_eq!(texts.number(word), number);
            let (one, other) = (number % 50, next(50));
            let count = expected_pairs.len() as u32;
            let pair = *expected_pairs.entry((one, other)).or_insert(count);
            assert_eq!(pairs.get(one, other).is_none(), pair == count);
            assert_eq!(pairs.number(one, other), pair);
        }
        assert_eq!(texts.count(), expected.len());
        assert_eq!(pairs.count(), expected_pairs.len());
        let texts = texts.into_owned();
        for (word, number) in expected {
            assert_eq!(texts.get(word), Some(number));
            assert_eq!(texts.texts()[number as usize], *word);
        }
    }
}
