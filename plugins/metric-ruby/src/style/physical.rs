//! Checks of lines as they stand in the text.

use rlhf_text::{split, strip_end};

use super::codes::{Code, Counts};

/// `MAX_LINE_LENGTH`, in characters.
const LINE_LENGTH_MAX: usize = 79;

/// A line, and what checks of it want to know.
pub struct Physical<'a> {
    pub line: &'a str,
    /// From 1.
    pub number: usize,
    /// Lines of the text.
    pub total: usize,
    /// Whether it belongs to a string of several lines.
    pub multiline: bool,
    pub noqa: bool,
    /// First character of the first indented line so far.
    pub indent_char: Option<char>,
}

impl Physical<'_> {
    /// Counts the line's violations. Returns the new `indent_char` if it has changed.
    pub fn check(&self, counts: &mut Counts) -> Option<char> {
        if self.is_too_long() {
            counts.add(Code::E501);
        }
        let indent_end = self.line.find(|c| !matches!(c, ' ' | '\t'));
        let indent = &self.line[..indent_end.unwrap_or(self.line.len())];
        if indent.contains('\t') {
            counts.add(Code::W191);
        }
        let mixed = indent.chars().any(|c| Some(c) != self.indent_char);
        if mixed {
            counts.add(Code::E101);
        }
        if self.number == self.total {
            let stripped = self.line.trim_end_matches(['\r', '\n']);
            if stripped.is_empty() && !self.line.is_empty() {
                counts.add(Code::W391);
            } else if stripped.len() == self.line.len() {
                counts.add(Code::W292);
            }
        }
        let line = self.line.trim_end_matches(['\n', '\r', '\x0c']);
        let stripped = line.trim_end_matches([' ', '\t', '\x0b']);
        if stripped.len() < line.len() {
            counts.add(if stripped.is_empty() {
                Code::W293
            } else {
                Code::W291
            });
        }
        if mixed { indent.chars().next() } else { None }
    }

    /// `maximum_line_length`.
    fn is_too_long(&self) -> bool {
        // No line has more characters than bytes.
        if self.line.len() <= LINE_LENGTH_MAX || self.noqa {
            return false;
        }
        let line = strip_end(self.line);
        let length = line.chars().count();
        if length <= LINE_LENGTH_MAX || (self.number == 1 && line.starts_with("#!")) {
            return false;
        }
        // Long addresses in comments and strings are let pass.
        let mut chunks = split(line);
        let lone = match (chunks.next(), chunks.next(), chunks.next()) {
            (Some(chunk), None, None) if self.multiline => Some(chunk),
            (Some("#"), Some(chunk), None) => Some(chunk),
            _ => None,
        };
        lone.is_none_or(|chunk| length - chunk.chars().count() >= LINE_LENGTH_MAX - 7)
    }
}
