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
}
