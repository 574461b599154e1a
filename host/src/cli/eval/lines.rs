//! Predictions as JSON Lines from a stream.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Map, Value};

use crate::cli::Usage;
use crate::plugin::Sample;

/// A line as it is written. What is null is as if it were not there.
struct Written(Map<String, Value>);

impl Written {
    /// The value of a field under the first of its names that has one.
    fn field(&mut self, names: &[&str]) -> Option<Value> {
        let mut found = names.iter().filter_map(|name| self.0.remove(*name));
        found.find(|value| !value.is_null())
    }

    /// A text, or a conversation whose last message it is (as TRL hands over completions of chats).
    fn text(&mut self, names: &[&str]) -> Result<Option<String>, String> {
        let wrong = |found: &Value| wrong(names, "a text or messages with `content`", found);
        match self.field(names) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Array(messages)) => match messages.last() {
                None => Ok(Some(String::new())),
                Some(last) => match last["content"].as_str() {
                    Some(text) => Ok(Some(text.to_owned())),
                    None => Err(wrong(last)),
                },
            },
            Some(other) => Err(wrong(&other)),
        }
    }

    /// A text, or a list of texts.
    fn texts(&mut self, names: &[&str]) -> Result<Vec<String>, String> {
        let wrong = |found: &Value| wrong(names, "a text or a list of texts", found);
        match self.field(names) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(texts)) => texts
                .iter()
                .map(|text| text.as_str().map(str::to_owned).ok_or_else(|| wrong(text)))
                .collect(),
            Some(other) => Err(wrong(&other)),
        }
    }
}

/// What is said of a field that has another value than `expected`.
fn wrong(names: &[&str], expected: &str, found: &Value) -> String {
    format!(
        "`{}`: expected {expected}, found {}",
        names[0],
        short(found)
    )
}

/// A value as a message shows it.
fn short(value: &Value) -> String {
    const SHOWN: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// A line that was read.
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// Or what is wrong with it.
    pub sample: Result<Sample, String>,
}

/// Reads predictions line by line; empty lines are passed over.
pub struct Lines<R: Read> {
    input: BufReader<R>,
    language: String,
    number: usize,
}

impl<R: Read> Lines<R> {
    /// `language` is that of lines that don't say theirs.
    pub fn new(input: R, language: &str) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 16, input),
            language: language.to_owned(),
            number: 0,
        }
    }

    /// The error that names a line.
    pub fn wrong(&self, number: usize, problem: &str) -> Usage {
        Usage(format!(
            "`stdin`, line {number}: {problem}\nhint: a line is a JSON object with `prediction` and `reference`"
        ))
    }

    /// The next `count` lines; fewer at the end.
    ///
    /// # Errors
    /// The stream can't be read.
    pub fn block(&mut self, count: usize) -> Result<Vec<Line>, Usage> {
        let mut block = Vec::new();
        while block.len() < count {
            match self.next()? {
                Some(line) => block.push(line),
                None => break,
            }
        }
        Ok(block)
    }

    /// Waits for a line and takes those that came with it, at most `count`; none at the end.
    ///
    /// # Errors
    /// The stream can't be read.
    pub fn ready(&mut self, count: usize) -> Result<Vec<Line>, Usage> {
        let mut block = Vec::new();
        block.extend(self.next()?);
        // Reading on where no whole line is there would wait for whoever waits for our answer.
        while (1..count).contains(&block.len()) && self.input.buffer().contains(&b'\n') {
            block.extend(self.next()?);
        }
        Ok(block)
    }

    fn next(&mut self) -> Result<Option<Line>, Usage> {
        loop {
            self.number += 1;
            let number = self.number;
            let mut line = Vec::new();
            let read = self.input.read_until(b'\n', &mut line);
            if read.map_err(|error| self.wrong(number, &error.to_string()))? == 0 {
                return Ok(None);
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let sample = self.sample(number, &line);
            return Ok(Some(Line { number, sample }));
        }
    }

    fn sample(&self, number: usize, line: &[u8]) -> Result<Sample, String> {
        // A byte order mark, as files have that were written on Windows.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let value: Value = serde_json::from_slice(line).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            format!("no JSON: {message}")
        })?;
        let mut line = match value {
            Value::Object(fields) => Written(fields),
            other => return Err(format!("expected an object, found {}", short(&other))),
        };
        let response = line.text(&["prediction", "response", "completion"])?;
        Ok(Sample {
            id: match line.field(&["id", "task_id"]) {
                None => number.to_string(),
                Some(Value::String(id)) => id,
                Some(other) => other.to_string(),
            },
            prompt: line.text(&["prompt"])?.unwrap_or_default(),
            response: response.ok_or("no `prediction` (or `response`, `completion`)")?,
            references: line.texts(&["references", "reference"])?,
            language: line
                .text(&["language"])?
                .unwrap_or_else(|| self.language.clone()),
            tests: line.texts(&["tests"])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a reader that waits for a second line before the first is answered, and lines
    // that are taken for others.
    #[test]
    fn lines_are_taken_as_they_come() {
        struct Pieces(Vec<&'static [u8]>);
        impl Read for Pieces {
            fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
                if self.0.is_empty() {
                    return Ok(0);
                }
                let piece = self.0.remove(0);
                to[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
        }
        let pieces = Pieces(vec![
            b"{\"completion\": \"a\"}\n\n{\"prediction\": [{\"role\": \"x\", \"content\": \"b\"}]}\n{\"pre",
            b"diction\": 1}\n",
        ]);
        let mut lines = Lines::new(pieces, "python");
        let first = lines.ready(8).expect("reads");
        let texts: Vec<_> = first
            .iter()
            .map(|line| line.sample.as_ref().map(|sample| sample.response.as_str()))
            .collect();
        assert_eq!(texts, [Ok("a"), Ok("b")]);
        assert_eq!(first[1].number, 3);
        let second = lines.ready(8).expect("reads");
        assert!(second[0].sample.is_err());
        assert!(lines.ready(8).expect("reads").is_empty());
    }

    // Would catch nulls that are refused, a byte order mark that is, and a message about our types.
    #[test]
    fn fields_are_taken_or_named() {
        let sample = |line: &str| {
            let mut lines = Lines::new(line.as_bytes(), "python");
            let line = lines.next().expect("reads").expect("a line");
            line.sample
        };
        let null = r#"{"id": null, "prompt": null, "completion": "a", "prediction": null,
            "reference": "b", "language": null, "tests": null}"#;
        let null = format!("\u{feff}{}", null.replace('\n', " "));
        let found = sample(&null).expect("it is one");
        assert_eq!((found.response.as_str(), found.id.as_str()), ("a", "1"));
        assert_eq!(found.references, ["b"]);
        assert_eq!(found.language, "python");
        for (line, problem) in [
            ("[]", "expected an object, found `[]`"),
            ("{", "no JSON: EOF while parsing an object"),
            ("{}", "no `prediction` (or `response`, `completion`)"),
            (
                r#"{"prediction": 5}"#,
                "`prediction`: expected a text or messages with `content`, found `5`",
            ),
            (
                r#"{"prediction": "a", "references": ["b", 1]}"#,
                "`references`: expected a text or a list of texts, found `1`",
            ),
        ] {
            assert_eq!(sample(line), Err(problem.to_owned()));
        }
    }
}
