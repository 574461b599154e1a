//! The options of a run, checked.

use serde::Deserialize;

/// The longest character n-grams that can be asked for: the default, and what
/// a key of `ngrams.rs` holds of any characters.
const CHAR_ORDER_MAX: usize = 6;

/// The longest word n-grams, twice those of chrF++: what a key holds of any words.
const WORD_ORDER_MAX: usize = 4;

/// The largest β; chosen, beyond any use in the literature.
const BETA_MAX: u32 = 100;

/// Options as they are written. Names and defaults are sacrebleu's.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Longest character n-grams, 1 to 6; default 6.
    pub char_order: usize,
    /// Longest word n-grams, 0 to 4; default 0, and 2 is chrF++.
    pub word_order: usize,
    /// How many times as much recall counts as precision, 1 to 100; default 2.
    pub beta: u32,
    /// Whether case is ignored; default no.
    pub lowercase: bool,
    /// Whether whitespace counts as characters; default no.
    pub whitespace: bool,
    /// Whether an order that a text lacks counts as all but 0 instead of
    /// being left out; default no.
    pub eps_smoothing: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            char_order: 6,
            word_order: 0,
            beta: 2,
            lowercase: false,
            whitespace: false,
            eps_smoothing: false,
        }
    }
}

/// Options within their ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest character n-grams.
    pub char_order: usize,
    /// Longest word n-grams.
    pub word_order: usize,
    /// β.
    pub beta: u32,
    /// Whether case is ignored.
    pub lowercase: bool,
    /// Whether whitespace counts as characters.
    pub whitespace: bool,
    /// Whether missing orders count.
    pub eps_smoothing: bool,
}

/// An option that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOption {
    /// Its name.
    pub key: &'static str,
    /// Expected and found.
    pub message: String,
}

impl Options {
    /// The settings that these options ask for.
    ///
    /// # Errors
    /// An option is out of range.
    pub fn settings(&self) -> Result<Settings, BadOption> {
        let range = |key, value, from, to| {
            let message = format!("expected {from} to {to}, found {value}");
            match (from..=to).contains(&value) {
                true => Ok(()),
                false => Err(BadOption { key, message }),
            }
        };
        range("char_order", self.char_order, 1, CHAR_ORDER_MAX)?;
        range("word_order", self.word_order, 0, WORD_ORDER_MAX)?;
        range("beta", self.beta as usize, 1, BETA_MAX as usize)?;
        Ok(Settings {
            char_order: self.char_order,
            word_order: self.word_order,
            beta: self.beta,
            lowercase: self.lowercase,
            whitespace: self.whitespace,
            eps_smoothing: self.eps_smoothing,
        })
    }
}

impl Settings {
    /// Orders of characters and words together.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.char_order + self.word_order
    }

    /// sacrebleu's signature; β other than 2, which sacrebleu has in the
    /// metric's name, is put before it.
    #[must_use]
    pub fn signature(&self) -> String {
        let beta = match self.beta {
            2 => String::new(),
            beta => format!("beta:{beta}|"),
        };
        let case = if self.lowercase { "lc" } else { "mixed" };
        let effective = if self.eps_smoothing { "no" } else { "yes" };
        let space = if self.whitespace { "yes" } else { "no" };
        let (characters, words) = (self.char_order, self.word_order);
        format!(
            "{beta}case:{case}|eff:{effective}|nc:{characters}|nw:{words}|space:{space}|ref:sacrebleu-2.6.0"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &str, expected: &str) {
        let options: Options = serde_json::from_str(options).expect("options");
        let found = match options.settings() {
            Ok(settings) => settings.signature(),
            Err(bad) => format!("{}: {}", bad.key, bad.message),
        };
        assert_eq!(found, expected);
    }

    /// Would catch an option that is ignored in silence.
    #[test]
    fn options_decide_or_are_refused() {
        check(
            "{}",
            "case:mixed|eff:yes|nc:6|nw:0|space:no|ref:sacrebleu-2.6.0",
        );
        check(
            r#"{"char_order": 4, "word_order": 2, "beta": 3, "lowercase": true, "whitespace": true, "eps_smoothing": true}"#,
            "beta:3|case:lc|eff:no|nc:4|nw:2|space:yes|ref:sacrebleu-2.6.0",
        );
        check(
            r#"{"char_order": 7}"#,
            "char_order: expected 1 to 6, found 7",
        );
        check(
            r#"{"char_order": 0}"#,
            "char_order: expected 1 to 6, found 0",
        );
        check(
            r#"{"word_order": 5}"#,
            "word_order: expected 0 to 4, found 5",
        );
        check(r#"{"beta": 0}"#, "beta: expected 1 to 100, found 0");
    }
}
