//! Configuration files: JSON and TOML, laid over a preset.

use std::path::Path;

use serde_json::Value;

use super::{Config, Error};

/// Lays a file over `base`.
///
/// # Errors
/// The file can't be read or parsed, or has an unknown key or a value of the
/// wrong type; the message has the line and, where one is near, the right key.
pub fn overlay(base: &Config, path: &Path) -> Result<Config, Error> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: name.clone(),
        source,
    })?;
    let is_toml = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let layer = if is_toml {
        toml_layer(&text)
    } else {
        json_layer(&text)
    };
    let layer = layer.map_err(|problem| problem.into_error(&name))?;
    let mut merged = serde_json::to_value(base).expect("a config is plain data");
    merge(&mut merged, layer);
    // Each layer was read on its own; but TOML has numbers that the merged one has no place for.
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let key = error.path().to_string();
        let last = key.rsplit('.').next().unwrap_or_default();
        let line = text.lines().position(|line| line.contains(last));
        let problem = Problem {
            line: line.map_or(1, |line| line + 1),
            key,
            message: "expected a finite number".to_owned(),
        };
        problem.into_error(&name)
    })
}

/// A parser's complaint, before it is made readable.
struct Problem {
    line: usize,
    /// Path of the key, as `ppo.clip_range`; empty at the top.
    key: String,
    message: String,
}

/// The layer as plain values, after it has been read once as a [`Config`] for its errors' sake.
fn json_layer(text: &str) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize::<_, Config>(&mut reader).map_err(|error| Problem {
        line: error.inner().line(),
        key: error.path().to_string(),
        message: without_position(&error.inner().to_string()),
    })?;
    reader.end().map_err(|error| Problem {
        line: error.line(),
        key: String::new(),
        message: without_position(&error.to_string()),
    })?;
    Ok(serde_json::from_str(text).expect("it was just read"))
}

fn toml_layer(text: &str) -> Result<Value, Problem> {
    let problem = |error: &toml::de::Error, key: String| Problem {
        line: error.span().map_or(1, |span| {
            text[..span.start.min(text.len())].matches('\n').count() + 1
        }),
        key,
        message: error.message().to_owned(),
    };
    let reader = toml::Deserializer::parse(text).map_err(|error| problem(&error, String::new()))?;
    serde_path_to_error::deserialize::<_, Config>(reader)
        .map_err(|error| problem(error.inner(), error.path().to_string()))?;
    Ok(toml::from_str(text).expect("it was just read"))
}

/// serde_json ends its messages with ` at line 3 column 5`, which we say in our own way.
fn without_position(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

impl Problem {
    fn into_error(self, path: &str) -> Error {
        let Problem { line, key, message } = self;
        let unknown = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'));
        let (problem, hint) = match unknown {
            Some((found, rest)) => {
                // The path ends with the unknown key, or names its section only.
                let section = match key.strip_suffix(found) {
                    Some(section) => section.to_owned(),
                    None if key.is_empty() || key == "." => String::new(),
                    None => format!("{key}."),
                };
                let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
                let hint = match nearest(found, &known) {
                    Some(near) => format!("did you mean `{section}{near}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                (format!("unknown key `{section}{found}`"), hint)
            }
            None if key.is_empty() || key == "." || key == "?" => (message, String::new()),
            None => (format!("`{key}`: {message}"), String::new()),
        };
        Error::Parse {
            path: path.to_owned(),
            line: line.max(1),
            problem,
            hint,
        }
    }
}

/// Objects are merged key by key, everything else is replaced.
fn merge(base: &mut Value, layer: Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for (key, value) in layer {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, layer) => *base = layer,
    }
}

/// The known word within an edit distance of a third of its length, if any.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (edit_distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance over characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
