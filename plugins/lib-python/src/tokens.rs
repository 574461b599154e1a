//! Python's tokeniser.
//!
//! A port of `tokenize.generate_tokens` of CPython 3.11 (`Lib/tokenize.py`),
//! the one written in Python with regular expressions; 3.12 replaced it by
//! another with other errors. Tokens come out with their kind, text, line, and
//! where they start and end, in characters. An f-string is one string.

use crate::words::{is_identifier_start, is_word};

/// Columns to which a tab advances (`tabsize`).
const TAB_COLUMNS: usize = 8;

/// What kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name or keyword.
    Name,
    /// A number.
    Number,
    /// An operator or delimiter, and characters of words that begin no name.
    Operator,
    /// A string literal with prefix and quotes, on one line or several.
    String,
    /// `# …`, without the end of the line.
    Comment,
    /// The end of a statement; the text may be empty at the end of the source.
    Newline,
    /// The end of a line that ends no statement (`NL`).
    LineEnd,
    /// The whitespace that opens a block.
    Indent,
    /// The end of a block; its text is empty.
    Dedent,
    /// A stray character, or a string that isn't closed (`ERRORTOKEN`).
    Error,
    /// The end of the source; its text is empty.
    End,
}

/// A line, from 1, and a column in characters, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 0.
    pub column: usize,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// As written.
    pub text: &'a str,
    /// The line it stands on, or all lines of a string; empty for what only the end of the source implies.
    pub line: &'a str,
    /// Where that line starts in the source, in bytes.
    pub line_offset: usize,
    /// Where the text starts in the source, in bytes.
    pub offset: usize,
    /// Its first character.
    pub start: Position,
    /// After its last character.
    pub end: Position,
}

/// Why the source can't be tokenised. The reference raises an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `TokenError: EOF in multi-line string`.
    OpenString,
    /// `TokenError: EOF in multi-line statement`.
    OpenStatement,
    /// `IndentationError`: a dedent to a column that no enclosing block has.
    Dedent,
}

/// Passes the tokens of `source` to `sink`, in order.
///
/// # Errors
/// The reference raises an exception; what was passed before stays passed.
pub fn tokenize<'a>(source: &'a str, sink: impl FnMut(Token<'a>)) -> Result<(), Failure> {
    tokenize_lines(source, source.split_inclusive('\n'), sink)
}

