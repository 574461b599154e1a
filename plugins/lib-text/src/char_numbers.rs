//! Characters as small numbers.

use rustc_hash::FxHashMap;

/// Numbers characters in the order in which they are first met.
#[derive(Debug)]
pub struct CharNumbers {
    ascii: [u32; 128],
    others: FxHashMap<char, u32>,
    next: u32,
}

const NONE: u32 = u32::MAX;

impl CharNumbers {
    /// Numbers from `first`.
    #[must_use]
    pub fn new(first: u32) -> Self {
        Self {
            ascii: [NONE; 128],
            others: FxHashMap::default(),
            next: first,
        }
    }

    /// The numbers of a text's characters.
    pub fn of(&mut self, text: impl Iterator<Item = char>) -> Vec<u32> {
        // Not collected: nested iterators then run loops of their own.
        let mut all = Vec::with_capacity(text.size_hint().0);
        text.for_each(|c| all.push(self.number(c)));
        all
    }

    fn number(&mut self, c: char) -> u32 {
        let number = match self.ascii.get_mut(c as usize) {
            Some(number) => number,
            None => self.others.entry(c).or_insert(NONE),
        };
        if *number == NONE {
            *number = self.next;
            self.next += 1;
        }
        *number
    }

    /// One more than the largest number given.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch two characters with one number.
    #[test]
    fn equal_characters_have_equal_numbers() {
        let mut numbers = CharNumbers::new(1);
        assert_eq!(numbers.of("abéa".chars()), [1, 2, 3, 1]);
        assert_eq!(numbers.of("éc𝕏b".chars()), [3, 4, 5, 2]);
        assert_eq!(numbers.end(), 6);
    }
}
