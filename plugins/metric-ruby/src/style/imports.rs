//! Imports at the top of the file: E402.

use super::codes::{Code, Counts};
use super::text::skip_blanks;

/// What was seen at the top level so far.
#[derive(Default)]
pub struct Imports {
    docstring: bool,
    other: bool,
}

impl Imports {
    pub fn check(&mut self, line: &str, indent_level: usize, noqa: bool, counts: &mut Counts) {
        const IMPORTS: [&str; 4] = ["import ", "from ", "lazy import ", "lazy from "];
        const ALLOWED: [&str; 7] = ["try", "except", "else", "finally", "with", "if", "elif"];
        let starts = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        if indent_level > 0 || line.is_empty() || noqa {
            return;
        }
        if starts(&IMPORTS) {
            if self.other {
                counts.add(Code::E402);
            }
        } else if self.other || is_dunder(line) || starts(&ALLOWED) {
        } else if is_string_literal(line) && !self.docstring {
            self.docstring = true;
        } else {
            self.other = true;
        }
    }
}

/// `_is_string_literal`. (For a line of one prefix letter, pycodestyle ends in an `IndexError`.)
fn is_string_literal(line: &str) -> bool {
    let line = line
        .strip_prefix(['u', 'U', 'b', 'B', 'r', 'R'])
        .unwrap_or(line);
    line.starts_with(['"', '\''])
}

/// `^__([^\s]+)__(?::\s*[a-zA-Z.0-9_\[\]\"]+)? = `.
fn is_dunder(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("__") else {
        return false;
    };
    let word = rest.find(rlhf_text::is_whitespace).unwrap_or(rest.len());
    let is_annotation = |c: char| c.is_ascii_alphanumeric() || "._[]\"".contains(c);
    rest[..word].match_indices('_').any(|(at, _)| {
        let Some(behind) = rest[at..].strip_prefix("__").filter(|_| at > 0) else {
            return false;
        };
        let annotated = behind
            .strip_prefix(':')
            .map(skip_blanks)
            .filter(|text| text.starts_with(is_annotation))
            .map(|text| text.trim_start_matches(is_annotation));
        behind.starts_with(" = ") || annotated.is_some_and(|text| text.starts_with(" = "))
    })
}