/// [`tokenize`] for lines that were split otherwise: `lines` cut the source
/// into pieces, one behind the other, with nothing left out. An empty line ends it.
///
/// # Errors
/// Those of [`tokenize`].
pub fn tokenize_lines<'a>(
    source: &'a str,
    mut lines: impl Iterator<Item = &'a str>,
    mut sink: impl FnMut(Token<'a>),
) -> Result<(), Failure> {
    let mut indents = vec![0];
    let mut depth: i64 = 0;
    let mut continued = false;
    let mut open: Option<OpenString> = None;
    // `needcont`: it outlives a string that ended in error, in the reference as here.
    let mut must_continue = false;

    let mut offset = 0;
    let mut number = 0;
    let mut last_line;
    let mut text = "";
    loop {
        last_line = text;
        text = lines.next().unwrap_or_default();
        let begin = offset;
        offset += text.len();
        number += 1;
        let mut line = Line::new(text, number, begin);
        let mut at = 0;

        if let Some(string) = &open {
            if text.is_empty() {
                return Err(Failure::OpenString);
            }
            if let Some(end) = string.ending.find(text, 0) {
                sink(Token {
                    kind: Kind::String,
                    text: &source[string.offset..begin + end],
                    line: &source[string.line..offset],
                    line_offset: string.line,
                    offset: string.offset,
                    start: string.start,
                    end: line.position(end),
                });
                at = end;
                open = None;
                must_continue = false;
            } else if must_continue && !text.ends_with("\\\n") && !text.ends_with("\\\r\n") {
                sink(Token {
                    kind: Kind::Error,
                    text: &source[string.offset..offset],
                    // Its last line is missing in the reference as well.
                    line: &source[string.line..begin],
                    line_offset: string.line,
                    offset: string.offset,
                    start: string.start,
                    end: line.position(text.len()),
                });
                open = None;
                continue;
            } else {
                continue;
            }
        } else if depth == 0 && !continued {
            if text.is_empty() {
                break;
            }
            let mut column = 0;
            for byte in text.bytes() {
                match byte {
                    b' ' => column += 1,
                    b'\t' => column = (column / TAB_COLUMNS + 1) * TAB_COLUMNS,
                    b'\x0c' => column = 0,
                    _ => break,
                }
                at += 1;
            }
            let Some(&first) = text.as_bytes().get(at) else {
                break;
            };
            if matches!(first, b'#' | b'\r' | b'\n') {
                if first == b'#' {
                    let end = text.trim_end_matches(['\r', '\n']).len();
                    sink(line.token(Kind::Comment, at, end));
                    at = end;
                }
                sink(line.token(Kind::LineEnd, at, text.len()));
                continue;
            }
            if indents.last().is_some_and(|&indent| column > indent) {
                indents.push(column);
                sink(line.token(Kind::Indent, 0, at));
            }
            while indents.last().is_some_and(|&indent| column < indent) {
                // Columns only grow along the list.
                if indents.binary_search(&column).is_err() {
                    return Err(Failure::Dedent);
                }
                indents.pop();
                sink(line.token(Kind::Dedent, at, at));
            }
        } else {
            if text.is_empty() {
                return Err(Failure::OpenStatement);
            }
            continued = false;
        }

        while at < text.len() {
            let Some(Match { start, end, what }) = line.next_token(at) else {
                // Not the whitespace skipped in vain, but the very character at `at`.
                let end = at + text[at..].chars().next().map_or(1, char::len_utf8);
                sink(line.token(Kind::Error, at, end));
                at = end;
                continue;
            };
            at = end;
            match what {
                What::Nothing => {}
                What::Comment => sink(line.token(Kind::Comment, start, end)),
                What::LineEnd if depth > 0 => sink(line.token(Kind::LineEnd, start, end)),
                What::LineEnd => sink(line.token(Kind::Newline, start, end)),
                What::Triple(ending) => {
                    if let Some(end) = ending.find(text, end) {
                        sink(line.token(Kind::String, start, end));
                        at = end;
                    } else {
                        let offset = begin + start;
                        open = Some(OpenString {
                            ending,
                            line: begin,
                            offset,
                            start: line.position(start),
                        });
                        break;
                    }
                }
                What::String => sink(line.token(Kind::String, start, end)),
                What::ContinuedString(ending) => {
                    let offset = begin + start;
                    open = Some(OpenString {
                        ending,
                        line: begin,
                        offset,
                        start: line.position(start),
                    });
                    must_continue = true;
                    break;
                }
                What::Backslash => continued = true,
                What::Number => sink(line.token(Kind::Number, start, end)),
                What::Name => sink(line.token(Kind::Name, start, end)),
                What::Operator => {
                    match text.as_bytes()[start] {
                        b'(' | b'[' | b'{' => depth += 1,
                        b')' | b']' | b'}' => depth -= 1,
                        _ => {}
                    }
                    sink(line.token(Kind::Operator, start, end));
                }
            }
        }
    }

    // A statement ends even where the last line doesn't.
    if !last_line.is_empty()
        && !last_line.ends_with(['\r', '\n'])
        && !rlhf_text::strip(last_line).starts_with('#')
    {
        let column = last_line.chars().count();
        let start = Position {
            line: number - 1,
            column,
        };
        let end = Position {
            line: number - 1,
            column: column + 1,
        };
        sink(Token {
            kind: Kind::Newline,
            text: "",
            line: "",
            line_offset: offset,
            offset,
            start,
            end,
        });
    }
    let end = Position {
        line: number,
        column: 0,
    };
    let kinds = std::iter::repeat_n(Kind::Dedent, indents.len() - 1).chain([Kind::End]);
    for kind in kinds {
        sink(Token {
            kind,
            text: "",
            line: "",
            line_offset: offset,
            offset,
            start: end,
            end,
        });
    }
    Ok(())
}

