#![doc = include_str!("../README.md")]

use tree_sitter::Language;

unsafe extern "C" {
    // Safe: it takes nothing and returns a pointer to a table that lives as long as the program,
    // which is what a `Language` is.
    safe fn tree_sitter_javascript() -> Language;
}

/// The grammar.
#[must_use]
pub fn language() -> Language {
    tree_sitter_javascript()
}

#[cfg(test)]
mod tests {
    /// Would catch a grammar of another version than the runtime's, or one that doesn't link.
    #[test]
    fn javascript_is_parsed() {
        let mut parser = tree_sitter::Parser::new();
        parser.set_language(&super::language()).expect("they fit");
        let tree = parser.parse("let x = `${y}`", None).expect("parsed");
        assert_eq!(
            tree.root_node().to_sexp(),
            "(program (lexical_declaration (variable_declarator name: (identifier) \
             value: (template_string (template_substitution (identifier))))))"
        );
    }
}
