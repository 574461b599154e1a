//! Source text without comments and docstrings, as codebleu removes them
//! (`parser/utils.py`, `remove_comments_and_docstrings`).

use rlhf_python::tokens::{Failure, Kind, tokenize};
use rlhf_text::is_blank;

/// Python source rebuilt from its tokens, without comments, without strings
/// that begin a statement, and without blank lines.
///
/// More goes than docstrings do: whatever string stands at column 0, or first
/// in its statement (`'x'.join(y)` becomes `.join(y)`). Between tokens of a line
/// there are only spaces afterwards, and continuations by backslash are gone.
///
/// # Errors
/// Python's tokeniser raises an exception. The reference then goes on with the
/// source as it is.
pub fn remove_from_python(source: &str) -> Result<String, Failure> {
    let mut rebuilt = String::with_capacity(source.len());
    let mut previous = Kind::Indent;
    let mut last_line = 0;
    let mut last_column = 0;
    tokenize(source, |token| {
        if token.start.line > last_line {
            last_column = 0;
        }
        for _ in last_column..token.start.column {
            rebuilt.push(' ');
        }
        let kept = match token.kind {
            Kind::Comment => false,
            Kind::String => {
                !matches!(previous, Kind::Indent | Kind::Newline) && token.start.column > 0
            }
            _ => true,
        };
        if kept {
            rebuilt.push_str(token.text);
        }
        previous = token.kind;
        last_line = token.end.line;
        last_column = token.end.column;
    })?;
    Ok(without_blank_lines(&rebuilt))
}

/// Source of a language with `//` and `/* */`, each comment become a space, without blank lines.
///
/// The reference has one regular expression for all these languages, whose
/// strings stand between `'` or between `"`, over any number of lines. It knows
/// nothing of Go's and JavaScript's backticks, of Rust's lifetimes (`'a` opens a
/// string) or of PHP's `#`.
#[must_use]
pub fn remove_from_c_like(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut rest = String::with_capacity(source.len());
    let mut strings = [Strings::new(b'\''), Strings::new(b'"')];
    let mut block_ends = true;
    // Up to where the source has been copied, and what comes next.
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        let comment = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                Some(find(bytes, at, b"\n").unwrap_or(bytes.len()))
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') && block_ends => {
                let end = find(bytes, at + 2, b"*/").map(|end| end + 2);
                block_ends = end.is_some();
                end
            }
            quote @ (b'\'' | b'"') => {
                let strings = &mut strings[usize::from(quote == b'"')];
                at = strings.end(bytes, at).unwrap_or(at + 1);
                continue;
            }
            _ => None,
        };
        match comment {
            None => at += 1,
            Some(end) => {
                rest.push_str(&source[copied..at]);
                rest.push(' ');
                (copied, at) = (end, end);
            }
        }
    }
    rest.push_str(&source[copied..]);
    without_blank_lines(&rest)
}

/// Where `needle` begins, from `start` on.
fn find(bytes: &[u8], start: usize, needle: &[u8]) -> Option<usize> {
    let mut windows = bytes[start..].windows(needle.len());
    windows
        .position(|window| window == needle)
        .map(|at| start + at)
}

/// Strings between quotes of one kind.
struct Strings {
    quote: u8,
    /// By place, for sources with a string that doesn't end: whether no quote
    /// ends a string with this place in it. Without it, each of many such
    /// quotes would be followed to the end of the source.
    endless: Vec<bool>,
}

impl Strings {
    fn new(quote: u8) -> Self {
        Self {
            quote,
            endless: Vec::new(),
        }
    }

    /// The place behind the string that begins at `start`, if it ends.
    fn end(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let mut at = start + 1;
        while at < bytes.len() && !self.endless.get(at).is_some_and(|endless| *endless) {
            match bytes[at] {
                byte if byte == self.quote => return Some(at + 1),
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.endless.resize(bytes.len(), false);
        let stop = at.min(bytes.len());
        let mut at = start + 1;
        while at < stop {
            self.endless[at] = true;
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        None
    }
}

/// Without the lines that hold only whitespace. Only `\n` ends a line.
fn without_blank_lines(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for line in text.split('\n').filter(|line| !is_blank(line)) {
        if !result.is_empty() {
            result.push('\n');
        }
        result.push_str(line);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a string or blank kept or lost other than in codebleu 0.7.0.
    #[test]
    fn removes_what_codebleu_removes() {
        let check = |source: &str, expected: &str| {
            assert_eq!(
                remove_from_python(source).as_deref(),
                Ok(expected),
                "{source:?}"
            );
        };
        check("", "");
        check("# only a comment", "");
        check("x = 1  # one\n\ny = 2", "x = 1  \ny = 2");
        check(
            "def f():\n    \"\"\"Doc.\"\"\"\n    return 'a'",
            "def f():\n    return 'a'",
        );
        check("'x'.join(y)", ".join(y)");
        check("f(\n'a',\n 'b')", "f(\n,\n 'b')");
        check("x = \\\n\t1", "x = 1");
        check("s = '''a\n\n b'''", "s = '''a\n b'''");
        // The string follows a dedent, not a new line.
        check(
            "if a:\n  if b:\n    c\n  'd'",
            "if a:\n  if b:\n    c\n  'd'",
        );
        assert_eq!(remove_from_python("f("), Err(Failure::OpenStatement));
    }

    /// Would catch a comment kept or a string cut other than in codebleu 0.7.0;
    /// expected values are its own, of `lang="c"`.
    #[test]
    fn comments_of_c_become_spaces() {
        let check = |source: &str, expected: &str| {
            assert_eq!(remove_from_c_like(source), expected, "{source:?}");
        };
        check("", "");
        check("a; // one\n\nb; /* two\n */ c;", "a;  \nb;   c;");
        check("// é\r\na", "a");
        check("s = \"//\"; c = '\\''; // x", "s = \"//\"; c = '\\'';  ");
        check("s = \"a\n\n/* b */\"; t", "s = \"a\n/* b */\"; t");
        check("fn f<'a>(x: &'a str) // y", "fn f<'a>(x: &'a str)  ");
        check("let c = 'a; // y' + 1", "let c = 'a; // y' + 1");
        check("/* open // x\n'", "/* open  \n'");
        check("/**/a//**/b\n/*/ c */d", " a \n d");
        check("\\'é\\'//", "\\'é\\' ");
    }

    /// Would catch time that grows with the square: each quote and each `/*`
    /// here opens something that doesn't end.
    #[test]
    fn open_strings_and_comments_take_no_time() {
        for unit in ["'\\", "\"\\", "\\'", "/* ", "'\\\\", "/* '\\"] {
            let source = unit.repeat(300_000);
            assert_eq!(remove_from_c_like(&source).len(), source.len(), "{unit}");
        }
    }
}
