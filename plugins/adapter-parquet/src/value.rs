//! Values of columns, and what messages and `extra` show of them.

use rlhf_sdk::records::{Field, FieldValue, conversation, is_conversation, tests_of};
use serde_json::json;

use crate::metadata::{Annotation, Physical};

/// A value of a column in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    /// Not UTF-8.
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Struct(Vec<(String, Value)>),
}

impl Value {
    /// The value of a leaf, from its bytes in plain encoding.
    pub fn new(bytes: &[u8], physical: Physical, annotation: Annotation) -> Self {
        let unsigned = annotation == Annotation::Unsigned;
        match (physical, bytes) {
            (Physical::Boolean, [byte]) => Self::Bool(*byte != 0),
            (Physical::Int32, &[a, b, c, d]) if unsigned => {
                Self::Unsigned(u32::from_le_bytes([a, b, c, d]).into())
            }
            (Physical::Int32, &[a, b, c, d]) => {
                integer(i32::from_le_bytes([a, b, c, d]).into(), annotation)
            }
            (Physical::Int64, &[a, b, c, d, e, f, g, h]) => {
                let number = i64::from_le_bytes([a, b, c, d, e, f, g, h]);
                if unsigned {
                    Self::Unsigned(number.cast_unsigned())
                } else {
                    integer(number.into(), annotation)
                }
            }
            (Physical::Float, &[a, b, c, d]) => {
                Self::Float(f32::from_le_bytes([a, b, c, d]).into())
            }
            (Physical::Double, &[a, b, c, d, e, f, g, h]) => {
                Self::Float(f64::from_le_bytes([a, b, c, d, e, f, g, h]))
            }
            // Decimal numbers of up to 38 digits: the highest byte first.
            (Physical::FixedLengthByteArray(1..=16) | Physical::ByteArray, bytes)
                if matches!(annotation, Annotation::Decimal(_))
                    && (1..=16).contains(&bytes.len()) =>
            {
                let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
                let number = bytes
                    .iter()
                    .fold(sign, |number: i128, byte| number << 8 | i128::from(*byte));
                integer(number, annotation)
            }
            (Physical::ByteArray, bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Bytes(bytes.to_vec()),
            },
            (_, bytes) => Self::Bytes(bytes.to_vec()),
        }
    }

    /// Bytes it takes, about.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
                _ => 0,
            }
    }

    /// As text, for `extra`: text as it is, the others as JSON. `None` for
    /// nulls and for bytes, which are no text.
    pub fn into_extra(self) -> Option<String> {
        match self {
            Self::Null | Self::Bytes(_) => None,
            Self::Text(text) => Some(text),
            // JSON has no such numbers.
            Self::Float(number) if !number.is_finite() => Some(number.to_string()),
            other => Some(other.into_json().to_string()),
        }
    }

    fn into_json(self) -> serde_json::Value {
        match self {
            Self::Null | Self::Bytes(_) => serde_json::Value::Null,
            Self::Bool(value) => json!(value),
            Self::Int(number) => json!(number),
            Self::Unsigned(number) => json!(number),
            Self::Float(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::List(items) => items.into_iter().map(Self::into_json).collect(),
            Self::Struct(fields) => fields
                .into_iter()
                .map(|(name, value)| (name, value.into_json()))
                .collect(),
        }
    }

    /// For messages: short, and with its type.
    fn found(&self) -> String {
        const SHOWN: usize = 40;
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => format!("the number {number}"),
            Self::Unsigned(number) => format!("the number {number}"),
            Self::Float(number) => format!("the number {number}"),
            Self::Text(text) => match text.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("the text {:?}…", &text[..end]),
                None => format!("the text {text:?}"),
            },
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Err(error) => format!(
                    "bytes that are not UTF-8 (0x{:02X})",
                    bytes[error.valid_up_to()]
                ),
                Ok(_) => "bytes".to_owned(),
            },
            Self::List(items) if items.len() == 1 => "a list of 1 item".to_owned(),
            Self::List(items) => format!("a list of {} items", items.len()),
            Self::Struct(_) => "a struct".to_owned(),
        }
    }
}

