//! Indentation of continuation lines: E12 and E13.

use std::collections::BTreeMap;

use rlhf_python::tokens::{Kind, Token};

use super::codes::{Code, Counts};
use super::text::expand_indent;
use super::{INDENT_SIZE, rest_of_line};

/// Why a token may stand at a column.
#[derive(Clone, Copy, PartialEq)]
enum Chance<'a> {
    /// It is where visual indentation wants it.
    Visual,
    /// A string or comment above it starts there.
    Text,
    /// The same token stands above it.
    Token(&'a str),
}

/// The state of `continued_indentation`; names are the reference's.
pub struct Continuation<'a> {
    /// Relative indentation of each row.
    rel_indent: Vec<i64>,
    /// Brackets opened on each row and not yet closed.
    parens: Vec<usize>,
    /// For each depth, rows with an opening bracket.
    open_rows: Vec<Vec<usize>>,
    /// For each depth, the hanging indentation, once known.
    hangs: Vec<Option<i64>>,
    /// For each depth, the column of visual indentation, or 0.
    indent: Vec<usize>,
    /// Columns at which tokens may be lined up.
    chances: BTreeMap<usize, Chance<'a>>,
}

impl<'a> Continuation<'a> {
    /// Counts the violations of a statement, whose first line is indented by `indent_level`.
    pub fn check(
        line: &str,
        tokens: &[Token<'a>],
        indent_level: usize,
        tabs: bool,
        counts: &mut Counts,
    ) {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return;
        };
        let rows = 1 + last.start.line - first.start.line;
        if rows > 1 {
            let state = Self {
                rel_indent: vec![0; rows],
                parens: vec![0; rows],
                open_rows: vec![vec![0]],
                hangs: vec![None],
                indent: vec![first.start.column],
                chances: BTreeMap::new(),
            };
            state.walk(line.ends_with(':'), tokens, indent_level, tabs, counts);
        }
    }

