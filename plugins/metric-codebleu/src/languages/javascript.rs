//! JavaScript, as codebleu 0.7.0 with tree-sitter-javascript 0.21.4 sees it.

use crate::comments;
use crate::languages::Language;
use crate::languages::braces::{self, PLAIN, Statements};

/// The language.
pub static JAVASCRIPT: Language = Language {
    name: "javascript",
    // `keywords/javascript.txt`.
    keywords: &[
        "await",
        "break",
        "case",
        "catch",
        "class",
        "const",
        "continue",
        "debugger",
        "default",
        "delete",
        "do",
        "else",
        "enum",
        "export",
        "extends",
        "false",
        "finally",
        "for",
        "function",
        "if",
        "implements",
        "import",
        "in",
        "instanceof",
        "interface",
        "let",
        "new",
        "null",
        "package",
        "private",
        "protected",
        "public",
        "return",
        "super",
        "switch",
        "static",
        "this",
        "throw",
        "try",
        "True",
        "typeof",
        "var",
        "void",
        "while",
        "with",
        "yield",
    ],
    parser: rlhf_grammar_javascript::language,
    without_comments: |source| Some(comments::remove_from_c_like(source)),
    rules: |parser, grammar| braces::rules(&STATEMENTS, parser, grammar),
};

/// `DFG_javascript` of `parser/DFG.py`. A plain `x = y` is no assignment there.
static STATEMENTS: Statements = Statements {
    declaration: &["variable_declarator"],
    assignment: &["assignment_pattern", "augmented_assignment_expression"],
    increment: &["update_expression"],
    branch: &["if_statement", "else"],
    branch_or_nothing: true,
    counted_loop: &["for_statement"],
    again_behind: "variable_declaration",
    other_loop: &["while_statement"],
    ..PLAIN
};
