//! JSON objects into rows of data.

use std::fmt;
use std::io::BufRead;

use rlhf_sdk::records::{
    Columns, Draft, Field, FieldValue, Kind, Layout, conversation, is_conversation, tests_of,
};
use rlhf_sdk::{Error, Origin, ReadError, Row, RowError, log};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::elements::{ELEMENT_BYTES_MAX, Element, Elements, End, Fault, Form, Step};

/// Options of the adapter, see its README.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Where a field is found if not under its own name.
    pub columns: Columns,
    /// What rows are read as; from the keys if absent.
    pub kind: Option<Kind>,
}

/// Reads rows.
#[derive(Debug)]
pub struct Rows<R> {
    elements: Elements<R>,
    element: Element,
    options: Options,
    /// Keys and layout of the last row: the next one usually has the same.
    last: Option<(Vec<String>, Layout)>,
    row: u64,
    /// The first row, read when opening.
    first: Option<Result<Option<Row>, ReadError>>,
}

impl<R: BufRead> Rows<R> {
    /// Reads the first row, so that a file of something else is refused as a
    /// whole and not row by row.
    ///
    /// # Errors
    /// The text is neither an array nor JSON Lines, or the keys of its first
    /// object make no record.
    pub fn open(mut reader: R, options: Options) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::new("read-failed", format!("source: {error}"));
        skip_byte_order_mark(&mut reader).map_err(failed)??;
        let elements = Elements::open(reader).map_err(failed)?.map_err(not_json)?;
        let mut rows = Self {
            elements,
            element: Element::default(),
            options,
            last: None,
            row: 0,
            first: None,
        };
        let first = rows.read_next();
        if let Ok(object) = serde_json::from_slice::<Map<String, Value>>(&rows.element.text) {
            rows.layout(&object)
                .map_err(|error| suggest_list(error, &object))?;
        } else if rows.elements.form() == Form::Lines && is_cut_off(&rows.element.text) {
            return Err(Error::new(
                "not-lines",
                format!(
                    "line {}: expected an object on one line, found the beginning of one\n\
                     hint: objects on several lines need `[` and `]` around them and commas between them",
                    rows.element.line
                ),
            ));
        }
        rows.first = Some(first);
        Ok(rows)
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// [`ReadError::Row`] for a row that can't be read; the next call reads
    /// the one behind it. [`ReadError::End`] if nothing behind this can be read.
    pub fn read(&mut self) -> Result<Option<Row>, ReadError> {
        match self.first.take() {
            Some(first) => first,
            None => self.read_next(),
        }
    }

    fn read_next(&mut self) -> Result<Option<Row>, ReadError> {
        let read = match self.elements.read(&mut self.element)? {
            Step::Element(read) => read,
            Step::End(Ok(())) => return Ok(None),
            Step::End(Err(end)) => return Err(Error::new("bad-json", end.to_string()).into()),
        };
        self.row += 1;
        let origin = Origin {
            line: self.element.line,
            row: self.row,
        };
        let at_fault = |message: String| RowError {
            origin,
            field: String::new(),
            message,
        };
        read.map_err(|fault| at_fault(fault.to_string()))?;
        let object = match serde_json::from_slice(&self.element.text) {
            Ok(Value::Object(object)) => object,
            Ok(other) => {
                return Err(
                    at_fault(format!("expected an object, found {}", found(&other))).into(),
                );
            }
            Err(error) => return Err(at_fault(bad_json(&error, &self.element)).into()),
        };
        let layout = self
            .layout(&object)
            .map_err(|error| at_fault(error.message))?;
        Ok(Some(row(object, &layout, origin)?))
    }

    fn layout(&mut self, object: &Map<String, Value>) -> Result<Layout, Error> {
        if let Some((keys, layout)) = &self.last
            && keys.iter().eq(object.keys())
        {
            return Ok(layout.clone());
        }
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        // A row may lack what records can do without.
        let mut columns = self.options.columns.clone();
        columns.retain(|field, column| {
            !field.is_optional(self.options.kind) || object.contains_key(column)
        });
        let layout = Layout::recognise(&keys, &columns, self.options.kind)?;
        // Once, and not where rows with other keys take turns.
        if self.last.is_none() {
            layout.warning().into_iter().for_each(log::warning);
        }
        self.last = Some((object.keys().cloned().collect(), layout.clone()));
        Ok(layout)
    }
}

