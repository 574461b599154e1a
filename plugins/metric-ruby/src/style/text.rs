//! Lines and characters as Python's `str` and `re` see them.

use rlhf_python::words::{is_identifier_start, is_word};
use rlhf_text::is_whitespace;

/// `str.splitlines(keepends=True)`.
pub fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end =
            rest.char_indices()
                .find(|&(_, c)| is_line_end(c))
                .map_or(rest.len(), |(at, c)| {
                    if rest[at..].starts_with("\r\n") {
                        at + 2
                    } else {
                        at + c.len_utf8()
                    }
                });
        let (line, after) = rest.split_at(end);
        lines.push(line);
        rest = after;
    }
    lines
}

fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Width of the indentation, where tabs advance to the next multiple of 8
/// (`expand_indent`).
pub fn expand_indent(line: &str) -> usize {
    let line = line.trim_end_matches(['\n', '\r']);
    if !line.contains('\t') {
        return line.chars().take_while(|&c| is_whitespace(c)).count();
    }
    let mut width = 0;
    for byte in line.bytes() {
        match byte {
            b'\t' => width = width / 8 * 8 + 8,
            b' ' => width += 1,
            _ => break,
        }
    }
    width
}

/// Whether `# noqa` or `# nopep8` stands in the text.
pub fn has_noqa(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte == b'#') {
        rest = &rest[at + 1..];
        let Some(behind) = rest.strip_prefix(' ') else {
            continue;
        };
        rest = behind;
        for word in ["noqa", "nopep8"] {
            let found = rest.as_bytes().get(..word.len());
            if found.is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
                && !rest[word.len()..].starts_with(is_word)
            {
                return true;
            }
        }
    }
    false
}

/// `str.isidentifier()`, for names without combining marks.
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(is_identifier_start) && text.chars().all(is_word)
}

/// The words of a text, `\b\w+\b`, and where they start.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = skip(text, at, |inside| !inside);
        at = skip(text, start, |inside| inside);
        (start < at).then(|| (start, &text[start..at]))
    })
}

/// Where the characters of words from `at` on end, or those of no words, as `wanted` says.
fn skip(text: &str, at: usize, wanted: impl Fn(bool) -> bool) -> usize {
    let mut at = at;
    while let Some(&byte) = text.as_bytes().get(at) {
        // Most texts are plain ASCII: decode characters only where there are others.
        let (inside, width) = if byte.is_ascii() {
            (byte.is_ascii_alphanumeric() || byte == b'_', 1)
        } else {
            let Some(c) = text[at..].chars().next() else {
                break;
            };
            (is_word(c), c.len_utf8())
        };
        if !wanted(inside) {
            break;
        }
        at += width;
    }
    at
}

/// `text` without the word at its start, if it starts with this one.
pub fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    (!rest.starts_with(is_word)).then_some(rest)
}

/// `text` without at least one blank at its start.
pub fn strip_blanks(text: &str) -> Option<&str> {
    let rest = skip_blanks(text);
    (rest.len() < text.len()).then_some(rest)
}

/// `text` without the whitespace at its start.
pub fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches(is_whitespace)
}

/// `keyword.iskeyword` of CPython 3.11.
pub fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "False"
            | "None"
            | "True"
            | "and"
            | "as"
            | "assert"
            | "async"
            | "await"
            | "break"
            | "class"
            | "continue"
            | "def"
            | "del"
            | "elif"
            | "else"
            | "except"
            | "finally"
            | "for"
            | "from"
            | "global"
            | "if"
            | "import"
            | "in"
            | "is"
            | "lambda"
            | "nonlocal"
            | "not"
            | "or"
            | "pass"
            | "raise"
            | "return"
            | "try"
            | "while"
            | "with"
            | "yield"
    )
}

/// `keyword.issoftkeyword` of CPython 3.11.
pub fn is_soft_keyword(word: &str) -> bool {
    matches!(word, "_" | "case" | "match")
}

/// `SINGLETONS`.
pub fn is_singleton(word: &str) -> bool {
    matches!(word, "False" | "None" | "True")
}

/// `KEYWORDS`: without the singletons, with `print`.
pub fn is_statement_keyword(word: &str) -> bool {
    word == "print" || (is_keyword(word) && !is_singleton(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a line end that only one of the two languages knows.
    #[test]
    fn lines_are_pythons() {
        let check = |text: &str, expected: &[&str]| assert_eq!(split_lines(text), expected);
        check("", &[]);
        check("a", &["a"]);
        check("a\n\r\nb\rc", &["a\n", "\r\n", "b\r", "c"]);
        check(
            "a\x0bb\x0cc\x1cd\u{85}e\u{2028}",
            &["a\x0b", "b\x0c", "c\x1c", "d\u{85}", "e\u{2028}"],
        );
    }

    #[test]
    fn indents_are_pycodestyles() {
        let check =
            |line: &str, expected: usize| assert_eq!(expand_indent(line), expected, "{line:?}");
        check("", 0);
        check("    a\n", 4);
        check("\ta", 8);
        check("    \ta", 8);
        check(" \x0ca", 2);
        check(" \x0ca\t", 1);
        check("   \n", 3);
    }

    #[test]
    fn noqa_is_pycodestyles() {
        for text in ["# noqa", "x  # NoQA: E501", "# nopep8", "## noqa"] {
            assert!(has_noqa(text), "{text}");
        }
        for text in ["#noqa", "# noqax", "noqa", "#  noqa", "# no qa"] {
            assert!(!has_noqa(text), "{text}");
        }
    }
}
