//! Characters as small numbers.

use rustc_hash::FxHashMap;

use crate::bytes::is_ascii;

/// Numbers characters in the order in which they are first met.
#[derive(Debug)]
pub struct CharNumbers<K> {
    ascii: [u32; 128],
    others: FxHashMap<char, u32>,
    next: u32,
    keep: K,
}

const NONE: u32 = u32::MAX;

impl<K: Fn(char) -> bool> CharNumbers<K> {
    /// Numbers from `first` for the characters that are to be kept.
    #[must_use]
    pub fn new(first: u32, keep: K) -> Self {
        Self {
            ascii: [NONE; 128],
            others: FxHashMap::default(),
            next: first,
            keep,
        }
    }

    /// The numbers of a text's characters, without those that are not kept.
    pub fn of(&mut self, text: &str) -> Vec<u32> {
        // Room for all: whether a list must grow would be asked for each character.
        let mut numbers = vec![NONE; text.len()];
        let count = if is_ascii(text) {
            self.write(text.bytes().map(char::from), &mut numbers)
        } else {
            self.write(text.chars(), &mut numbers)
        };
        numbers.truncate(count);
        numbers
    }

    /// Writes the numbers into a list that has room for them, and says how many there are.
    #[inline(never)]
    fn write(&mut self, text: impl Iterator<Item = char>, numbers: &mut [u32]) -> usize {
        let mut count = 0;
        for c in text {
            let mut number = match self.ascii.get(c as usize) {
                Some(number) => *number,
                None => self.others.get(&c).copied().unwrap_or(NONE),
            };
            if number == NONE {
                if !(self.keep)(c) {
                    continue;
                }
                number = self.add(c);
            }
            numbers[count] = number;
            count += 1;
        }
        count
    }

    /// Gives a character its number.
    #[cold]
    #[inline(never)]
    fn add(&mut self, c: char) -> u32 {
        let number = self.next;
        self.next += 1;
        match self.ascii.get_mut(c as usize) {
            Some(free) => *free = number,
            None => {
                self.others.insert(c, number);
            }
        }
        number
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
        let mut numbers = CharNumbers::new(1, |c| c != ' ');
        assert_eq!(numbers.of("abéa"), [1, 2, 3, 1]);
        assert_eq!(numbers.of("éc 𝕏b"), [3, 4, 5, 2]);
        assert_eq!(numbers.of(" c d a "), [4, 6, 1]);
        assert_eq!(numbers.end(), 7);
    }
}
