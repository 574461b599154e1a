//! Tokens as rouge-score 0.1.2 has them (`tokenize.tokenize`): lower case, runs
//! of `a` to `z` and `0` to `9`, stemmed if longer than three. In strict mode
//! all that it throws away makes tokens, too.

use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::porter;

/// Shorter tokens are never stemmed.
const STEMMED_LENGTH_MIN: usize = 4;

/// What makes a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What makes one in rouge-score 0.1.2.
    #[default]
    Compat,
    /// Everything but whitespace: words of letters and digits of any script and `_`, operators of
    /// several characters ([`OPERATORS`]), and any other character by itself.
    Strict,
}

/// Operators of several characters in the languages that people write programs in; longer ones
/// stand before those they begin with. Left out is what `x=-1` or `a<-b` could mean otherwise.
const OPERATORS: [&str; 42] = [
    ">>>=", "===", "!==", "**=", "//=", "<<=", ">>=", ">>>", "...", "..=", "<=>", "&&=", "||=",
    "??=", "==", "!=", "<=", ">=", "->", "=>", ":=", "::", "**", "//", "<<", ">>", "&&", "||",
    "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "@=", "??", "?.", "..",
];

/// Numbers tokens, the same for equal ones.
#[derive(Debug, Default)]
pub struct Vocabulary {
    mode: Mode,
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
    pub fn new(stemmer: bool, mode: Mode) -> Self {
        Self {
            mode,
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
        match self.mode {
            Mode::Compat => self.ascii_words(text),
            Mode::Strict => self.words_and_operators(text),
        }
    }

    fn ascii_words(&mut self, text: &str) -> Tokens {
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

    fn words_and_operators(&mut self, text: &str) -> Tokens {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut tokens = Tokens::default();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let length = if is_word(c) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else {
                let mut operators = OPERATORS.iter();
                let operator = operators.find(|operator| rest.starts_with(**operator));
                operator.map_or(c.len_utf8(), |operator| operator.len())
            };
            let (token, after) = rest.split_at(length);
            rest = after;
            if !c.is_whitespace() {
                let mut token = token.to_lowercase();
                self.end_token(&mut token, &mut tokens);
            } else if c == '\n' {
                tokens.end_line();
            }
        }
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
            let stemmed = token.len() >= STEMMED_LENGTH_MIN
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let stem = if stemmed {
                porter::stem(token)
            } else {
                token.to_owned()
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

    fn check_in(mode: Mode, text: &str, stemmer: bool, expected: &[&[u32]]) {
        let tokens = Vocabulary::new(stemmer, mode).tokens(text);
        assert_eq!(tokens.lines(), expected, "{text:?}");
        assert_eq!(tokens.all, expected.concat(), "{text:?}");
    }

    fn check(text: &str, stemmer: bool, expected: &[&[u32]]) {
        check_in(Mode::Compat, text, stemmer, expected);
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

    /// Would catch an operator thrown away or cut, and a word that is split.
    #[test]
    fn strict_tokens_are_all_there_is() {
        let check = |text, stemmer, expected: &[&[u32]]| {
            check_in(Mode::Strict, text, stemmer, expected);
        };
        check("", false, &[]);
        check(" \t\r\n\u{3000}\u{2028}", false, &[]);
        check("a+b == a-b", false, &[&[0, 1, 2, 3, 0, 4, 2]]);
        check("a==b\n=\r\n\na", false, &[&[0, 1, 2], &[3], &[0]]);
        check("x=-1 x=- 1", false, &[&[0, 1, 2, 3, 0, 1, 2, 3]]);
        check(">>>>= >>> >=", false, &[&[0, 1, 0, 1]]);
        check("a_b A_B a é_É é_é", false, &[&[0, 0, 1, 2, 2]]);
        check("(数) 数😀", false, &[&[0, 1, 2, 1, 3]]);
        // Only words that rouge-score has, too, are stemmed.
        check("runs run runs_a run_a", true, &[&[0, 0, 1, 2]]);
        check("éruns érun", true, &[&[0, 1]]);
    }

    /// Would catch an operator that is never found, a shorter one standing before it.
    #[test]
    fn operators_are_found_whole() {
        for operator in OPERATORS {
            check_in(Mode::Strict, operator, true, &[&[0]]);
        }
    }
}
