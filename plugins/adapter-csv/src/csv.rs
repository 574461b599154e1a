//! CSV as RFC 4180 has it, record by record, in bounded memory.
//!
//! The `csv` crate reads broken quoting without a word, and what it makes of
//! it would be trained on. This reader reports it instead, and goes on where a
//! record ends by the quoting rules: it never guesses that a line in the
//! middle of somebody's code is a record.

use std::io::{self, BufRead};

use memchr::{memchr, memchr_iter};

/// A longer record is reported and skipped. Prompts and responses are far
/// shorter; what reaches this is a quote that nobody closed. Chosen.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A record's fields as bytes, reused from record to record.
#[derive(Debug, Default)]
pub struct Record {
    bytes: Vec<u8>,
    /// Where each field ends in `bytes`.
    ends: Vec<usize>,
    /// Line on which the record starts, from 1.
    line: u64,
}

impl Record {
    /// Line on which the record starts, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no fields; never so after a successful read.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The fields in order.
    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }

    /// An empty line: one field, and that empty.
    fn is_blank(&self) -> bool {
        self.ends == [0]
    }
}

/// Why a record can't be read. Lines count from 1, fields from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The quote opened on this line isn't closed before the end.
    UnclosedQuote {
        field: usize,
        opened: u64,
        /// The last line of the text.
        last: u64,
    },
    /// A quoted field goes on behind its closing quote.
    TextBehindQuote {
        field: usize,
        opened: u64,
        line: u64,
    },
    /// Longer than [`RECORD_BYTES_MAX`].
    TooLong { opened: Option<u64> },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte of a field.
    Start,
    Unquoted,
    Quoted,
    /// Behind a quote inside quotes: the field's end, or half of a doubled quote.
    Quote,
    /// Behind a carriage return that may be half of a line's end.
    Return {
        behind_quote: bool,
    },
}

/// Reads records.
#[derive(Debug)]
pub struct Records<R> {
    reader: R,
    delimiter: u8,
    /// The line that the next byte is on.
    line: u64,
}

impl<R: BufRead> Records<R> {
    /// `reader` stands behind a byte order mark, if there was one.
    pub fn new(reader: R, delimiter: u8) -> Self {
        Self {
            reader,
            delimiter,
            line: 1,
        }
    }

    /// The next record that isn't a blank line; `None` at the end.
    ///
    /// # Errors
    /// Outer: the reader's. Inner: this record is malformed, `record.line()`
    /// says where it starts, and the next call reads the one behind it.
    pub fn read(&mut self, record: &mut Record) -> io::Result<Option<Result<(), Malformed>>> {
        loop {
            let found = self.read_any(record)?;
            if matches!(found, Some(Ok(()))) && record.is_blank() {
                continue;
            }
            return Ok(found);
        }
    }

    fn read_any(&mut self, record: &mut Record) -> io::Result<Option<Result<(), Malformed>>> {
        record.bytes.clear();
        record.ends.clear();
        record.line = self.line;
        let mut state = State::Start;
        let mut malformed = None;
        let mut opened = None;
        // The last byte read; none yet.
        let mut last = None;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                if last.is_none() {
                    return Ok(None);
                }
                if state == State::Quoted && !matches!(malformed, Some(Malformed::TooLong { .. })) {
                    malformed = Some(Malformed::UnclosedQuote {
                        field: record.ends.len(),
                        opened: opened.unwrap_or(record.line),
                        last: self.line - u64::from(last == Some(b'\n')),
                    });
                }
                record.ends.push(record.bytes.len());
                return Ok(Some(malformed.map_or(Ok(()), Err)));
            }
            let mut used = 0;
            let mut ended = false;
            while used < buffer.len() && !ended {
                let byte = buffer[used];
                match state {
                    State::Quoted => {
                        let rest = &buffer[used..];
                        let length = memchr(b'"', rest).unwrap_or(rest.len());
                        self.line += memchr_iter(b'\n', &rest[..length]).count() as u64;
                        keep(record, &rest[..length], opened, &mut malformed);
                        used += length;
                        if used < buffer.len() {
                            used += 1;
                            state = State::Quote;
                        }
                        continue;
                    }
                    State::Quote if byte == b'"' => {
                        keep(record, b"\"", opened, &mut malformed);
                        state = State::Quoted;
                    }
                    State::Start if byte == b'"' => {
                        opened = Some(self.line);
                        state = State::Quoted;
                    }
                    State::Return { behind_quote } if byte != b'\n' => {
                        // Not a line's end after all: the return is text, and
                        // this byte is looked at again.
                        if behind_quote {
                            malformed = malformed.or(Some(Malformed::TextBehindQuote {
                                field: record.ends.len(),
                                opened: opened.unwrap_or(record.line),
                                line: self.line,
                            }));
                        }
                        keep(record, b"\r", opened, &mut malformed);
                        state = State::Unquoted;
                        continue;
                    }
                    _ if byte == self.delimiter => {
                        record.ends.push(record.bytes.len());
                        opened = None;
                        state = State::Start;
                    }
                    _ if byte == b'\n' => {
                        self.line += 1;
                        ended = true;
                    }
                    _ if byte == b'\r' => {
                        state = State::Return {
                            behind_quote: state == State::Quote,
                        };
                    }
                    State::Quote => {
                        malformed = malformed.or(Some(Malformed::TextBehindQuote {
                            field: record.ends.len(),
                            opened: opened.unwrap_or(record.line),
                            line: self.line,
                        }));
                        state = State::Unquoted;
                        continue;
                    }
                    State::Start | State::Unquoted | State::Return { .. } => {
                        let rest = &buffer[used..];
                        let delimiter = self.delimiter;
                        let length = rest
                            .iter()
                            .position(|byte| *byte == delimiter || matches!(byte, b'\n' | b'\r'))
                            .unwrap_or(rest.len());
                        keep(record, &rest[..length], None, &mut malformed);
                        used += length;
                        state = State::Unquoted;
                        continue;
                    }
                }
                used += 1;
            }
            last = Some(buffer[used - 1]);
            self.reader.consume(used);
            if ended {
                record.ends.push(record.bytes.len());
                return Ok(Some(malformed.map_or(Ok(()), Err)));
            }
        }
    }
}

