//! Java, as codebleu 0.7.0 with tree-sitter-java 0.21.0 sees it.

use crate::comments;
use crate::languages::Language;
use crate::languages::braces::{self, Each, PLAIN, Statements};

/// The language.
pub static JAVA: Language = Language {
    name: "java",
    // `keywords/java.txt`.
    keywords: &[
        "abstract",
        "assert",
        "boolean",
        "break",
        "byte",
        "case",
        "catch",
        "char",
        "class",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extends",
        "final",
        "finally",
        "float",
        "for",
        "goto",
        "if",
        "implements",
        "import",
        "instanceof",
        "int",
        "interface",
        "long",
        "native",
        "new",
        "package",
        "private",
        "protected",
        "public",
        "return",
        "short",
        "static",
        "strictfp",
        "super",
        "switch",
        "synchronized",
        "this",
        "throw",
        "throws",
        "transient",
        "try",
        "void",
        "volatile",
        "while",
    ],
    parser: tree_sitter_java::language,
    without_comments: |source| Some(comments::remove_from_c_like(source)),
    rules: |parser, grammar| braces::rules(&STATEMENTS, parser, grammar),
};

/// `DFG_java` of `parser/DFG.py`.
static STATEMENTS: Statements = Statements {
    declaration: &["variable_declarator"],
    assignment: &["assignment_expression"],
    increment: &["update_expression"],
    branch: &["if_statement", "else"],
    counted_loop: &["for_statement"],
    each_loop: &["enhanced_for_statement"],
    each: Each::Fields("name", "value"),
    other_loop: &["while_statement"],
    ..PLAIN
};