/// A string that has begun on an earlier line.
struct OpenString {
    ending: Ending,
    /// Where its first line starts in the source.
    line: usize,
    /// Where it starts in the source.
    offset: usize,
    start: Position,
}

/// What closes a string.
#[derive(Clone, Copy)]
struct Ending {
    quote: u8,
    triple: bool,
}

impl Ending {
    /// `endpats[…].match(line, from)`: where the string ends, if on this line.
    fn find(self, line: &str, from: usize) -> Option<usize> {
        let bytes = line.as_bytes();
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            if byte == b'\\' {
                // A dot doesn't match the end of the line, so neither does `\\.` here.
                if matches!(bytes.get(at + 1), None | Some(b'\n')) {
                    return None;
                }
                // What follows may be wider than a byte; none of its further bytes is special.
                at += 2;
            } else if byte == self.quote {
                if !self.triple {
                    return Some(at + 1);
                }
                if bytes[at..].starts_with(&[self.quote; 3]) {
                    return Some(at + 3);
                }
                at += 1;
            } else {
                at += 1;
            }
        }
        None
    }
}

/// What `PseudoToken` matched.
struct Match {
    start: usize,
    end: usize,
    what: What,
}

enum What {
    /// The end of the text.
    Nothing,
    Comment,
    LineEnd,
    /// Three quotes, behind their prefix.
    Triple(Ending),
    /// A whole string with single quotes.
    String,
    /// A string with single quotes, up to a backslash at the end of its line.
    ContinuedString(Ending),
    /// A backslash at the end of the line.
    Backslash,
    Number,
    Operator,
    Name,
}

/// A line under the tokeniser.
struct Line<'a> {
    text: &'a str,
    number: usize,
    /// Where it starts in the source.
    offset: usize,
    /// A position whose column is known: bytes and characters before it.
    known: (usize, usize),
    /// For `'` and `"`: the positions from which no closing quote can be
    /// reached. Without this a line of unclosed quotes takes quadratic time.
    unclosed: [Vec<bool>; 2],
}

impl<'a> Line<'a> {
    fn new(text: &'a str, number: usize, offset: usize) -> Self {
        Self {
            text,
            number,
            offset,
            known: (0, 0),
            unclosed: [Vec::new(), Vec::new()],
        }
    }

    /// Positions are asked for from left to right, or again.
    fn position(&mut self, byte: usize) -> Position {
        if byte < self.known.0 {
            self.known = (0, 0);
        }
        let (bytes, characters) = self.known;
        self.known = (byte, characters + self.text[bytes..byte].chars().count());
        Position {
            line: self.number,
            column: self.known.1,
        }
    }