/// Appends to the current field, up to the limit.
fn keep(record: &mut Record, bytes: &[u8], opened: Option<u64>, malformed: &mut Option<Malformed>) {
    if record.bytes.len() + bytes.len() > RECORD_BYTES_MAX {
        malformed.get_or_insert(Malformed::TooLong { opened });
    } else {
        record.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Records as `line: field|field`, errors as `line: error`; read through
    /// buffers of every small size, since states must survive their borders.
    fn check(text: &str, expected: &[&str]) {
        for capacity in [1, 2, 3, 7, 4096] {
            let reader = BufReader::with_capacity(capacity, text.as_bytes());
            let mut records = Records::new(reader, b',');
            let mut record = Record::default();
            let mut found = Vec::new();
            while let Some(result) = records.read(&mut record).unwrap() {
                let fields: Vec<String> = record
                    .fields()
                    .map(|field| String::from_utf8_lossy(field).into())
                    .collect();
                found.push(match result {
                    Ok(()) => format!("{}: {}", record.line(), fields.join("|")),
                    Err(error) => format!("{}: {error:?}", record.line()),
                });
            }
            assert_eq!(found, expected, "{text:?}, buffers of {capacity}");
        }
    }

    // Catches fields cut at commas, quotes and line ends that belong to them.
    #[test]
    fn rfc_4180() {
        check("", &[]);
        check("a,b", &["1: a|b"]);
        check("a,b\n", &["1: a|b"]);
        check("a,b\r\nc,d\r\n", &["1: a|b", "2: c|d"]);
        check("a,,\n,b\n", &["1: a||", "2: |b"]);
        check("\"a,b\",c\n", &["1: a,b|c"]);
        check("\"a\"\"b\",\"\"\n", &["1: a\"b|"]);
        check("\"\"\"\"\n", &["1: \""]);
        check("\"a\nb\r\n\nc\",d\r\ne,f", &["1: a\nb\r\n\nc|d", "5: e|f"]);
        check("\"a\"\r\n\"b\"", &["1: a", "2: b"]);
    }

    // Catches blank lines that become rows, and line numbers that forget them.
    #[test]
    fn blank_lines_count_as_lines_only() {
        check("a,b\n\n\r\nc,d\n\n", &["1: a|b", "4: c|d"]);
    }

    // Catches quotes and returns that were never meant as CSV's.
    #[test]
    fn quotes_and_returns_inside_unquoted_fields_are_text() {
        check("a\"b,5\" disk\n", &["1: a\"b|5\" disk"]);
        check("a\rb\r,\rc\r\r\n\r", &["1: a\rb\r|\rc\r"]);
    }

    // Catches a bad quote that swallows good records, or that is repaired in silence.
    #[test]
    fn broken_quoting_is_reported_and_left_behind() {
        check(
            "\"a\"x,b\nc,d\n",
            &[
                "1: TextBehindQuote { field: 0, opened: 1, line: 1 }",
                "2: c|d",
            ],
        );
        check(
            "\"a\"\rx\nc\n",
            &[
                "1: TextBehindQuote { field: 0, opened: 1, line: 1 }",
                "2: c",
            ],
        );
        // The quote of line 1 is closed by the one that opens line 2.
        check(
            "a,\"b\n\"c\",d\ne,f\n",
            &[
                "1: TextBehindQuote { field: 1, opened: 1, line: 2 }",
                "3: e|f",
            ],
        );
        check(
            "a,b\nc,\"d\ne,f\n",
            &[
                "1: a|b",
                "2: UnclosedQuote { field: 1, opened: 2, last: 3 }",
            ],
        );
    }

    // Catches a guest that runs out of memory on one unclosed quote.
    #[test]
    fn a_record_has_a_largest_size() {
        let long = "x".repeat(RECORD_BYTES_MAX + 1);
        let text = format!("a,\"{long}\"\nb,c\n\"{long}");
        let mut records = Records::new(text.as_bytes(), b',');
        let mut record = Record::default();
        let mut next = || records.read(&mut record).unwrap();
        assert_eq!(next(), Some(Err(Malformed::TooLong { opened: Some(1) })));
        assert_eq!(next(), Some(Ok(())));
        assert_eq!(next(), Some(Err(Malformed::TooLong { opened: Some(3) })));
        assert_eq!(next(), None);
    }
}
