//! Whitespace of Python's `str` methods.
//!
//! Rust's `char::is_whitespace` lacks the four separators U+001C to U+001F,
//! which `str.isspace`, `str.split()` and `str.strip()` take for whitespace.
//! Otherwise the two agree.

use crate::bytes::{for_each_within, is_ascii};

/// Whether `str.isspace` holds for this character (CPython 3.11, Unicode 14).
#[inline]
#[must_use]
pub fn is_whitespace(c: char) -> bool {
    if c.is_ascii() {
        return is_ascii_whitespace(c as u8);
    }
    ('\u{2000}'..='\u{200a}').contains(&c)
        || matches!(
            c,
            '\u{85}'
                | '\u{a0}'
                | '\u{1680}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202f}'
                | '\u{205f}'
                | '\u{3000}'
        )
}

/// `str.split()`: the runs of characters that are not whitespace.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = find(text, at, false)?;
        at = find(text, start, true).unwrap_or(text.len());
        Some(&text[start..at])
    })
}

/// What [`split`] gives, as a list: faster than to collect it.
#[must_use]
pub fn words(text: &str) -> Vec<&str> {
    // Room for all: whether a list must grow would be asked for each word.
    let mut words = vec![""; text.len() / 2 + 1];
    let (mut count, mut start) = (0, 0);
    let mut blank = |at: usize| {
        words[count] = &text[start..at];
        count += usize::from(start < at);
        start = at + 1;
    };
    for_each_within(text.as_bytes(), ASCII_WHITESPACE, &mut blank);
    blank(text.len());
    words.truncate(count);
    split_at_others(text, words)
}

/// Splits parts of a text, which were split at whitespace of ASCII, at other whitespace as well.
#[must_use]
pub fn split_at_others<'a>(text: &str, parts: Vec<&'a str>) -> Vec<&'a str> {
    if is_ascii(text) {
        return parts;
    }
    let mut words = Vec::with_capacity(parts.len());
    for part in parts {
        if part.is_ascii() {
            words.push(part);
        } else {
            words.extend(split(part));
        }
    }
    words
}

/// The whitespace that is one byte, as [`for_each_within`] takes it.
const ASCII_WHITESPACE: [(u8, u8); 2] = [(b'\t', b'\r'), (0x1c, b' ')];

/// [`is_whitespace`] of a character that is one byte.
#[inline]
#[must_use]
pub const fn is_ascii_whitespace(byte: u8) -> bool {
    let [(tab, carriage_return), (separator, blank)] = ASCII_WHITESPACE;
    (tab <= byte && byte <= carriage_return) || (separator <= byte && byte <= blank)
}

/// Where from `at` on the first character lies that is whitespace, or that is none.
fn find(text: &str, mut at: usize, whitespace: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    // Most texts are plain ASCII: decode characters only where there are others.
    loop {
        let byte = *bytes.get(at)?;
        let (found, width) = if byte.is_ascii() {
            (is_ascii_whitespace(byte), 1)
        } else {
            let character = text[at..].chars().next()?;
            (is_whitespace(character), character.len_utf8())
        };
        if found == whitespace {
            return Some(at);
        }
        at += width;
    }
}

/// `str.strip()`.
#[must_use]
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_whitespace)
}

/// `str.rstrip()`.
#[must_use]
pub fn strip_end(text: &str) -> &str {
    text.trim_end_matches(is_whitespace)
}

/// Whether `str.strip()` leaves nothing.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a character counted as whitespace by only one of the two languages.
    #[test]
    fn whitespace_is_pythons() {
        // `[hex(i) for i in range(0x110000) if chr(i).isspace()]` in CPython 3.11.
        let python = [
            0x9, 0xa, 0xb, 0xc, 0xd, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x85, 0xa0, 0x1680, 0x2000,
            0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028,
            0x2029, 0x202f, 0x205f, 0x3000,
        ];
        let ours: Vec<u32> = (0..0x11_0000)
            .filter_map(char::from_u32)
            .filter(|&c| is_whitespace(c))
            .map(u32::from)
            .collect();
        assert_eq!(ours, python);
    }

    #[test]
    fn splits_as_python() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(split(text).collect::<Vec<_>>(), expected, "{text:?}");
            assert_eq!(words(text), expected, "{text:?}");
        };
        check("", &[]);
        check(" \t\n", &[]);
        check("a  b\u{1c}c\u{3000}d", &["a", "b", "c", "d"]);
        check("a  b\u{1c}c\x0b\x0cd", &["a", "b", "c", "d"]);
        check("\r\n a\x1b\x7f ", &["a\x1b\x7f"]);
        // The zero-width space is no whitespace.
        check("a\u{200b}b", &["a\u{200b}b"]);
        assert_eq!(strip("\u{1f} x y\r\n"), "x y");
        assert_eq!(strip_end(" x \u{85}"), " x");
    }
}
