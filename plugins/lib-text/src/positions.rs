//! Where each item of a sequence stands, as bits.

/// For each item, the positions that hold it: a bit a position, 64 to a word.
///
/// Only words with a bit are kept, so that the size is that of the sequence
/// even if each of its items is another one.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    /// Where the words of each item begin and end in `words`.
    ranges: Vec<(usize, usize)>,
    /// Index of the word, and its bits.
    words: Vec<(u32, u64)>,
}

impl Positions {
    /// Positions of the items in a sequence of `(position, item)`, positions rising.
    pub(crate) fn new(sequence: impl Iterator<Item = (usize, u32)> + Clone) -> Self {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for (_, item) in sequence.clone() {
            let item = item as usize;
            if item >= ranges.len() {
                ranges.resize(item + 1, (0, 0));
            }
            ranges[item].1 += 1;
        }
        // Room for a word of each occurrence; several may share one.
        let mut room = 0;
        for range in &mut ranges {
            let occurrences = range.1;
            *range = (room, room);
            room += occurrences;
        }
        let mut words = vec![(0, 0); room];
        for (position, item) in sequence {
            let (start, end) = &mut ranges[item as usize];
            let (word, bit) = ((position / 64) as u32, 1 << (position % 64));
            if *end > *start && words[*end - 1].0 == word {
                words[*end - 1].1 |= bit;
            } else {
                words[*end] = (word, bit);
                *end += 1;
            }
        }
        Self { ranges, words }
    }

    /// Index and bits of each word that has the item, indices rising.
    pub(crate) fn of(&self, item: u32) -> &[(u32, u64)] {
        match self.ranges.get(item as usize) {
            Some(&(start, end)) => &self.words[start..end],
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a position in the wrong word, or lost.
    #[test]
    fn positions_are_found_again() {
        let items = [2, 0, 2, 5].into_iter().chain([0; 70]).chain([2]);
        let positions = Positions::new(items.enumerate());
        assert_eq!(positions.of(2), [(0, 0b101), (1, 1 << 10)]);
        assert_eq!(positions.of(5), [(0, 0b1000)]);
        let zeros = !0 ^ 0b1101;
        assert_eq!(positions.of(0), [(0, zeros), (1, (1 << 10) - 1)]);
        assert_eq!(positions.of(1), []);
        assert_eq!(positions.of(9), []);
    }
}
