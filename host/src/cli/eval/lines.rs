//! Predictions as JSON Lines from a stream.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::Value;

use crate::cli::Usage;
use crate::plugin::Sample;

/// A line as it is written.
#[derive(Deserialize)]
struct Written {
    #[serde(alias = "task_id")]
    id: Option<Value>,
    #[serde(default)]
    prompt: Text,
    #[serde(alias = "response", alias = "completion")]
    prediction: Text,
    #[serde(alias = "reference", default)]
    references: References,
    #[serde(default)]
    tests: Vec<String>,
    language: Option<String>,
}

/// A text, or a conversation whose last message it is (as TRL hands over completions of chats).
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Messages(Vec<Message>),
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

impl Default for Text {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

impl Text {
    fn last(self) -> String {
        match self {
            Self::Plain(text) => text,
            Self::Messages(messages) => {
                let last = messages.into_iter().next_back();
                last.map_or(String::new(), |message| message.content)
            }
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum References {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
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
        let line: Written = serde_json::from_slice(line).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            message.to_owned()
        })?;
        Ok(Sample {
            id: match line.id {
                None | Some(Value::Null) => number.to_string(),
                Some(Value::String(id)) => id,
                Some(other) => other.to_string(),
            },
            prompt: line.prompt.last(),
            response: line.prediction.last(),
            references: match line.references {
                References::None => Vec::new(),
                References::One(text) => vec![text],
                References::Many(texts) => texts,
            },
            language: line.language.unwrap_or_else(|| self.language.clone()),
            tests: line.tests,
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
}
