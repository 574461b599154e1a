//! The two ways to score.

use serde::Deserialize;

/// Whose idea of a match counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// codebleu 0.7.0's, with all that looks like a mistake: numbers to compare with published ones.
    #[default]
    Compat,
    /// Without what that gives for nothing; numbers to train on.
    ///
    /// - A data flow that isn't there is no match: without one in the references, the other parts
    ///   decide; if nothing of it matches, it is 0.
    /// - A response without code has no matches at all.
    /// - Subtrees hold the tokens that the grammar has no names for, so that `a + b` is another
    ///   one than `a - b`.
    Strict,
}

impl Mode {
    /// As the option spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compat => "compat",
            Self::Strict => "strict",
        }
    }
}
