//! Tokens as rouge-score 0.1.2 has them (`tokenize.tokenize`): lower case, runs
//! of `a` to `z` and `0` to `9`, stemmed if longer than three.

use rustc_hash::FxHashMap;

use crate::porter;

/// Shorter tokens are never stemmed.
const STEMMED_LENGTH_MIN: usize = 4;

/// Numbers tokens, the same for equal ones.
#[derive(Debug, Default)]
pub struct Vocabulary {
    stemmer: bool,
    /// Numbers of tokens as they stand in a text.
    tokens: FxHashMap<String, u32>,
    /// Numbers of stems; empty without the stemmer.
    stems: FxHashMap<String, u32>,
    size: u32,
}

/// The tokens of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Numbers of all tokens, in order.
    pub all: Vec<u32>,
    /// Where each line that has tokens ends.
    line_ends: Vec<usize>,
}

impl Tokens {
    /// The tokens of each line that has any.
    #[must_use]
    pub fn lines(&self) -> Vec<&[u32]> {
        let starts = std::iter::once(&0).chain(&self.line_ends);
        starts
            .zip(&self.line_ends)
            .map(|(&start, &end)| &self.all[start..end])
            .collect()
    }

    fn end_line(&mut self) {
        if self.line_ends.last().copied().unwrap_or(0) < self.all.len() {
            self.line_ends.push(self.all.len());
        }
    }
}

impl Vocabulary {
    /// An empty one, with Porter's stemmer or without.
    #[must_use]
    pub fn new(stemmer: bool) -> Self {
        Self {
            stemmer,
            ..Self::default()
        }
    }

    /// One more than the largest number given.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// The tokens of a text. Lines end with `\n`, nothing else.
    pub fn tokens(&mut self, text: &str) -> Tokens {
        let mut tokens = Tokens::default();
        let mut token = String::new();
        for c in text.chars() {
            if c.is_ascii_alphanumeric() {
                token.push(c.to_ascii_lowercase());
            } else {
                // The two characters beyond ASCII with an ASCII letter in their lower case.
                match c {
                    '\u{212a}' => token.push('k'),
                    'İ' => {
                        // Its second half, a combining dot, ends the token.
                        token.push('i');
                        self.end_token(&mut token, &mut tokens);
                    }
                    _ => self.end_token(&mut token, &mut tokens),
                }
                if c == '\n' {
                    tokens.end_line();
                }
            }
        }
        self.end_token(&mut token, &mut tokens);
        tokens.end_line();
        tokens
    }

    fn end_token(&mut self, token: &mut String, tokens: &mut Tokens) {
        if !token.is_empty() {
            tokens.all.push(self.number(token));
            token.clear();
        }
    }

    fn number(&mut self, token: &str) -> u32 {
        if let Some(&number) = self.tokens.get(token) {
            return number;
        }
        let size = &mut self.size;
        let mut next = || {
            *size += 1;
            *size - 1
        };
        let number = if self.stemmer {
            let stem = if token.len() < STEMMED_LENGTH_MIN {
                token.to_owned()
            } else {
                porter::stem(token)
            };
            *self.stems.entry(stem).or_insert_with(next)
        } else {
            next()
        };
        self.tokens.insert(token.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, stemmer: bool, expected: &[&[u32]]) {
        let tokens = Vocabulary::new(stemmer).tokens(text);
        assert_eq!(tokens.lines(), expected, "{text:?}");
        assert_eq!(tokens.all, expected.concat(), "{text:?}");
    }

    /// Would catch a separator that is none, and lower case that is only ASCII's.
    #[test]
    fn tokens_are_those_of_rouge_score() {
        check("", false, &[]);
        check(" \n\n é_\n", false, &[]);
        check(
            "a_B a2é\u{212a}\nb\r\nK",
            false,
            &[&[0, 1, 2, 3], &[1], &[3]],
        );
        // `İ` is `i` and a combining dot.
        check("İx i X", false, &[&[0, 1, 0, 1]]);
        check("runs run running", true, &[&[0, 0, 0]]);
        check("runs run running", false, &[&[0, 1, 2]]);
        // Of three letters: not stemmed, though nltk would.
        check("ads ad", true, &[&[0, 1]]);
    }
}
