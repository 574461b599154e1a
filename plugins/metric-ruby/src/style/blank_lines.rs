//! Blank lines around definitions: E30.

use super::codes::{Code, Counts};
use super::phrases::{starts_top_level, starts_with_def};
use super::text::expand_indent;

/// `BLANK_LINES_CONFIG`: above definitions at the top level, and elsewhere.
const TOP_LEVEL: usize = 2;
const METHOD: usize = 1;

/// What came before the current statement.
#[derive(Default)]
pub struct Surroundings {
    /// Blank lines directly above.
    pub blank_lines: usize,
    /// The most blank lines above it and its comments.
    pub blank_before: usize,
    pub previous_logical: String,
    /// Whether the last statement without indentation is a `def` or `class`.
    after_definition: bool,
    pub previous_indent_level: usize,
}

impl Surroundings {
    pub fn set_previous(&mut self, logical: String, indent_level: usize) {
        if indent_level == 0 {
            self.after_definition = logical.starts_with("def ") || logical.starts_with("class ");
        }
        self.previous_logical = logical;
        self.previous_indent_level = indent_level;
    }

    /// Counts the violations of a statement that ends on line `line_number`.
    pub fn check(
        &self,
        line: &str,
        indent_level: usize,
        line_number: usize,
        lines: &[&str],
        counts: &mut Counts,
    ) {
        let before = self.blank_before;
        let previous = &self.previous_logical;
        if previous.is_empty() && before < TOP_LEVEL {
            return;
        }
        if previous.starts_with('@') {
            if self.blank_lines > 0 {
                counts.add(Code::E304);
            }
        } else if self.blank_lines > TOP_LEVEL
            || (indent_level > 0 && self.blank_lines == METHOD + 1)
        {
            counts.add(Code::E303);
        } else if starts_top_level(line) {
            if before == 0 && is_one_liner(indent_level, line_number, lines) {
                return;
            }
            if indent_level == 0 {
                if before != TOP_LEVEL {
                    counts.add(Code::E302);
                }
            } else if before != METHOD
                && self.previous_indent_level >= indent_level
                && !starts_with_docstring(previous)
            {
                counts.add(if is_nested(indent_level, line_number, lines) {
                    Code::E306
                } else {
                    Code::E301
                });
            }
        } else if !line.is_empty()
            && indent_level == 0
            && before != TOP_LEVEL
            && self.after_definition
        {
            counts.add(Code::E305);
        }
    }
}

/// `u?r?["\']`.
fn starts_with_docstring(line: &str) -> bool {
    let rest = line.strip_prefix('u').unwrap_or(line);
    let rest = rest.strip_prefix('r').unwrap_or(rest);
    rest.starts_with(['"', '\''])
}

/// `_is_one_liner`, for a line that begins a definition.
fn is_one_liner(indent_level: usize, line_number: usize, lines: &[&str]) -> bool {
    let at = line_number.saturating_sub(1);
    let above = if at < 1 {
        0
    } else {
        expand_indent(lines[at - 1])
    };
    if above > indent_level {
        return false;
    }
    let definition = lines[at..].iter().position(|line| {
        let line = rlhf_text::strip(line);
        !line.starts_with('@') && starts_top_level(line)
    });
    let Some(definition) = definition else {
        return false;
    };
    let next = lines[at + definition + 1..]
        .iter()
        .find(|line| !rlhf_text::is_blank(line));
    next.is_none_or(|line| expand_indent(line) <= indent_level)
}

/// Whether the nearest line above with less indentation, and so on outwards,
/// leads to a `def`.
fn is_nested(indent_level: usize, line_number: usize, lines: &[&str]) -> bool {
    let mut ancestor_level = indent_level;
    let mut nested = false;
    let end = line_number
        .checked_sub(TOP_LEVEL)
        .map_or(lines.len(), |at| at + 1);
    for line in lines[..end].iter().rev() {
        if !rlhf_text::is_blank(line) && expand_indent(line) < ancestor_level {
            ancestor_level = expand_indent(line);
            nested = starts_with_def(super::text::skip_blanks(line));
            if nested || ancestor_level == 0 {
                break;
            }
        }
    }
    nested
}
