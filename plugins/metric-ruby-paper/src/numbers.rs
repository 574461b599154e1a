//! Texts as small numbers, the same for equal texts.

use rustc_hash::FxHashMap;

/// Numbers given out so far, in order of first occurrence.
#[derive(Debug, Default)]
pub struct Numbers(FxHashMap<Box<str>, u32>);

impl Numbers {
    /// The number of a text.
    pub fn of(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.0.get(text) {
            return number;
        }
        let number = self.0.len() as u32;
        self.0.insert(text.into(), number);
        number
    }

    /// How many have been given out.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