    fn walk(
        mut self,
        indent_next: bool,
        tokens: &[Token<'a>],
        indent_level: usize,
        tabs: bool,
        counts: &mut Counts,
    ) {
        let signed = |width: usize| i64::try_from(width).unwrap_or(i64::MAX);
        let is_valid_hang =
            |hang: i64| hang == signed(INDENT_SIZE) || (tabs && hang == signed(2 * INDENT_SIZE));
        let first_row = tokens[0].start.line;
        let (mut row, mut depth) = (0, 0);
        let mut last_indent = tokens[0].start.column;
        let mut last_token_multiline = false;
        // Of the last line that began: whether there was a chance of visual indentation.
        let mut visual_indent: Option<Chance> = None;
        for token in tokens {
            let column = token.start.column;
            let is_operator = token.kind == Kind::Operator;
            let is_new = row < token.start.line - first_row;
            if is_new {
                row = token.start.line - first_row;
            }
            if is_new
                && !last_token_multiline
                && !matches!(token.kind, Kind::LineEnd | Kind::Newline)
            {
                last_indent = column;
                self.rel_indent[row] = signed(expand_indent(token.line)) - signed(indent_level);
                let closes = is_operator && matches!(token.text, "]" | "}" | ")");
                let mut hang = 0;
                let mut is_hanging = false;
                for &open_row in self.open_rows[depth].iter().rev() {
                    hang = self.rel_indent[row] - self.rel_indent[open_row];
                    is_hanging = is_valid_hang(hang);
                    if is_hanging {
                        break;
                    }
                }
                if let Some(known) = self.hangs[depth].filter(|&known| known != 0) {
                    is_hanging = hang == known;
                }
                visual_indent = self
                    .chances
                    .get(&column)
                    .copied()
                    .filter(|_| !closes && hang > 0);
                let indent = self.indent[depth];
                if closes && indent != 0 {
                    if column != indent {
                        counts.add(Code::E124);
                    }
                } else if closes && hang == 0 {
                    // It matches the line of the opening bracket.
                } else if indent != 0 && column < indent {
                    if visual_indent != Some(Chance::Visual) {
                        counts.add(Code::E128);
                    }
                } else if is_hanging
                    || (indent_next && self.rel_indent[row] == signed(2 * INDENT_SIZE))
                {
                    // Of a closing bracket, E123 would be reported, which is ignored.
                    self.hangs[depth] = Some(hang);
                } else if visual_indent == Some(Chance::Visual) {
                    self.indent[depth] = column;
                } else if matches!(visual_indent, Some(Chance::Text))
                    || visual_indent == Some(Chance::Token(token.text))
                {
                    // It is lined up with a token above.
                } else if hang <= 0 {
                    counts.add(Code::E122);
                } else if indent != 0 {
                    counts.add(Code::E127);
                } else if !closes && self.hangs[depth].is_some_and(|known| known != 0) {
                    counts.add(Code::E131);
                } else {
                    // E121 or E126 would be reported, which are ignored.
                    self.hangs[depth] = Some(hang);
                }
            }

            self.find_chances(token, row, depth);
            if is_operator {
                match token.text {
                    "(" | "[" | "{" => {
                        depth += 1;
                        self.indent.push(0);
                        self.hangs.push(None);
                        if self.open_rows.len() == depth {
                            self.open_rows.push(Vec::new());
                        }
                        self.open_rows[depth].push(row);
                        self.parens[row] += 1;
                    }
                    ")" | "]" | "}" if depth > 0 => {
                        self.close(depth, row, last_indent);
                        depth -= 1;
                    }
                    _ => {}
                }
                self.chances
                    .entry(column)
                    .or_insert(Chance::Token(token.text));
            }
            last_token_multiline = token.start.line != token.end.line;
            if last_token_multiline {
                // Behind a string that isn't closed there is no further row.
                let indent = self.rel_indent[row];
                if let Some(last) = self.rel_indent.get_mut(token.end.line - first_row) {
                    *last = indent;
                }
            }
        }
        let last = tokens.last().map_or("", |token| token.line);
        if indent_next && expand_indent(last) == indent_level + INDENT_SIZE {
            counts.add(if visual_indent.is_some() {
                Code::E129
            } else {
                Code::E125
            });
        }
    }

    /// What the token means for lines below it.
    fn find_chances(&mut self, token: &Token<'a>, row: usize, depth: usize) {
        let column = token.start.column;
        let is_first = row == 0 && depth == 0;
        if self.parens[row] > 0
            && !matches!(token.kind, Kind::LineEnd | Kind::Comment)
            && self.indent[depth] == 0
        {
            self.indent[depth] = column;
            self.chances.insert(column, Chance::Visual);
        } else if matches!(token.kind, Kind::String | Kind::Comment) {
            self.chances.insert(column, Chance::Text);
        } else if is_first
            && (matches!(token.text, "assert" | "raise" | "with")
                || (token.text == "if" && self.chances.is_empty()))
        {
            self.chances.insert(token.end.column + 1, Chance::Visual);
        } else if token.text == ":" {
            let rest = rest_of_line(token);
            if !rest.is_empty() && rlhf_text::is_blank(rest) {
                self.open_rows[depth].push(row);
            }
        }
    }

    /// A bracket of this depth is closed.
    fn close(&mut self, depth: usize, row: usize, last_indent: usize) {
        let previous = match self.indent.pop() {
            None | Some(0) => last_indent,
            Some(indent) => indent,
        };
        self.hangs.pop();
        for indent in &mut self.indent[..depth] {
            if *indent > previous {
                *indent = 0;
            }
        }
        self.chances.split_off(&previous);
        self.open_rows.truncate(depth + 1);
        if depth > 1 {
            self.chances.insert(self.indent[depth - 1], Chance::Visual);
        }
        if let Some(open) = self.parens[..=row].iter_mut().rev().find(|open| **open > 0) {
            *open -= 1;
        }
    }
}
