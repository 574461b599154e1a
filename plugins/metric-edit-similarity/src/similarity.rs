//! How similar two texts are, by the edits between them.

use rlhf_text::{CharNumbers, lcs_length, levenshtein};

/// Which edits count, and against what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// `1 − d / max(|a|, |b|)`, `d` the insertions, deletions and substitutions.
    #[default]
    Levenshtein,
    /// `1 − d / (|a| + |b|)`, `d` the insertions and deletions, rounded to
    /// hundredths: `fuzz.ratio` of CodeXGLUE's evaluators.
    Codexglue,
}

impl Variant {
    /// The similarity of two texts, 0..1, in code points; 1 for two empty ones.
    #[must_use]
    pub fn similarity(self, a: &str, b: &str) -> f64 {
        let mut numbers = CharNumbers::new(0, |_| true);
        let (a, b) = (numbers.of(a), numbers.of(b));
        if a == b {
            return 1.0;
        }
        match self {
            Self::Levenshtein => {
                let longest = a.len().max(b.len());
                1.0 - levenshtein(&a, &b) as f64 / longest as f64
            }
            Self::Codexglue => {
                let both = a.len() + b.len();
                let edits = both - 2 * lcs_length(&a, &b);
                let ratio = 1.0 - edits as f64 / both as f64;
                // Python's `round`, which rounds halves to even.
                (100.0 * ratio).round_ties_even() / 100.0
            }
        }
    }

    /// The name under which it can be asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Levenshtein => "levenshtein",
            Self::Codexglue => "codexglue",
        }
    }
}
