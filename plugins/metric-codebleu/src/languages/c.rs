//! C, as codebleu 0.7.0 with tree-sitter-c 0.21.4 sees it.
//!
//! The reference has no data flow for it and takes that of C#, from whose
//! grammar this one has few kinds of nodes: `x = y` counts, `int x = y` doesn't.

use crate::comments;
use crate::languages::c_sharp::STATEMENTS;
use crate::languages::{Language, braces};

/// The language.
pub static C: Language = Language {
    name: "c",
    // `keywords/c.txt`.
    keywords: &[
        "auto", "else", "long", "switch", "break", "enum", "register", "typedef", "case", "extern",
        "return", "union", "char", "float", "short", "unsigned", "const", "for", "signed", "void",
        "continue", "goto", "sizeof", "volatile", "default", "if", "static", "while", "do", "int",
        "struct", "_Packed", "double",
    ],
    parser: tree_sitter_c::language,
    without_comments: |source| Some(comments::remove_from_c_like(source)),
    rules: |parser, grammar| braces::rules(&STATEMENTS, parser, grammar),
};
