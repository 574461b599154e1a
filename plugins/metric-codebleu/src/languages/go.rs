//! Go, as codebleu 0.7.0 with tree-sitter-go 0.21.2 sees it.

use crate::comments;
use crate::languages::Language;
use crate::languages::braces::{self, PLAIN, Statements};

/// The language.
pub static GO: Language = Language {
    name: "go",
    // `keywords/go.txt`.
    keywords: &[
        "break",
        "default",
        "func",
        "interface",
        "select",
        "case",
        "defer",
        "go",
        "map",
        "struct",
        "chan",
        "else",
        "goto",
        "package",
        "switch",
        "const",
        "fallthrough",
        "if",
        "range",
        "type",
        "continue",
        "for",
        "import",
        "return",
        "var",
        "false",
        "true",
    ],
    parser: tree_sitter_go::language,
    without_comments: |source| Some(comments::remove_from_c_like(source)),
    rules: |parser, grammar| braces::rules(&STATEMENTS, parser, grammar),
};

/// `DFG_go` of `parser/DFG.py`.
static STATEMENTS: Statements = Statements {
    declaration: &["var_spec"],
    assignment: &["assignment_statement"],
    increment: &["inc_statement"],
    branch: &["if_statement", "else"],
    branch_or_nothing: true,
    counted_loop: &["for_statement"],
    again_behind: "for_clause",
    again_first: Some("update"),
    ..PLAIN
};