fn row(object: Map<String, Value>, layout: &Layout, origin: Origin) -> Result<Row, RowError> {
    let mut draft = Draft::default();
    let mut extra = Vec::new();
    for (index, (key, found)) in object.into_iter().enumerate() {
        match layout.field(index) {
            Some(field) if found.is_null() && field.is_optional(Some(layout.kind())) => {}
            Some(field) => {
                let value = value(field, found).map_err(|message| RowError {
                    origin,
                    field: key,
                    message,
                })?;
                draft.set(field, value);
            }
            None => match found {
                Value::Null => {}
                Value::String(text) => extra.push((key, text)),
                other => extra.push((key, other.to_string())),
            },
        }
    }
    draft.row(layout.kind(), origin, extra)
}

fn value(field: Field, value: Value) -> Result<FieldValue, String> {
    Ok(match field {
        Field::Prompt | Field::Response | Field::Chosen | Field::Rejected | Field::Messages
            if is_conversation(&value) =>
        {
            FieldValue::Messages(conversation(field, value)?)
        }
        Field::Messages => {
            return Err(format!(
                "expected a list of messages with `role` and `content`, found {}",
                found(&value)
            ));
        }
        Field::Prompt | Field::Response | Field::Chosen | Field::Rejected => match value {
            Value::String(text) => FieldValue::Text(text),
            other => return Err(format!("expected text, found {}", found(&other))),
        },
        Field::Rating => FieldValue::Number(number(&value)?),
        Field::Id => match value {
            Value::String(text) => FieldValue::Text(text),
            Value::Number(number) => FieldValue::Text(number.to_string()),
            other => {
                return Err(format!(
                    "expected text or a number, found {}",
                    self::found(&other)
                ));
            }
        },
        Field::Language | Field::EntryPoint => match value {
            Value::String(text) => FieldValue::Text(text),
            other => return Err(format!("expected text, found {}", self::found(&other))),
        },
        Field::Logits => match value {
            Value::Array(items) => {
                let numbers = items.iter().enumerate().map(|(index, item)| {
                    number(item).map_err(|message| format!("number {}: {message}", index + 1))
                });
                FieldValue::Numbers(numbers.collect::<Result<_, _>>()?)
            }
            other => {
                return Err(format!(
                    "expected a list of numbers, found {}",
                    self::found(&other)
                ));
            }
        },
        Field::Tests => FieldValue::Texts(tests_of(value)?),
        Field::References | Field::TestSetup => match value {
            Value::String(text) => FieldValue::Texts(vec![text]),
            Value::Array(items) => {
                let texts = items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| match item {
                        Value::String(text) => Ok(text),
                        other => Err(format!(
                            "item {}: expected text, found {}",
                            index + 1,
                            self::found(&other)
                        )),
                    });
                FieldValue::Texts(texts.collect::<Result<_, _>>()?)
            }
            other => {
                return Err(format!(
                    "expected text or a list of texts, found {}",
                    self::found(&other)
                ));
            }
        },
    })
}

fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) => number
            .as_f64()
            .ok_or_else(|| format!("expected a number, found {number}")),
        Value::String(text) if text.trim().parse::<f64>().is_ok() => Err(format!(
            "expected a number, found {}\nhint: numbers have no quotes",
            found(value)
        )),
        other => Err(format!("expected a number, found {}", found(other))),
    }
}