fn integer(number: i128, annotation: Annotation) -> Value {
    match annotation {
        // A rating has far fewer digits than a float keeps.
        Annotation::Decimal(digits) => {
            let digits = i32::try_from(digits).unwrap_or(i32::MAX);
            Value::Float(number as f64 / 10_f64.powi(digits))
        }
        _ => i64::try_from(number).map_or(Value::Float(number as f64), Value::Int),
    }
}

/// A value as a field has it.
///
/// # Errors
/// It is of another type: what was expected and found.
pub fn fill(field: Field, value: Value) -> Result<FieldValue, String> {
    let unfit = |expected: &str, value: &Value| {
        Err(format!("expected {expected}, found {}", value.found()))
    };
    Ok(match (field, value) {
        (
            Field::Prompt | Field::Response | Field::Chosen | Field::Rejected | Field::Messages,
            value,
        ) => text(field, value)?,
        (Field::Rating, value) => FieldValue::Number(number(&value)?),
        (Field::Logits, Value::List(items)) => {
            let numbers = items.iter().enumerate().map(|(index, item)| {
                number(item).map_err(|message| format!("number {}: {message}", index + 1))
            });
            FieldValue::Numbers(numbers.collect::<Result<_, _>>()?)
        }
        (Field::Logits, other) => return unfit("a list of numbers", &other),
        // Bytes are no text, and as JSON they would be nothing.
        (Field::References | Field::Tests | Field::TestSetup, bytes @ Value::Bytes(_)) => {
            return unfit("text or a list of texts", &bytes);
        }
        (Field::Tests, value) => FieldValue::Texts(tests_of(value.into_json())?),
        (Field::References | Field::TestSetup, Value::Text(text)) => FieldValue::Texts(vec![text]),
        (Field::References | Field::TestSetup, Value::List(items)) => {
            let texts = items
                .into_iter()
                .enumerate()
                .map(|(index, item)| match item {
                    Value::Text(text) => Ok(text),
                    other => Err(format!(
                        "item {}: expected text, found {}",
                        index + 1,
                        other.found()
                    )),
                });
            FieldValue::Texts(texts.collect::<Result<_, _>>()?)
        }
        (Field::References | Field::TestSetup, other) => {
            return unfit("text or a list of texts", &other);
        }
        (Field::Id | Field::Language | Field::EntryPoint, Value::Text(text)) => {
            FieldValue::Text(text)
        }
        (Field::Id, Value::Int(number)) => FieldValue::Text(number.to_string()),
        (Field::Id, Value::Unsigned(number)) => FieldValue::Text(number.to_string()),
        (Field::Id, other) => return unfit("text or a whole number", &other),
        (Field::Language | Field::EntryPoint, other) => return unfit("text", &other),
    })
}

fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Int(number) => Ok(*number as f64),
        Value::Unsigned(number) => Ok(*number as f64),
        Value::Float(number) if number.is_finite() => Ok(*number),
        Value::Text(text) if text.trim().parse::<f64>().is_ok() => Err(format!(
            "expected a number, found {}\nhint: write the column as numbers",
            value.found()
        )),
        other => Err(format!("expected a number, found {}", other.found())),
    }
}

