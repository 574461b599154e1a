//! Records of text into rows of data.

use std::fmt;
use std::io::BufRead;

use rlhf_sdk::records::{Columns, Draft, Field, FieldValue, Kind, Layout, conversation, tests_of};
use rlhf_sdk::{Error, Origin, ReadError, Row, RowError, log};
use serde::Deserialize;

use crate::csv::{Malformed, RECORD_BYTES_MAX, Record, Records};

/// Options of the adapter, see its README.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Where a field is found if not under its own name.
    pub columns: Columns,
    /// What rows are read as; from the columns if absent.
    pub kind: Option<Kind>,
    /// Between fields: one ASCII character.
    pub delimiter: char,
    /// Whether `\n`, `\t`, `\r` and `\\` written out in a field mean what they mean in code.
    pub escapes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            columns: Columns::new(),
            kind: None,
            delimiter: ',',
            escapes: false,
        }
    }
}

/// Reads rows below a header.
#[derive(Debug)]
pub struct Rows<R> {
    records: Records<R>,
    record: Record,
    names: Vec<String>,
    layout: Layout,
    escapes: bool,
    row: u64,
    warned: bool,
}

impl<R: BufRead> Rows<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// There is none, or its columns make no record.
    pub fn open(mut reader: R, options: &Options) -> Result<Self, Error> {
        if !options.delimiter.is_ascii() || matches!(options.delimiter, '"' | '\r' | '\n') {
            return Err(Error::bad_option(
                "delimiter",
                format!(
                    "expected one ASCII character, found {:?}",
                    options.delimiter
                ),
            ));
        }
        let delimiter = u8::try_from(options.delimiter).expect("ASCII fits in a byte");
        let failed = |error: std::io::Error| Error::new("read-failed", format!("source: {error}"));
        skip_byte_order_mark(&mut reader).map_err(failed)??;
        let mut records = Records::new(reader, delimiter);
        let mut record = Record::default();
        match records.read(&mut record).map_err(failed)? {
            None => {
                return Err(Error::new(
                    "empty",
                    "expected a line with column names, found nothing",
                ));
            }
            Some(Err(malformed)) => {
                return Err(Error::new("bad-header", format!("line 1: {malformed}")));
            }
            Some(Ok(())) => {}
        }
        let names: Vec<String> = record
            .fields()
            .map(|name| String::from_utf8_lossy(name).trim().to_owned())
            .collect();
        // Unquoted, which a name with a line end in it is not.
        if names
            .iter()
            .any(|name| name.contains('\r') && !name.contains('\n'))
        {
            return Err(Error::new(
                "bad-header",
                "line 1: expected lines that end with a line feed, found carriage returns alone\n\
                 hint: save the file with the line ends of Unix or Windows",
            ));
        }
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        let layout = Layout::recognise(&borrowed, &options.columns, options.kind)
            .map_err(|error| suggest_delimiter(error, &names, options.delimiter))?;
        layout.warning().into_iter().for_each(log::warning);
        Ok(Self {
            records,
            record,
            names,
            layout,
            escapes: options.escapes,
            row: 0,
            warned: false,
        })
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// [`ReadError::Row`] for a row that can't be read; the next call reads
    /// the one behind it. [`ReadError::End`] if the source fails.
    pub fn read(&mut self) -> Result<Option<Row>, ReadError> {
        let Some(read) = self.records.read(&mut self.record)? else {
            return Ok(None);
        };
        self.row += 1;
        let origin = Origin {
            line: self.record.line(),
            row: self.row,
        };
        if let Err(malformed) = read {
            let field = malformed.field().and_then(|field| self.names.get(field));
            return Err(RowError {
                origin,
                field: field.cloned().unwrap_or_default(),
                message: malformed.to_string(),
            }
            .into());
        }
        if self.record.len() != self.names.len() {
            return Err(RowError {
                origin,
                field: String::new(),
                message: self.wrong_number(),
            }
            .into());
        }
        let row = self.row(origin)?;
        Ok(Some(row))
    }

    fn wrong_number(&self) -> String {
        let expected = self.names.len();
        let found = self.record.len();
        let hint = if found > expected {
            "text with a comma needs quotes around it"
        } else {
            "text with a line end needs quotes around it, and a quote inside them is written twice"
        };
        format!("expected {expected} fields, as in the header, found {found}\nhint: {hint}")
    }

    fn row(&mut self, origin: Origin) -> Result<Row, RowError> {
        let mut draft = Draft::default();
        let mut extra = Vec::new();
        let mut written_out = false;
        for (index, (name, bytes)) in self.names.iter().zip(self.record.fields()).enumerate() {
            let at_fault = |message: String| RowError {
                origin,
                field: name.clone(),
                message,
            };
            let text = std::str::from_utf8(bytes).map_err(|error| {
                let byte = bytes[error.valid_up_to()];
                at_fault(format!(
                    "expected UTF-8, found byte 0x{byte:02X}\nhint: save the file with the encoding UTF-8"
                ))
            })?;
            let Some(field) = self.layout.field(index) else {
                extra.push((name.clone(), text.to_owned()));
                continue;
            };
            if let Some(value) = value(field, text, self.escapes).map_err(at_fault)? {
                let is_text = matches!(value, FieldValue::Text(_));
                written_out |= is_text && !text.contains('\n') && text.contains("\\n");
                draft.set(field, value);
            }
        }
        if written_out && !self.escapes && !self.warned {
            self.warned = true;
            log::warning(format!(
                "line {}: a field on one line has `\\n` written out in it; \
                 if it means a line end, set the option `escapes` to true",
                origin.line
            ));
        }
        draft.row(self.layout.kind(), origin, extra)
    }
}

