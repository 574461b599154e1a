//! The languages that can be scored, a file each.

mod python;

use crate::dataflow::Rules;
use crate::tree::Grammar;

/// What CodeBLEU needs to know about a language.
#[derive(Debug)]
pub struct Language {
    /// As samples name it, lower case.
    pub name: &'static str,
    /// Tokens that weigh 1 in the weighted n-gram match; others weigh 0.2.
    pub keywords: &'static [&'static str],
    /// tree-sitter's parser.
    pub parser: fn() -> tree_sitter::Language,
    /// The source without comments; `None` where the reference goes on with
    /// the source as it is.
    pub without_comments: fn(&str) -> Option<String>,
    /// What the language's statements do to the data flow.
    pub rules: fn(&tree_sitter::Language, &Grammar) -> Box<dyn Rules>,
}

/// All of them. The first is the default.
pub static LANGUAGES: &[&Language] = &[&python::PYTHON];

impl Language {
    /// The language with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        LANGUAGES
            .iter()
            .copied()
            .find(|language| language.name == name)
    }
}
