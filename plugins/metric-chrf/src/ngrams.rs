//! N-grams of two sequences counted against each other, all orders at once.
//!
//! Each position of a sequence is given a key, the items from there on as
//! digits. Sorted, the positions that share their first n items stand
//! together, for every n. One sort is what all orders cost.

use std::ops::{BitOr, Shl, Shr};

/// What the n-grams of one order add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// N-grams of the first sequence.
    pub response: usize,
    /// N-grams of the second sequence.
    pub reference: usize,
    /// `Σ min(occurrences in one, in the other)`.
    pub matches: usize,
}

/// Bits of the keys.
const KEY_BITS: u32 = 128;

/// Bits of a key by which it is put into a group before it is sorted, at most.
const GROUP_BITS_MAX: u32 = 8;

/// Keys of all positions of a sequence, sorted. Short ones, which most texts
/// have, sort in a fraction of the time.
#[derive(Debug)]
enum Keys {
    Short(Vec<u64>),
    Long(Vec<u128>),
}

/// The n-grams of a sequence.
#[derive(Debug)]
pub struct Ngrams {
    keys: Keys,
    length: usize,
    /// The last items, from the last one on: as many as an n-gram has before its own last one.
    end: Vec<u32>,
    order_max: usize,
    bits: u32,
}

impl Ngrams {
    /// The longest n-grams whose keys fit: any characters up to 6, any words up to 4.
    #[must_use]
    pub fn order_limit(items_end: u32) -> usize {
        (KEY_BITS / bits(items_end)) as usize
    }

    /// N-grams up to `order_max` of items from 1 to less than `items_end`,
    /// which must be the same for the sequences to be compared.
    ///
    /// # Panics
    /// `order_max` is beyond [`order_limit`](Self::order_limit).
    #[must_use]
    pub fn new(items: &[u32], order_max: usize, items_end: u32) -> Self {
        assert!(order_max <= Self::order_limit(items_end));
        let bits = bits(items_end);
        let first = bits * order_max.saturating_sub(1) as u32;
        let keys = if bits * order_max as u32 <= u64::BITS {
            Keys::Short(sorted_keys(items, bits, first))
        } else {
            Keys::Long(sorted_keys(items, bits, first))
        };
        Self {
            keys,
            length: items.len(),
            end: items
                .iter()
                .rev()
                .take(order_max.saturating_sub(1))
                .copied()
                .collect(),
            order_max,
            bits,
        }
    }

    /// Counts of each order from 1, this being the response.
    #[must_use]
    pub fn compare(&self, reference: &Self) -> Vec<Counts> {
        let common_end = self.common_end(reference);
        let total = |length: usize, n: usize| (length + 1).saturating_sub(n);
        (1..=self.order_max)
            .map(|n| Counts {
                response: total(self.length, n),
                reference: total(reference.length, n),
                // The last positions have keys that end early, too: one of each length.
                matches: self.keys_in_both(reference, n) - common_end.min(n - 1),
            })
            .collect()
    }

    /// How many keys, cut to n items, are in both, each as often as in the one that has it less
    /// often.
    fn keys_in_both(&self, reference: &Self, n: usize) -> usize {
        let behind = self.bits * (self.order_max - n) as u32;
        match (&self.keys, &reference.keys) {
            (Keys::Short(a), Keys::Short(b)) => in_both(a, b, |key| key >> behind),
            (Keys::Long(a), Keys::Long(b)) => in_both(a, b, |key| key >> behind),
            _ => unreachable!("both have keys of the same bits and order"),
        }
    }

    /// How many of the last items are the same, at most one less than there are orders.
    fn common_end(&self, reference: &Self) -> usize {
        let ends = self.end.iter().zip(&reference.end);
        ends.take_while(|(a, b)| a == b).count()
    }
}