/// `None` where an optional field is empty.
fn value(field: Field, text: &str, escapes: bool) -> Result<Option<FieldValue>, String> {
    let unescaped = |text: &str| {
        if escapes {
            unescape(text)
        } else {
            text.to_owned()
        }
    };
    Ok(Some(match field {
        // A cell holds a conversation written out as JSON.
        Field::Messages => {
            let messages = serde_json::from_str(text).unwrap_or_default();
            FieldValue::Messages(conversation(field, messages)?)
        }
        Field::Prompt | Field::Response | Field::Chosen | Field::Rejected => {
            FieldValue::Text(unescaped(text))
        }
        Field::EntryPoint if text.trim().is_empty() => return Ok(None),
        Field::Id | Field::Language | Field::EntryPoint => FieldValue::Text(text.trim().to_owned()),
        Field::Rating => FieldValue::Number(number(text)?),
        Field::Logits if text.trim().is_empty() => return Ok(None),
        Field::Logits => {
            let inside = text.trim();
            let inside = inside
                .strip_prefix('[')
                .and_then(|inside| inside.strip_suffix(']'))
                .unwrap_or(inside);
            FieldValue::Numbers(
                inside
                    .split([',', ';', ' '])
                    .filter(|part| !part.is_empty())
                    .map(number)
                    .collect::<Result<_, _>>()?,
            )
        }
        Field::References | Field::Tests | Field::TestSetup if text.trim().is_empty() => {
            return Ok(None);
        }
        // A list only if the whole of it is one: `[1, 2]` is a fine answer.
        Field::References | Field::Tests | Field::TestSetup => {
            match serde_json::from_str::<Vec<String>>(text) {
                Ok(texts) => FieldValue::Texts(texts),
                Err(_) if field == Field::Tests => {
                    let tests = tests_of(text.into())?;
                    let is_code = tests == [text];
                    FieldValue::Texts(if is_code {
                        vec![unescaped(text)]
                    } else {
                        tests
                    })
                }
                Err(_) => FieldValue::Texts(vec![unescaped(text)]),
            }
        }
    }))
}

fn number(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let found = match text.parse::<f64>() {
        Ok(number) if number.is_finite() => return Ok(number),
        _ if text.is_empty() => "nothing".to_owned(),
        _ => format!("`{}`", shortened(text)),
    };
    let hint = if text.contains(',') && text.replacen(',', ".", 1).parse::<f64>().is_ok() {
        "\nhint: the decimal sign is a point"
    } else {
        ""
    };
    Err(format!("expected a number, found {found}{hint}"))
}

/// A cell may hold a novel.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn unescape(text: &str) -> String {
    let mut unescaped = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            unescaped.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => unescaped.push('\n'),
            Some('t') => unescaped.push('\t'),
            Some('r') => unescaped.push('\r'),
            Some('\\') => unescaped.push('\\'),
            Some(other) => unescaped.extend(['\\', other]),
            None => unescaped.push('\\'),
        }
    }
    unescaped
}

fn skip_byte_order_mark(reader: &mut impl BufRead) -> std::io::Result<Result<(), Error>> {
    let buffer = reader.fill_buf()?;
    if buffer.starts_with(&[0xEF, 0xBB, 0xBF]) {
        reader.consume(3);
    } else if buffer.starts_with(&[0xFF, 0xFE]) || buffer.starts_with(&[0xFE, 0xFF]) {
        return Ok(Err(Error::new(
            "bad-encoding",
            "expected UTF-8, found UTF-16\nhint: save the file with the encoding UTF-8",
        )));
    }
    Ok(Ok(()))
}

