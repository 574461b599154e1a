//! Violations of PEP 8 as pycodestyle 2.15.0 counts them.
//!
//! A port of its checks under Python 3.11, with the default options and what
//! they ignore. Owns the walk over the text ([`violations`]); `physical` looks
//! at lines as they stand, `phrases` at the text of statements, `spacing`,
//! `continuation` and `names` at their tokens, `blank_lines` and `imports` at
//! what surrounds them. Counts only: where a violation is, nobody here needs.

mod blank_lines;
mod codes;
mod continuation;
mod imports;
mod names;
mod phrases;
mod physical;
mod spacing;
mod text;

use rlhf_python::tokens::{Failure, Kind, Token, tokenize_lines};

use self::blank_lines::Surroundings;
pub use self::codes::{Code, Counts};
use self::continuation::Continuation;
use self::imports::Imports;
use self::physical::Physical;
use self::text::{expand_indent, has_noqa, skip_blanks, split_lines};

/// Columns of an indentation level (`INDENT_SIZE`).
const INDENT_SIZE: usize = 4;

/// How often each violation occurs in a text, `pycodestyle.Checker(lines =
/// source.splitlines(True)).check_all()`.
///
/// Any text has counts, also one that is no Python: E901 is counted where
/// Python's tokeniser gives up.
#[must_use]
pub fn violations(source: &str) -> Counts {
    // A byte-order mark, also one read as Latin-1, is no part of the text.
    let unmarked = source
        .strip_prefix('\u{feff}')
        .or_else(|| source.strip_prefix("\u{ef}\u{bb}\u{bf}"));
    let mut lines = split_lines(unmarked.unwrap_or(source));
    if unmarked == Some("") {
        lines.push("");
    }
    let source = unmarked.unwrap_or(source);
    let mut checker = Checker::new(lines.clone());
    let mut previous_line = "";
    let mut line_has_noqa = false;
    let mut past_end = false;
    let result = tokenize_lines(source, lines.iter().copied(), |token| {
        past_end |= token.start.line > checker.lines.len();
        if past_end {
            return;
        }
        // What only the end implies comes after the end was looked for.
        let implied = token.kind == Kind::Newline && token.line.is_empty();
        checker.read_up_to(token.end.line + usize::from(implied));
        // A long line has many tokens.
        if !std::ptr::eq(token.line, previous_line) {
            line_has_noqa = has_noqa(token.line);
        }
        checker.noqa = line_has_noqa;
        checker.physical_line_of(&token, previous_line);
        checker.take(token);
        previous_line = token.line;
    });
    if let Err(failure) = result {
        // The line at which the tokeniser gave up has been read.
        checker.read_up_to(match failure {
            Failure::OpenString | Failure::OpenStatement => checker.lines.len(),
            Failure::Dedent => checker.line_number + 1,
        });
        checker.counts.add(Code::E901);
    }
    checker.finish()
}

/// The state of pycodestyle's `Checker`.
struct Checker<'a> {
    lines: Vec<&'a str>,
    counts: Counts,
    /// Lines that have been read; the last of them is the current one.
    line_number: usize,
    indent_char: Option<char>,
    /// Of the current token's line, or of the statement's comments.
    noqa: bool,
    /// Those of the current statement.
    tokens: Vec<Token<'a>>,
    /// Of the current statement.
    depth: i64,
    surroundings: Surroundings,
    imports: Imports,
}

impl<'a> Checker<'a> {
    fn new(lines: Vec<&'a str>) -> Self {
        Self {
            lines,
            counts: Counts::default(),
            line_number: 0,
            indent_char: None,
            noqa: false,
            tokens: Vec::new(),
            depth: 0,
            surroundings: Surroundings::default(),
            imports: Imports::default(),
        }
    }

    fn read_up_to(&mut self, number: usize) {
        while self.line_number < number.min(self.lines.len()) {
            if self.indent_char.is_none() {
                let first = self.lines[self.line_number].chars().next();
                self.indent_char = first.filter(|c| matches!(c, ' ' | '\t' | '\u{a0}'));
            }
            self.line_number += 1;
        }
    }

    fn check_physical(&mut self, line: &str, number: usize, multiline: bool) {
        let physical = Physical {
            line,
            number,
            total: self.lines.len(),
            multiline,
            noqa: self.noqa,
            indent_char: self.indent_char,
        };
        if let Some(changed) = physical.check(&mut self.counts) {
            self.indent_char = Some(changed);
        }
    }

    /// `maybe_check_physical`: lines are checked when they end.
    fn physical_line_of(&mut self, token: &Token<'a>, previous_line: &str) {
        if ends_line(token) {
            let line = if token.line.is_empty() {
                previous_line
            } else {
                token.line
            };
            self.check_physical(line, self.line_number, false);
        } else if token.kind == Kind::String && token.text.contains('\n') && !self.noqa {
            for number in token.start.line..token.end.line {
                // A further line end changes nothing but a last line without one.
                let line = format!("{}\n", self.lines[number - 1]);
                self.check_physical(&line, number, true);
            }
        }
    }

    /// `check_all`, for one token: a statement is checked when it ends.
    fn take(&mut self, token: Token<'a>) {
        self.tokens.push(token);
        match token.kind {
            Kind::Operator => match token.text {
                "(" | "[" | "{" => self.depth += 1,
                ")" | "]" | "}" => self.depth -= 1,
                _ => {}
            },
            Kind::Newline if self.depth == 0 => {
                self.check_logical();
                self.surroundings.blank_before = 0;
            }
            Kind::LineEnd if self.depth == 0 => {
                if self.tokens.len() == 1 {
                    self.surroundings.blank_lines += 1;
                    self.tokens.clear();
                } else {
                    self.check_logical();
                }
            }
            _ => {}
        }
    }

