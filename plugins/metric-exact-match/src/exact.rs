//! When two texts count as equal.

use rlhf_text::{split, strip};

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compared {
    /// The texts without whitespace at their ends: Python's `a.strip() == b.strip()`.
    #[default]
    Stripped,
    /// What stands between whitespace: `a.split() == b.split()`.
    Tokens,
    /// The texts as they are.
    Text,
}

impl Compared {
    /// The names under which these can be asked for.
    pub const NAMES: [(&str, Self); 3] = [
        ("stripped", Self::Stripped),
        ("tokens", Self::Tokens),
        ("text", Self::Text),
    ];

    /// Whether two texts are equal.
    #[must_use]
    pub fn equal(self, a: &str, b: &str) -> bool {
        match self {
            Self::Stripped => strip(a) == strip(b),
            Self::Tokens => split(a).eq(split(b)),
            Self::Text => a == b,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stripped => "stripped",
            Self::Tokens => "tokens",
            Self::Text => "text",
        }
    }
}