/// The commonest reason for a header with one column.
fn suggest_delimiter(mut error: Error, names: &[String], delimiter: char) -> Error {
    if let [only] = names
        && let Some(other) = ['\t', ';', ',', '|']
            .into_iter()
            .find(|other| *other != delimiter && only.contains(*other))
    {
        let found = error.message.lines().next().unwrap_or_default();
        error.message = format!(
            "{found}\nhint: set the option `delimiter` to {:?}",
            other.to_string()
        );
    }
    error
}

impl Malformed {
    fn field(self) -> Option<usize> {
        match self {
            Self::UnclosedQuote { field, .. } | Self::TextBehindQuote { field, .. } => Some(field),
            Self::TooLong { .. } => None,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HINT: &str = "\nhint: a quote inside quotes is written twice";
        match self {
            Self::UnclosedQuote { opened, last, .. } => write!(
                formatter,
                "the quote opened on line {opened} isn't closed: everything up to line {last} is in it{HINT}"
            ),
            Self::TextBehindQuote { opened, line, .. } => write!(
                formatter,
                "expected a comma or the line's end behind the closing quote on line {line}, found text; \
                 the quote was opened on line {opened}{HINT}"
            ),
            Self::TooLong { opened } => {
                let mib = RECORD_BYTES_MAX / (1024 * 1024);
                write!(
                    formatter,
                    "expected a record of at most {mib} MiB, found a longer one"
                )?;
                match opened {
                    Some(line) => write!(formatter, "; a quote was opened on line {line}{HINT}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches numbers read from what isn't one.
    #[test]
    fn numbers() {
        let check = |text: &str, expected: Result<f64, &str>| {
            assert_eq!(number(text), expected.map_err(ToOwned::to_owned));
        };
        check("1", Ok(1.0));
        check(" -2.5e1 ", Ok(-25.0));
        check("", Err("expected a number, found nothing"));
        check("good", Err("expected a number, found `good`"));
        check(
            "4,5",
            Err("expected a number, found `4,5`\nhint: the decimal sign is a point"),
        );
        check("nan", Err("expected a number, found `nan`"));
        check("inf", Err("expected a number, found `inf`"));
    }

    // Catches answers that look like lists taken for lists, and the other way round.
    #[test]
    fn lists() {
        let check = |field, text: &str, expected: Option<FieldValue>| {
            assert_eq!(value(field, text, false).unwrap(), expected);
        };
        let texts = |texts: &[&str]| {
            Some(FieldValue::Texts(
                texts.iter().map(|text| (*text).to_owned()).collect(),
            ))
        };
        check(Field::References, "return x", texts(&["return x"]));
        check(Field::References, r#"["a", "b"]"#, texts(&["a", "b"]));
        check(Field::References, "[1, 2]", texts(&["[1, 2]"]));
        check(Field::Tests, " ", None);
        check(
            Field::Tests,
            "assert f([1]) == 1",
            texts(&["assert f([1]) == 1"]),
        );
        check(
            Field::Tests,
            r#"{"inputs": ["1"], "outputs": ["2"]}"#,
            texts(&[r#"{"input":"1","output":"2"}"#]),
        );
        for text in ["[0.1, 0.2]", "0.1 0.2", "0.1;0.2", "0.1, 0.2"] {
            check(
                Field::Logits,
                text,
                Some(FieldValue::Numbers(vec![0.1, 0.2])),
            );
        }
        check(Field::Logits, "", None);
    }

    // Catches a file that is one long header, all of whose rows would be lost.
    #[test]
    fn carriage_returns_alone() {
        let open = |text: &'static str| Rows::open(text.as_bytes(), &Options::default());
        let error = open("prompt,response\ra,b\r").unwrap_err();
        assert!(
            error.message.contains("carriage returns alone"),
            "{}",
            error.message
        );
        assert!(open("prompt,response\r\na,b\r\n").is_ok());
    }

    // Catches line ends that stay written out, and code whose own escapes are lost.
    #[test]
    fn escapes() {
        let check = |text: &str, expected: &str| assert_eq!(unescape(text), expected);
        check(r"a\n\tb", "a\n\tb");
        check(r"print('\\n')", r"print('\n')");
        check(r"\d+\", r"\d+\");
    }
}