    fn token(&mut self, kind: Kind, start: usize, end: usize) -> Token<'a> {
        let text = &self.text[start..end];
        let offset = self.offset + start;
        let start = self.position(start);
        Token {
            kind,
            text,
            line: self.text,
            line_offset: self.offset,
            offset,
            start,
            end: self.position(end),
        }
    }

    /// `PseudoToken.match(line, at)`. Its alternatives, in order, are: a
    /// continuation or the end, a comment, three quotes, a number, an operator
    /// or line end, a string, a name.
    fn next_token(&mut self, at: usize) -> Option<Match> {
        let bytes = self.text.as_bytes();
        let blank = |byte: &u8| matches!(byte, b' ' | b'\x0c' | b'\t');
        let start = at + bytes[at..].iter().take_while(|&byte| blank(byte)).count();
        let rest = &bytes[start..];
        let matched = |length: usize, what| {
            Some(Match {
                start,
                end: start + length,
                what,
            })
        };
        let line_end = |rest: &[u8]| match rest {
            [b'\n', ..] => Some(1),
            [b'\r', b'\n', ..] => Some(2),
            _ => None,
        };

        let Some(&first) = rest.first() else {
            return matched(0, What::Nothing);
        };
        if first == b'\\' {
            return matched(1 + line_end(&rest[1..])?, What::Backslash);
        }
        if first == b'#' {
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            return matched(end.unwrap_or(rest.len()), What::Comment);
        }
        let prefix = string_prefix(rest);
        if let Some(prefix) = prefix {
            let quote = rest[prefix];
            if rest[prefix..].starts_with(&[quote; 3]) {
                return matched(
                    prefix + 3,
                    What::Triple(Ending {
                        quote,
                        triple: true,
                    }),
                );
            }
        }
        if let Some(length) = number_length(rest) {
            return matched(length, What::Number);
        }
        if let Some(length) = line_end(rest) {
            return matched(length, What::LineEnd);
        }
        if let Some(length) = operator_length(rest) {
            return matched(length, What::Operator);
        }
        if let Some(prefix) = prefix {
            let ending = Ending {
                quote: rest[prefix],
                triple: false,
            };
            match self.single_quoted(start + prefix + 1, ending.quote) {
                Some((end, true)) => return matched(end - start, What::String),
                Some((end, false)) => return matched(end - start, What::ContinuedString(ending)),
                None => {}
            }
        }
        let text = &self.text[start..];
        match text.find(|c| !is_word(c)).unwrap_or(text.len()) {
            0 => None,
            length if text.starts_with(is_identifier_start) => matched(length, What::Name),
            // `²` or `٣`: parts of words, but no names.
            length => matched(length, What::Operator),
        }
    }

    /// `[^\n'\\]*(?:\\.[^\n'\\]*)*('|\\\r?\n)` from `at`: where it ends, and
    /// whether by the quote.
    fn single_quoted(&mut self, at: usize, quote: u8) -> Option<(usize, bool)> {
        let bytes = self.text.as_bytes();
        let unclosed = &mut self.unclosed[usize::from(quote == b'"')];
        let mut end = at;
        let found = loop {
            if unclosed.get(end) == Some(&true) {
                break None;
            }
            match bytes[end..] {
                [byte, ..] if byte == quote => break Some((end + 1, true)),
                [b'\\', b'\n', ..] => break Some((end + 2, false)),
                [b'\\', b'\r', b'\n', ..] => break Some((end + 3, false)),
                [] | [b'\n', ..] | [b'\\'] => break None,
                // What follows may be wider than a byte; none of its further bytes is special.
                [b'\\', ..] => end += 2,
                _ => end += 1,
            }
        };
        if found.is_none() {
            unclosed.resize(bytes.len() + 1, false);
            let mut passed = at;
            while passed < end {
                unclosed[passed] = true;
                passed += if bytes[passed] == b'\\' { 2 } else { 1 };
            }
        }
        found
    }
}

/// Length of a string prefix (it may be empty) with a quote behind it.
fn string_prefix(rest: &[u8]) -> Option<usize> {
    let quote = |at: usize| matches!(rest.get(at), Some(b'\'' | b'"'));
    let letter = |at: usize| rest.get(at).map_or(0, u8::to_ascii_lowercase);
    if quote(0) {
        Some(0)
    } else if quote(1) && matches!(letter(0), b'b' | b'r' | b'u' | b'f') {
        Some(1)
    } else if quote(2)
        && matches!(
            [letter(0), letter(1)],
            [b'b' | b'f', b'r'] | [b'r', b'b' | b'f']
        )
    {
        Some(2)
    } else {
        None
    }
}

/// Length of `first(?:_?digit)*` where every digit satisfies `is_digit`; 0 if there is none.
fn digits(rest: &[u8], is_digit: impl Fn(u8) -> bool) -> usize {
    let digit_at = |i: usize| rest.get(i).is_some_and(|&byte| is_digit(byte));
    if !digit_at(0) {
        return 0;
    }
    let mut length = 1;
    loop {
        if digit_at(length) {
            length += 1;
        } else if rest.get(length) == Some(&b'_') && digit_at(length + 1) {
            length += 2;
        } else {
            return length;
        }
    }
}

