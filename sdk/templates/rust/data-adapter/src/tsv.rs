//! The format, in plain Rust: tested without a host.
//!
//! A line is a prompt, a tab and a response, in UTF-8. There is no quoting, so
//! neither can hold a tab or a line end. Blank lines are passed over.

use std::io::{self, BufRead, Read};

/// A longer line is refused: without a limit, a file without line ends would be
/// read into memory whole. Chosen; far above any prompt that a model could take.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Prompt and response.
pub type Pair = (String, String);

/// Why a line can't be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// `prompt` or `response`; empty if it is the line itself.
    pub field: &'static str,
    /// What was expected and found.
    pub message: String,
}

impl Fault {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// Reads pairs line by line.
pub struct Pairs<R> {
    reader: R,
    /// The lines read so far.
    line: u64,
    /// The current one, kept for its memory.
    bytes: Vec<u8>,
}

impl<R: BufRead> Pairs<R> {
    /// Pairs from the first line on.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            line: 0,
            bytes: Vec::new(),
        }
    }

    /// The next line that isn't blank, with its number from 1: a pair, or why
    /// there is none. `None` at the end.
    ///
    /// # Errors
    /// The reader fails.
    pub fn read(&mut self) -> io::Result<Option<(u64, Result<Pair, Fault>)>> {
        loop {
            self.bytes.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let mut limited = self.reader.by_ref().take(limit);
            if limited.read_until(b'\n', &mut self.bytes)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if !self.bytes.ends_with(b"\n") && self.bytes.len() > LINE_BYTES_MAX {
                self.reader.skip_until(b'\n')?;
                let message = format!("expected at most {LINE_BYTES_MAX} bytes, found more");
                return Ok(Some((self.line, Err(Fault::new("", message)))));
            }
            let mut line = self.bytes.as_slice();
            if self.line == 1 {
                // Editors on Windows mark UTF-8 with these bytes.
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            line = line.strip_suffix(b"\n").unwrap_or(line);
            line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.line, pair(line))));
            }
        }
    }
}

fn pair(line: &[u8]) -> Result<Pair, Fault> {
    let line = str::from_utf8(line).map_err(|error| {
        let at = error.valid_up_to() + 1;
        Fault::new(
            "",
            format!("expected UTF-8, found other bytes from byte {at} on"),
        )
    })?;
    let (prompt, response) = line
        .split_once('\t')
        .ok_or_else(|| Fault::new("", "expected a tab between prompt and response, found none"))?;
    if response.contains('\t') {
        let found = line.matches('\t').count();
        return Err(Fault::new("", format!("expected one tab, found {found}")));
    }
    for (field, text) in [("prompt", prompt), ("response", response)] {
        if text.trim().is_empty() {
            return Err(Fault::new(field, "expected text, found nothing"));
        }
    }
    Ok((prompt.to_owned(), response.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line as `NUMBER PROMPT=RESPONSE` or `NUMBER FIELD: MESSAGE`.
    fn check(bytes: impl AsRef<[u8]>, expected: &[&str]) {
        let mut pairs = Pairs::new(bytes.as_ref());
        let mut found = Vec::new();
        while let Some((line, pair)) = pairs.read().expect("memory can be read") {
            found.push(match pair {
                Ok((prompt, response)) => format!("{line} {prompt}={response}"),
                Err(Fault { field, message }) => format!("{line} {field}: {message}"),
            });
        }
        assert_eq!(found, expected);
    }

    // Catches lost last lines, line ends and marks that get into a text, and
    // numbers that don't count blank lines.
    #[test]
    fn lines_are_pairs() {
        check("a\tb\nc\td", &["1 a=b", "2 c=d"]);
        check("\u{feff}a\tb\r\n\r\n \t \nc\td\r\n", &["1 a=b", "4 c=d"]);
        check("", &[]);
        check("\n\n", &[]);
    }

    // Catches a bad line that ends the reading, or is taken for a good one.
    #[test]
    fn reading_goes_on_behind_a_bad_line() {
        check(
            b"no tab\na\tb\tc\n\tb\na\t\nx\xff\tb\na\tb\n",
            &[
                "1 : expected a tab between prompt and response, found none",
                "2 : expected one tab, found 2",
                "3 prompt: expected text, found nothing",
                "4 response: expected text, found nothing",
                "5 : expected UTF-8, found other bytes from byte 2 on",
                "6 a=b",
            ],
        );
    }

    // Catches memory that grows with a line, and the rest of such a line taken for the next one.
    #[test]
    fn a_line_has_a_limit() {
        let response = "x".repeat(LINE_BYTES_MAX - 2);
        let fits = format!("a\t{response}\nc\td\n");
        let good = format!("1 a={response}");
        check(&fits, &[good.as_str(), "2 c=d"]);
        let longer = format!("a\t{response}xx\tyy\nc\td\n");
        check(
            &longer,
            &["1 : expected at most 1048576 bytes, found more", "2 c=d"],
        );
    }
}