/// A value for messages: short, and with its type.
fn found(value: &Value) -> String {
    const SHOWN: usize = 40;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("the text {:?}…", &text[..end]),
            None => format!("the text {text:?}"),
        },
        Value::Array(items) if items.len() == 1 => "a list of 1 item".to_owned(),
        Value::Array(items) => format!("a list of {} items", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// serde_json counts lines from the element's first, and calls a wrong
/// encoding a code point.
fn bad_json(error: &serde_json::Error, element: &Element) -> String {
    if let Err(error) = std::str::from_utf8(&element.text) {
        let byte = element.text[error.valid_up_to()];
        return format!(
            "expected UTF-8, found byte 0x{byte:02X}\nhint: save the file with the encoding UTF-8"
        );
    }
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let line = element.line + u64::try_from(error.line()).unwrap_or(1).saturating_sub(1);
    format!(
        "expected JSON: {} on line {line}, column {}",
        &text[..end],
        error.column()
    )
}

fn is_cut_off(text: &[u8]) -> bool {
    serde_json::from_slice::<Value>(text).is_err_and(|error| error.is_eof())
}

fn not_json(first: Option<u8>) -> Error {
    let found = match first {
        None => "nothing".to_owned(),
        Some(byte) if byte.is_ascii_graphic() => format!("`{}`", char::from(byte)),
        Some(byte) => format!("byte 0x{byte:02X}"),
    };
    let hint = if first.is_some() {
        "\nhint: a file with a line of column names is CSV: use the csv adapter"
    } else {
        ""
    };
    Error::new(
        "not-json",
        format!("expected `[` or `{{` at the beginning, found {found}{hint}"),
    )
}

/// Many exports wrap the list in an object.
fn suggest_list(mut error: Error, object: &Map<String, Value>) -> Error {
    let list = object.iter().find(|(_, value)| {
        value
            .as_array()
            .is_some_and(|items| items.first().is_some_and(Value::is_object))
    });
    if let Some((key, _)) = list {
        let found = error.message.lines().next().unwrap_or_default();
        error.message = format!("{found}\nhint: save the list under `{key}` as a file of its own");
    }
    error
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

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnclosedString { line } => write!(
                formatter,
                "expected the string's closing quote on line {line}, found the line's end\n\
                 hint: a line end inside a string is written \\n"
            ),
            Self::UnclosedBracket => formatter.write_str(
                "expected the brackets to be closed, each by its own kind, found one left open",
            ),
            Self::TooLong => write!(
                formatter,
                "expected an object of at most {} MiB, found a longer one",
                ELEMENT_BYTES_MAX / (1024 * 1024)
            ),
            Self::TooDeep => {
                formatter.write_str("expected at most 128 nested brackets, found more")
            }
            Self::MissingComma => {
                formatter.write_str("expected a comma before this object, found none")
            }
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnclosedArray { line } => {
                write!(
                    formatter,
                    "line {line}: expected `]`, found the end: is the file complete?"
                )
            }
            Self::TextBehindArray { line } => {
                write!(
                    formatter,
                    "line {line}: expected the end behind `]`, found more text"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(field: Field, given: Value, expected: Result<FieldValue, &str>) {
        assert_eq!(value(field, given), expected.map_err(ToOwned::to_owned));
    }

    // Catches values of the wrong type that are bent into the right one.
    #[test]
    fn types() {
        let text = |text: &str| Ok(FieldValue::Text(text.to_owned()));
        check(Field::Prompt, json!("p"), text("p"));
        check(
            Field::Prompt,
            json!(1),
            Err("expected text, found the number 1"),
        );
        check(Field::Prompt, json!(null), Err("expected text, found null"));
        check(Field::Rating, json!(5), Ok(FieldValue::Number(5.0)));
        check(Field::Id, json!("HumanEval/0"), text("HumanEval/0"));
        check(Field::Id, json!(7), text("7"));
        check(
            Field::Id,
            json!([7]),
            Err("expected text or a number, found a list of 1 item"),
        );
        check(
            Field::Language,
            json!(3),
            Err("expected text, found the number 3"),
        );
        check(
            Field::Rating,
            json!("5"),
            Err("expected a number, found the text \"5\"\nhint: numbers have no quotes"),
        );
        check(
            Field::Rating,
            json!(true),
            Err("expected a number, found true"),
        );
        check(
            Field::Logits,
            json!([0.1, 2]),
            Ok(FieldValue::Numbers(vec![0.1, 2.0])),
        );
        check(
            Field::Logits,
            json!([1, "x"]),
            Err("number 2: expected a number, found the text \"x\""),
        );
        check(
            Field::Logits,
            json!(1),
            Err("expected a list of numbers, found the number 1"),
        );
        check(
            Field::References,
            json!("a"),
            Ok(FieldValue::Texts(vec!["a".into()])),
        );
        check(
            Field::Tests,
            json!(["a", {}]),
            Err(
                "item 2: expected text, or an object with `input` and `output`, found one without `output`",
            ),
        );
    }

    // Catches a conversation of which some part is taken for the whole.
    #[test]
    fn conversations() {
        let user = json!({"role": "user", "content": "p"});
        let assistant = json!({"role": "assistant", "content": "r"});
        let messages = |messages: &[&Value]| {
            let messages = messages.iter().map(|message| (*message).clone());
            Ok(FieldValue::Messages(messages.collect()))
        };
        check(Field::Prompt, json!([user]), messages(&[&user]));
        check(
            Field::Chosen,
            json!([user, assistant]),
            messages(&[&user, &assistant]),
        );
        check(
            Field::Chosen,
            json!([user]),
            Err("expected a last message of the assistant, found one of \"user\""),
        );
        check(
            Field::Prompt,
            json!([assistant]),
            Err("expected a last message of the user, found one of \"assistant\""),
        );
        check(
            Field::Prompt,
            json!([]),
            Err("expected text, found a list of 0 items"),
        );
        check(
            Field::Messages,
            json!(["a"]),
            Err("expected a list of messages with `role` and `content`, found a list of 1 item"),
        );
        check(
            Field::Prompt,
            json!([{"role": "user", "content": [{"type": "text", "text": "p"}]}]),
            Err("expected a message's text, found a list of 1 item"),
        );
    }
}