/// `Number`: the length of the number at the start.
fn number_length(rest: &[u8]) -> Option<usize> {
    let is_decimal = |byte: u8| byte.is_ascii_digit();
    let whole = digits(rest, is_decimal);
    let point = rest.get(whole) == Some(&b'.');
    let fraction = if point {
        digits(&rest[whole + 1..], is_decimal)
    } else {
        0
    };
    if whole == 0 && fraction == 0 {
        return None;
    }

    let mantissa = whole + usize::from(point) + fraction;
    let exponent = match rest[mantissa..] {
        [b'e' | b'E', b'+' | b'-', ..] => match digits(&rest[mantissa + 2..], is_decimal) {
            0 => 0,
            length => 2 + length,
        },
        [b'e' | b'E', ..] => match digits(&rest[mantissa + 1..], is_decimal) {
            0 => 0,
            length => 1 + length,
        },
        _ => 0,
    };
    let float = mantissa + exponent;
    let imaginary = matches!(rest.get(float), Some(b'j' | b'J'));
    if imaginary {
        return Some(float + 1);
    }
    if point || exponent > 0 {
        return Some(float);
    }

    // An integer. `0[xX](?:_?[0-9a-fA-F])+` and its like may begin with an underscore.
    let radix = match rest {
        [b'0', b'x' | b'X', ..] => Some(16),
        [b'0', b'b' | b'B', ..] => Some(2),
        [b'0', b'o' | b'O', ..] => Some(8),
        _ => None,
    };
    if let Some(radix) = radix {
        let skipped = 2 + usize::from(rest.get(2) == Some(&b'_'));
        let is_digit = |byte: u8| char::from(byte).is_digit(radix);
        let length = digits(rest.get(skipped..).unwrap_or_default(), is_digit);
        if length > 0 {
            return Some(skipped + length);
        }
    }
    // `0(?:_?0)*`: in `007` the 7 is a number of its own.
    Some(if rest[0] == b'0' {
        digits(rest, |byte| byte == b'0')
    } else {
        whole
    })
}