/// How many keys are in both of two sorted lists, each as often as in the one that has it less
/// often. `cut` takes off the digits behind an n-gram. A function of its own for what it keeps in
/// registers as a component.
#[inline(never)]
fn in_both<K: Copy + Ord>(a: &[K], b: &[K], cut: impl Fn(K) -> K) -> usize {
    /// Steps between two looks at the ends, none of which leads further than one key.
    const STEPS: usize = 4;
    let (mut i, mut j, mut both) = (0, 0, 0);
    let mut step = |i: &mut usize, j: &mut usize| {
        let (a, b) = (cut(a[*i]), cut(b[*j]));
        both += usize::from(a == b);
        *i += usize::from(a <= b);
        *j += usize::from(b <= a);
    };
    while i + STEPS <= a.len() && j + STEPS <= b.len() {
        for _ in 0..STEPS {
            step(&mut i, &mut j);
        }
    }
    while i < a.len() && j < b.len() {
        step(&mut i, &mut j);
    }
    both
}

/// A key for each item, its own digit `first` bits up and those of the items behind it below.
fn sorted_keys<K>(items: &[u32], bits: u32, first: u32) -> Vec<K>
where
    K: Copy + Default + Ord + From<u32>,
    K: BitOr<Output = K> + Shl<u32, Output = K> + Shr<u32, Output = K>,
{
    // Keys that begin alike are put side by side: what is left to sort is short.
    let group = |item: u32| (item >> bits.saturating_sub(GROUP_BITS_MAX)) as usize;
    let mut places = vec![0; 1 << bits.min(GROUP_BITS_MAX)];
    for &item in items {
        places[group(item)] += 1;
    }
    let mut start = 0;
    for place in &mut places {
        (*place, start) = (start, start + *place);
    }
    let mut keys = vec![K::default(); items.len()];
    let mut key = K::default();
    // From the end, so that each key is the next one with an item before it. Behind the end
    // there is 0, which is no item.
    for &item in items.iter().rev() {
        key = key >> bits | K::from(item) << first;
        let place = &mut places[group(item)];
        keys[*place] = key;
        *place += 1;
    }
    // Each place is now the end of its group.
    let mut start = 0;
    for end in places {
        keys[start..end].sort_unstable();
        start = end;
    }
    keys
}

/// Bits of a digit.
fn bits(items_end: u32) -> u32 {
    (u32::BITS - items_end.saturating_sub(1).leading_zeros()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_table(a: &[u32], b: &[u32], n: usize) -> usize {
        let mut left: Vec<&[u32]> = b.windows(n).collect();
        let taken = a.windows(n).filter(|gram| {
            let found = left.iter().position(|other| other == gram);
            found.map(|at| left.swap_remove(at)).is_some()
        });
        taken.count()
    }

    /// Would catch n-grams that reach beyond the end, and digits that run into each other.
    #[test]
    fn matches_are_those_of_the_table() {
        let mut state = 1u32;
        let mut next = |end: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % end
        };
        for (items_end, order_max) in [(2, 6), (3, 6), (4, 6), (5, 0), (300, 6), (0x11_0001, 6)] {
            for lengths in [(0, 0), (0, 5), (3, 2), (40, 60), (200, 150)] {
                let mut sequence = |length: u32| -> Vec<u32> {
                    // The largest items, of which there are few.
                    let few = (items_end - 1).min(4);
                    (0..length).map(|_| items_end - 1 - next(few)).collect()
                };
                let (a, b) = (sequence(lengths.0), sequence(lengths.1));
                let ngrams = |items: &[u32]| Ngrams::new(items, order_max, items_end);
                let counts = ngrams(&a).compare(&ngrams(&b));
                assert_eq!(counts.len(), order_max);
                for (n, counts) in (1..).zip(counts) {
                    let expected = Counts {
                        response: a.windows(n).count(),
                        reference: b.windows(n).count(),
                        matches: by_table(&a, &b, n),
                    };
                    assert_eq!(counts, expected, "{items_end} {lengths:?} {n}");
                }
            }
        }
    }

    #[test]
    fn any_characters_fit_six_times_and_any_words_four_times() {
        assert_eq!(Ngrams::order_limit(u32::from(char::MAX) + 2), 6);
        assert_eq!(Ngrams::order_limit(u32::MAX), 4);
    }
}
