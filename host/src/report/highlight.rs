//! Program text as HTML: comments, strings, numbers and keywords have a colour, and lines that
//! are not in another text a mark. A reader's help, not a parser: Python's lexical rules, which
//! are good enough for most languages' text.

use super::text::escape;

const KEYWORDS: [&str; 44] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "case", "class",
    "const", "continue", "def", "del", "elif", "else", "except", "finally", "fn", "for", "from",
    "function", "global", "if", "import", "in", "is", "lambda", "let", "match", "new", "nonlocal",
    "not", "or", "pass", "raise", "return", "self", "try", "var", "while", "with", "yield",
];
/// Lines that are compared with one another at most: the table of their pairs is quadratic.
const COMPARED_MAX: usize = 400;

/// A piece of text and the class that its element has; none: plain text.
type Piece<'a> = (&'a str, Option<&'static str>);

/// The text as the inside of a `<code>`.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (piece, class) in pieces(text) {
        push(&mut out, piece, class);
    }
    out
}

/// The text with a mark at each line that `other` does not have, in the order of both.
pub fn changed(text: &str, other: &str, class: &str) -> String {
    let (lines, others): (Vec<&str>, Vec<&str>) = (text.lines().collect(), other.lines().collect());
    if lines.len() > COMPARED_MAX || others.len() > COMPARED_MAX {
        return code(text);
    }
    let kept = common(&lines, &others);
    let mut out = String::new();
    let mut line = String::new();
    let mut at = 0;
    let end = |line: &mut String, at: usize, out: &mut String, newline: bool| {
        let is_kept = kept.get(at).copied().unwrap_or(true);
        if is_kept {
            out.push_str(line);
        } else {
            out.push_str(&format!("<span class=\"{class}\">{line}</span>"));
        }
        line.clear();
        if newline {
            out.push('\n');
        }
    };
    // A string over several lines is coloured line by line, so that no element spans two lines.
    for (piece, class) in pieces(text) {
        for (i, part) in piece.split('\n').enumerate() {
            if i > 0 {
                end(&mut line, at, &mut out, true);
                at += 1;
            }
            push(&mut line, part, class);
        }
    }
    end(&mut line, at, &mut out, false);
    out
}

fn push(out: &mut String, piece: &str, class: Option<&str>) {
    match class {
        Some(class) if !piece.is_empty() => {
            out.push_str(&format!("<span class=\"{class}\">{}</span>", escape(piece)));
        }
        _ => out.push_str(&escape(piece)),
    }
}

/// Which of `lines` are a part of the longest common subsequence of both.
fn common(lines: &[&str], others: &[&str]) -> Vec<bool> {
    let width = others.len() + 1;
    // Length of the longest one of what follows line `i` and line `j`.
    let mut longest = vec![0u16; (lines.len() + 1) * width];
    for i in (0..lines.len()).rev() {
        for j in (0..others.len()).rev() {
            longest[i * width + j] = if lines[i] == others[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let mut kept = vec![false; lines.len()];
    let (mut i, mut j) = (0, 0);
    while i < lines.len() && j < others.len() {
        if lines[i] == others[j] {
            kept[i] = true;
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    kept
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    // A name directly behind `def` or `class` is what is defined.
    let mut defines = false;
    while let Some(first) = rest.chars().next() {
        let (length, class) = match first {
            '#' => (rest.find('\n').unwrap_or(rest.len()), Some("comment")),
            '"' | '\'' => (string(rest, first), Some("string")),
            c if c.is_ascii_digit() => {
                let end = |c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_';
                (rest.find(end).unwrap_or(rest.len()), Some("number"))
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = |c: char| !c.is_alphanumeric() && c != '_';
                let length = rest.find(end).unwrap_or(rest.len());
                let word = &rest[..length];
                let class = match KEYWORDS.binary_search(&word) {
                    Ok(_) => Some("keyword"),
                    Err(_) if defines => Some("defined"),
                    Err(_) => None,
                };
                defines = ["def", "class", "fn", "function"].contains(&word);
                (length, class)
            }
            c => (c.len_utf8(), None),
        };
        pieces.push((&rest[..length], class));
        rest = &rest[length..];
    }
    pieces
}

/// Length in bytes of the string at the beginning of `text`: to its closing quote, its line's end
/// or, with three quotes, as far as it goes.
fn string(text: &str, quote: char) -> usize {
    let three: String = [quote; 3].iter().collect();
    if let Some(inside) = text.strip_prefix(three.as_str()) {
        return inside.find(&three).map_or(text.len(), |end| end + 6);
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(code(text), expected);
    }

    /// Would catch a string that swallows the rest, and text that is not escaped inside of one.
    #[test]
    fn words_have_their_colours() {
        check(
            "def f(x):",
            "<span class=\"keyword\">def</span> <span class=\"defined\">f</span>(x):",
        );
        check(
            "'<b>\\'' # 1",
            "<span class=\"string\">&#39;&lt;b&gt;\\&#39;&#39;</span> <span class=\"comment\"># 1</span>",
        );
        check("\"open\nx", "<span class=\"string\">&quot;open</span>\nx");
        check(
            "'''a\nb",
            "<span class=\"string\">&#39;&#39;&#39;a\nb</span>",
        );
        check("x1 = 0x1F", "x1 = <span class=\"number\">0x1F</span>");
        assert!(KEYWORDS.is_sorted());
    }

    /// Would catch a mark at a line that both have.
    #[test]
    fn changed_lines_are_marked() {
        assert_eq!(
            changed("a\nb\nc", "a\nc\nd", "added"),
            "a\n<span class=\"added\">b</span>\nc"
        );
        assert_eq!(changed("", "a", "added"), "");
    }
}