/// `Special`: the length of the operator at the start, the longest that fits.
fn operator_length(rest: &[u8]) -> Option<usize> {
    let length = match rest {
        [b'*', b'*', b'=', ..]
        | [b'/', b'/', b'=', ..]
        | [b'<', b'<', b'=', ..]
        | [b'>', b'>', b'=', ..]
        | [b'.', b'.', b'.', ..] => 3,
        [b'*', b'*', ..]
        | [b'/', b'/', ..]
        | [b'<', b'<', ..]
        | [b'>', b'>', ..]
        | [b'-', b'>', ..] => 2,
        [first, b'=', ..] if b"!%&*+-/:<=>@^|".contains(first) => 2,
        [first, ..] if b"%&()*+,-./:;<=>@[]^{|}~".contains(first) => 1,
        _ => return None,
    };
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens as `K line,column-line,column text`, and the failure if there is one.
    fn check(source: &str, expected: &[&str]) {
        let mut found = Vec::new();
        let result = tokenize(
            source,
            |Token {
                 kind,
                 text,
                 start,
                 end,
                 ..
             }| {
                let kind = match kind {
                    Kind::Name => 'a',
                    Kind::Number => '1',
                    Kind::Operator => 'o',
                    Kind::String => 's',
                    Kind::Comment => '#',
                    Kind::Newline => 'n',
                    Kind::LineEnd => 'l',
                    Kind::Indent => 'i',
                    Kind::Dedent => 'd',
                    Kind::Error => '!',
                    Kind::End => return,
                };
                let (a, b) = (start, end);
                found.push(format!(
                    "{kind} {},{}-{},{} {text}",
                    a.line, a.column, b.line, b.column
                ));
            },
        );
        if let Err(failure) = result {
            found.push(format!("{failure:?}"));
        }
        assert_eq!(found, expected, "{source:?}");
    }

    /// Would catch a token that ends elsewhere than `tokenize.generate_tokens` of CPython 3.11 has it.
    #[test]
    fn tokens_are_pythons() {
        check("", &[]);
        check(
            "x = 'a'",
            &["a 1,0-1,1 x", "o 1,2-1,3 =", "s 1,4-1,7 'a'", "n 1,7-1,8 "],
        );
        check("007", &["1 1,0-1,2 00", "1 1,2-1,3 7", "n 1,3-1,4 "]);
        check("0x_f1e5", &["1 1,0-1,7 0x_f1e5", "n 1,7-1,8 "]);
        check(
            "1.5e3j.e",
            &[
                "1 1,0-1,6 1.5e3j",
                "o 1,6-1,7 .",
                "a 1,7-1,8 e",
                "n 1,8-1,9 ",
            ],
        );
        check(
            "bR'x' # c",
            &["s 1,0-1,5 bR'x'", "# 1,6-1,9 # c", "n 1,9-1,10 "],
        );
        check("# c", &["# 1,0-1,3 # c", "l 1,3-1,3 "]);
        // The stray character is reported alone, the blank before it as well.
        check(
            "a $",
            &["a 1,0-1,1 a", "! 1,1-1,2  ", "! 1,2-1,3 $", "n 1,3-1,4 "],
        );
        // An unclosed quote is a stray character, and so its prefix is a name.
        check(
            "b'a",
            &["a 1,0-1,1 b", "! 1,1-1,2 '", "a 1,2-1,3 a", "n 1,3-1,4 "],
        );
        check("é 'ü'", &["a 1,0-1,1 é", "s 1,2-1,5 'ü'", "n 1,5-1,6 "]);
        // A digit of a word that begins no name.
        check("²a", &["o 1,0-1,2 ²a", "n 1,2-1,3 "]);
        check(
            "if a:\n\tb\nc",
            &[
                "a 1,0-1,2 if",
                "a 1,3-1,4 a",
                "o 1,4-1,5 :",
                "n 1,5-1,6 \n",
                "i 2,0-2,1 \t",
                "a 2,1-2,2 b",
                "n 2,2-2,3 \n",
                "d 3,0-3,0 ",
                "a 3,0-3,1 c",
                "n 3,1-3,2 ",
            ],
        );
        check(
            "if a:\n b",
            &[
                "a 1,0-1,2 if",
                "a 1,3-1,4 a",
                "o 1,4-1,5 :",
                "n 1,5-1,6 \n",
                "i 2,0-2,1  ",
                "a 2,1-2,2 b",
                "n 2,2-2,3 ",
                "d 3,0-3,0 ",
            ],
        );
        check("'a\\\nb'\n", &["s 1,0-2,2 'a\\\nb'", "n 2,2-2,3 \n"]);
        check("'a\\\nb\n", &["! 1,0-2,2 'a\\\nb\n"]);
        check(
            "'''a\n''' ''",
            &["s 1,0-2,3 '''a\n'''", "s 2,4-2,6 ''", "n 2,6-2,7 "],
        );
        check("'''a", &["OpenString"]);
        check("(a", &["o 1,0-1,1 (", "a 1,1-1,2 a", "OpenStatement"]);
        check("a\\\n", &["a 1,0-1,1 a", "OpenStatement"]);
    }

    /// Would catch lines and places that don't lead back to the source.
    #[test]
    fn tokens_know_their_lines() {
        let source = "a\x0cb '''c\nd''' e";
        let mut found = Vec::new();
        let lines = ["a\x0c", "b '''c\n", "d''' e"];
        tokenize_lines(source, lines.into_iter(), |token| {
            assert_eq!(&source[token.offset..][..token.text.len()], token.text);
            found.push((token.text, token.line));
        })
        .unwrap();
        let expected = [
            ("a", "a\x0c"),
            ("b", "b '''c\n"),
            ("'''c\nd'''", "b '''c\nd''' e"),
            ("e", "d''' e"),
            ("", ""),
            ("", ""),
        ];
        assert_eq!(found, expected);
    }

    /// Would catch a dedent taken for granted.
    #[test]
    fn dedents_must_fit() {
        assert_eq!(tokenize("if a:\n  b\n c", |_| ()), Err(Failure::Dedent));
    }

    /// Would catch time that grows with the square: this takes minutes then.
    #[test]
    fn unclosed_quotes_take_linear_time() {
        let source = r"\'".repeat(500_000);
        let mut count = 0;
        tokenize(&source, |_| count += 1).unwrap();
        assert_eq!(count, 1_000_002);
    }
}
