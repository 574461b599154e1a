//! The languages that can be scored, a file each.

mod braces;
mod c;
mod c_sharp;
mod cpp;
mod go;
mod java;
mod javascript;
mod php;
mod python;
mod ruby;
mod rust;

use crate::dataflow::Rules;
use crate::tree::{Grammar, Kind};

/// What CodeBLEU needs to know about a language.
#[derive(Debug)]
pub struct Language {
    /// As codebleu names it.
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
pub static LANGUAGES: &[&Language] = &[
    &python::PYTHON,
    &java::JAVA,
    &javascript::JAVASCRIPT,
    &go::GO,
    &c::C,
    &cpp::CPP,
    &c_sharp::C_SHARP,
    &php::PHP,
    &ruby::RUBY,
    &rust::RUST,
];

/// Other names under which data sets and people know them.
const ALIASES: [(&str, &str); 11] = [
    ("py", "python"),
    ("python3", "python"),
    ("js", "javascript"),
    ("golang", "go"),
    ("c++", "cpp"),
    ("c#", "c_sharp"),
    ("cs", "c_sharp"),
    ("csharp", "c_sharp"),
    ("c-sharp", "c_sharp"),
    ("rb", "ruby"),
    ("rs", "rust"),
];

impl Language {
    /// The place in [`LANGUAGES`] of the language that is called so, whatever the case.
    #[must_use]
    pub fn place(name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name.as_str(), |(_, name)| name);
        LANGUAGES.iter().position(|language| language.name == name)
    }
}

/// Whether a kind's name has `else` in it: how the reference tells a statement with an `else`.
fn is_else(kind: &Kind) -> bool {
    kind.name.contains("else")
}
