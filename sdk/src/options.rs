//! Options: one JSON object into the plugin's own type.
//!
//! A misspelt key must never pass in silence, whether or not the author wrote
//! `deny_unknown_fields`, so the field names are asked of the type itself.

use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde_json::{Map, Value};

use crate::types::{Error, one_of};

/// Options of a plugin that has none.
///
/// ```
/// # use rlhf_sdk::options;
/// let error = options::parse::<options::NoOptions>(r#"{"depth": 1}"#).unwrap_err();
/// assert_eq!(error.message, "option `depth`: unknown; this plugin has no options");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// Parses options as the host passes them: one JSON object, or nothing.
///
/// Fields that are absent come from the type's `serde(default)`; with no
/// options at all the result is `T::default()`.
///
/// # Errors
/// `bad-option`, naming the key: it is unknown (with a suggestion), or its
/// value has the wrong type or range.
pub fn parse<T: DeserializeOwned + Default>(text: &str) -> Result<T, Error> {
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    let given: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        Error::new(
            "bad-option",
            format!("options: expected one JSON object: {error}"),
        )
    })?;
    if given.is_empty() {
        return Ok(T::default());
    }
    if let Some(known) = field_names::<T>() {
        for key in given.keys() {
            if !known.contains(&key.as_str()) {
                return Err(Error::bad_option(key, unknown(key, known)));
            }
        }
    }
    serde_path_to_error::deserialize(Value::Object(given)).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        // "." is the object itself: a required key is missing, and the message names it.
        if path == "." {
            Error::new("bad-option", format!("options: {message}"))
        } else {
            Error::bad_option(&path, message)
        }
    })
}

fn unknown(key: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "unknown; this plugin has no options".to_owned();
    }
    let nearest = known.iter().min_by_key(|name| distance(key, name));
    match nearest {
        Some(name) if distance(key, name) <= 1 + name.len() / 4 => {
            format!("unknown; did you mean `{name}`?")
        }
        _ => format!("unknown; expected {}", one_of(known)),
    }
}

/// Levenshtein distance in bytes: option names are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The field names of a struct that derives `Deserialize`. `None` for types
/// that take any keys (maps, flattened structs).
fn field_names<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut names = None;
    // Always an error: the question ends where the names are known.
    let _ = T::deserialize(FieldNames { names: &mut names });
    names
}

/// A deserializer that learns which fields its caller asks for.
struct FieldNames<'a> {
    names: &'a mut Option<&'static [&'static str]>,
}

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Asked> {
        Err(Asked)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Asked> {
        *self.names = Some(fields);
        Err(Asked)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

#[derive(Debug)]
struct Asked;

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("asked for field names only")
    }
}

impl std::error::Error for Asked {}

impl de::Error for Asked {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

impl IntoDeserializer<'_, Asked> for FieldNames<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Plain {
        max_order: usize,
        weights: Vec<f64>,
        nested: Nested,
    }

    impl Default for Plain {
        fn default() -> Self {
            Self {
                max_order: 4,
                weights: Vec::new(),
                nested: Nested::default(),
            }
        }
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Nested {
        smooth: bool,
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(parse::<Plain>(text).unwrap_err().to_string(), expected);
    }

    // Catches options that are accepted although nothing reads them, and
    // messages that leave people to guess which key is meant.
    #[test]
    fn bad_options_name_their_key() {
        check(
            r#"{"max_ordre": 2}"#,
            "option `max_ordre`: unknown; did you mean `max_order`?",
        );
        check(
            r#"{"depth": 2}"#,
            "option `depth`: unknown; expected `max_order`, `weights` or `nested`",
        );
        check(
            r#"{"max_order": "two"}"#,
            "option `max_order`: invalid type: string \"two\", expected usize",
        );
        check(
            r#"{"weights": [1.0, "x"]}"#,
            "option `weights[1]`: invalid type: string \"x\", expected f64",
        );
        check(
            r#"{"nested": {"smoth": true}}"#,
            "option `nested.smoth`: unknown field `smoth`, expected `smooth`",
        );
    }

    // Catches a plugin that fails when it is given nothing.
    #[test]
    fn nothing_given_means_defaults() {
        for text in ["", " ", "{}"] {
            assert_eq!(parse::<Plain>(text).unwrap(), Plain::default());
        }
        assert_eq!(parse::<Plain>(r#"{"max_order": 2}"#).unwrap().max_order, 2);
    }

    // Catches text that is not an object at all.
    #[test]
    fn options_are_an_object() {
        for text in ["[]", "1", "{", "null"] {
            let error = parse::<Plain>(text).unwrap_err();
            assert_eq!(error.code, "bad-option");
            assert!(
                error
                    .message
                    .starts_with("options: expected one JSON object"),
                "{error}"
            );
        }
    }
}