/// Text, or a conversation in its place.
fn text(field: Field, value: Value) -> Result<FieldValue, String> {
    match value {
        Value::Text(text) if field != Field::Messages => Ok(FieldValue::Text(text)),
        Value::List(messages) => {
            let found = Value::List(messages.clone()).found();
            let messages = Value::List(messages).into_json();
            if is_conversation(&messages) {
                Ok(FieldValue::Messages(conversation(field, messages)?))
            } else {
                Err(format!("expected text, found {found}"))
            }
        }
        other if field == Field::Messages => Err(format!(
            "expected a list of messages with `role` and `content`, found {}",
            other.found()
        )),
        other => Err(format!("expected text, found {}", other.found())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: Field, given: Value, expected: Result<FieldValue, &str>) {
        assert_eq!(fill(field, given), expected.map_err(ToOwned::to_owned));
    }

    fn of(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn message(role: &str, content: Value) -> Value {
        Value::Struct(vec![("content".into(), content), ("role".into(), of(role))])
    }

    // Catches values of the wrong type that are bent into the right one.
    #[test]
    fn types() {
        check(Field::Prompt, of("p"), Ok(FieldValue::Text("p".into())));
        check(
            Field::Prompt,
            Value::Int(1),
            Err("expected text, found the number 1"),
        );
        check(Field::Prompt, Value::Null, Err("expected text, found null"));
        check(
            Field::Prompt,
            Value::Bytes(vec![b'a', 0xE9]),
            Err("expected text, found bytes that are not UTF-8 (0xE9)"),
        );
        check(Field::Rating, Value::Int(5), Ok(FieldValue::Number(5.0)));
        check(
            Field::Rating,
            Value::Float(f64::NAN),
            Err("expected a number, found the number NaN"),
        );
        check(
            Field::Rating,
            of("5"),
            Err("expected a number, found the text \"5\"\nhint: write the column as numbers"),
        );
        check(
            Field::Logits,
            Value::List(vec![Value::Float(0.5), Value::Null]),
            Err("number 2: expected a number, found null"),
        );
        check(
            Field::Tests,
            of("a"),
            Ok(FieldValue::Texts(vec!["a".into()])),
        );
        check(
            Field::References,
            Value::List(vec![of("a"), Value::Bool(true)]),
            Err("item 2: expected text, found true"),
        );
        check(Field::Id, Value::Int(7), Ok(FieldValue::Text("7".into())));
        check(
            Field::Id,
            Value::Float(7.0),
            Err("expected text or a whole number, found the number 7"),
        );
    }

    // Catches a conversation of which some part is taken for the whole.
    #[test]
    fn conversations() {
        let user = message("user", of("p"));
        let messages = vec![json!({"role": "user", "content": "p"}); 2];
        check(
            Field::Prompt,
            Value::List(vec![user.clone(), user.clone()]),
            Ok(FieldValue::Messages(messages)),
        );
        check(
            Field::Chosen,
            Value::List(vec![user]),
            Err("expected a last message of the assistant, found one of \"user\""),
        );
        check(
            Field::Prompt,
            Value::List(vec![]),
            Err("expected text, found a list of 0 items"),
        );
        check(
            Field::Prompt,
            Value::List(vec![message("user", Value::Null)]),
            Err("expected a message's text, found null"),
        );
    }

    // Catches numbers read with the wrong sign, width or point.
    #[test]
    fn leaves() {
        let check = |bytes: &[u8], physical, annotation, expected| {
            assert_eq!(Value::new(bytes, physical, annotation), expected);
        };
        let minus = [0xFF; 8];
        check(
            &minus[..4],
            Physical::Int32,
            Annotation::Other,
            Value::Int(-1),
        );
        check(
            &minus[..4],
            Physical::Int32,
            Annotation::Unsigned,
            Value::Unsigned(u64::from(u32::MAX)),
        );
        check(
            &minus,
            Physical::Int64,
            Annotation::Unsigned,
            Value::Unsigned(u64::MAX),
        );
        check(
            &[123, 0, 0, 0],
            Physical::Int32,
            Annotation::Decimal(2),
            Value::Float(1.23),
        );
        check(
            &[0xFF, 0x85],
            Physical::FixedLengthByteArray(2),
            Annotation::Decimal(2),
            Value::Float(-1.23),
        );
        check(
            &[1],
            Physical::Boolean,
            Annotation::Other,
            Value::Bool(true),
        );
        check(
            &[0xE9],
            Physical::ByteArray,
            Annotation::Other,
            Value::Bytes(vec![0xE9]),
        );
    }
}