    fn check_logical(&mut self) {
        let Some(logical) = Logical::of(&self.tokens) else {
            return;
        };
        self.noqa = has_noqa(&logical.comments);
        let indent_level = expand_indent(before_in_line(&logical.start));
        let surroundings = &mut self.surroundings;
        surroundings.blank_before = surroundings.blank_before.max(surroundings.blank_lines);

        let line = logical.text.as_str();
        let (noqa, counts) = (self.noqa, &mut self.counts);
        surroundings.check(line, indent_level, self.line_number, &self.lines, counts);
        self.imports.check(line, indent_level, noqa, counts);
        indentation(
            line,
            &surroundings.previous_logical,
            (indent_level, surroundings.previous_indent_level),
            self.indent_char,
            counts,
        );
        phrases::check(line, noqa, counts);
        spacing::check(line, &self.tokens, counts);
        names::check(&self.tokens, noqa, counts);
        if !noqa {
            let tabs = self.indent_char == Some('\t');
            Continuation::check(line, &self.tokens, indent_level, tabs, counts);
        }

        if !line.is_empty() {
            surroundings.set_previous(logical.text, indent_level);
        }
        surroundings.blank_lines = 0;
        self.tokens.clear();
    }

    fn finish(mut self) -> Counts {
        if !self.tokens.is_empty()
            && let Some(last) = self.lines.last().copied()
        {
            self.check_physical(last, self.line_number, false);
            self.check_logical();
        }
        self.counts
    }
}

/// `_is_eol_token`.
fn ends_line(token: &Token) -> bool {
    matches!(token.kind, Kind::LineEnd | Kind::Newline)
        || skip_blanks(rest_of_line(token)) == "\\\n"
}

/// `token.line[token.end[1]:]`: the line behind a token. Of a token on several
/// lines it is something else, which a string that isn't closed can show.
fn rest_of_line<'a>(token: &Token<'a>) -> &'a str {
    let behind = if token.start.line == token.end.line {
        token.offset + token.text.len() - token.line_offset
    } else {
        let mut columns = token.line.char_indices();
        columns
            .nth(token.end.column)
            .map_or(usize::MAX, |(at, _)| at)
    };
    token.line.get(behind..).unwrap_or_default()
}

/// The line before a token.
fn before_in_line<'a>(token: &Token<'a>) -> &'a str {
    &token.line[..token.offset - token.line_offset]
}

/// A statement on one line: strings are muted, comments left out
/// (`build_tokens_line`).
struct Logical<'a> {
    text: String,
    comments: String,
    /// The first token, comments included.
    start: Token<'a>,
}

impl<'a> Logical<'a> {
    /// `None` where there is nothing but line ends and indents.
    fn of(tokens: &[Token<'a>]) -> Option<Self> {
        let mut logical: Option<Self> = None;
        let mut previous: Option<&Token> = None;
        for token in tokens {
            if matches!(
                token.kind,
                Kind::LineEnd | Kind::Newline | Kind::Indent | Kind::Dedent
            ) {
                continue;
            }
            let logical = logical.get_or_insert_with(|| Self {
                text: String::new(),
                comments: String::new(),
                start: *token,
            });
            if token.kind == Kind::Comment {
                logical.comments.push_str(token.text);
                continue;
            }
            if let Some(previous) = previous {
                if previous.end.line != token.start.line {
                    let before = previous.text.chars().next_back().unwrap_or(' ');
                    let opens = matches!(before, '{' | '[' | '(');
                    let closes = matches!(token.text, "" | "}" | "]" | ")");
                    if before == ',' || (!opens && !closes) {
                        logical.text.push(' ');
                    }
                } else if previous.end.column != token.start.column {
                    logical.text.push_str(gap(previous, token));
                }
            }
            if token.kind == Kind::String {
                mute(token.text, &mut logical.text);
            } else {
                logical.text.push_str(token.text);
            }
            previous = Some(token);
        }
        logical
    }
}

/// What stands between two tokens of a line.
fn gap<'a>(previous: &Token, token: &Token<'a>) -> &'a str {
    let before = before_in_line(token);
    let length = token.offset - (previous.offset + previous.text.len());
    &before[before.len() - length..]
}

/// A string literal with an `x` for every character between its quotes.
fn mute(literal: &str, text: &mut String) {
    let quotes = if literal.ends_with("\"\"\"") || literal.ends_with("'''") {
        3
    } else {
        1
    };
    let prefix = literal.find(['\'', '"']).unwrap_or(0);
    let (start, end) = (prefix + quotes, literal.len() - quotes);
    text.push_str(&literal[..start]);
    let inside = literal.get(start..end).unwrap_or_default();
    text.extend(inside.chars().map(|_| 'x'));
    text.push_str(&literal[end..]);
}

/// `indentation`: E11.
fn indentation(
    line: &str,
    previous: &str,
    (level, previous_level): (usize, usize),
    indent_char: Option<char>,
    counts: &mut Counts,
) {
    let is_comment = line.is_empty();
    let mut count = |code, of_comment| counts.add(if is_comment { of_comment } else { code });
    if !level.is_multiple_of(INDENT_SIZE) {
        count(Code::E111, Code::E114);
    }
    let expected = previous.ends_with(':');
    if expected && level <= previous_level {
        count(Code::E112, Code::E115);
    } else if !expected && level > previous_level {
        count(Code::E113, Code::E116);
    }
    let amount = if indent_char == Some('\t') { 8 } else { 4 };
    if expected && level > previous_level + amount {
        counts.add(Code::E117);
    }
}
