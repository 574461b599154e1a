//! Configuration files: JSON and TOML, read with the line of every key.

use std::path::Path;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::layers::Source;
use super::tree::{Kind, Node, Step};
use super::{Error, Problem};

/// Reads a file; what could not be read of it is among the problems, and not in the tree.
///
/// # Errors
/// The file itself can't be read.
pub(super) fn read(path: &Path) -> Result<(Node, Vec<Problem>), Error> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: name.clone(),
        source,
    })?;
    let is_toml = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let file = File {
        name: &name,
        text: &text,
    };
    let (mut tree, problems) = match is_toml {
        true => file.toml(),
        false => file.json(),
    };
    // It tells editors what they look at, and us nothing.
    tree.remove(&[Step::Name("$schema".to_owned())]);
    Ok((tree, problems))
}

struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn problem(&self, line: usize, key: &str, text: String) -> Problem {
        Problem {
            source: Some(Source::File {
                path: self.name.to_owned(),
                line: line.max(1),
            }),
            key: key.to_owned(),
            text,
            hint: String::new(),
        }
    }

    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }

    fn toml(&self) -> (Node, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| {
                let line = error.span().map_or(1, |span| self.line(span.start));
                self.problem(line, "", error.message().to_owned())
            })
            .collect();
        if !problems.is_empty() {
            // What was made of the rest may be nothing that anybody wrote.
            return (Node::root(), problems);
        }
        let kind = self.toml_table(table.get_ref(), "", &mut problems);
        let root = Node {
            kind,
            ..Node::root()
        };
        (root, problems)
    }

    fn toml_table(&self, table: &DeTable<'_>, key: &str, problems: &mut Vec<Problem>) -> Kind {
        let mut entries = Vec::new();
        for (name, value) in table {
            let key = joined(key, name.get_ref());
            let line = self.line(name.span().start);
            if let Some(kind) = self.toml_value(value.get_ref(), &key, line, problems) {
                let name = name.get_ref().clone().into_owned();
                entries.push((name, Node { key, line, kind }));
            }
        }
        Kind::Table(entries)
    }

    fn toml_value(
        &self,
        value: &DeValue<'_>,
        key: &str,
        line: usize,
        problems: &mut Vec<Problem>,
    ) -> Option<Kind> {
        let mut refuse = |what: &str| {
            problems.push(self.problem(line, key, format!("`{key}`: {what}")));
            None
        };
        let leaf = match value {
            DeValue::String(text) => Value::from(text.as_ref()),
            DeValue::Boolean(value) => Value::from(*value),
            DeValue::Datetime(time) => Value::from(time.to_string()),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::from(number),
                    Err(_) => match u64::from_str_radix(number.as_str(), number.radix()) {
                        Ok(number) => Value::from(number),
                        Err(_) => return refuse("the number has too many digits"),
                    },
                }
            }
            DeValue::Float(number) => {
                let number: f64 = number.as_str().parse().unwrap_or(f64::NAN);
                match serde_json::Number::from_f64(number) {
                    Some(number) => Value::Number(number),
                    None => return refuse("expected a finite number"),
                }
            }
            DeValue::Table(table) => return Some(self.toml_table(table, key, problems)),
            DeValue::Array(items) => {
                let items = items.iter().enumerate().filter_map(|(at, item)| {
                    let key = format!("{key}[{at}]");
                    let line = self.line(item.span().start);
                    let kind = self.toml_value(item.get_ref(), &key, line, problems)?;
                    Some(Node { key, line, kind })
                });
                return Some(Kind::List(items.collect()));
            }
        };
        Some(Kind::Leaf(leaf))
    }

    fn json(&self) -> (Node, Vec<Problem>) {
        if let Err(error) = serde_json::from_str::<Value>(self.text) {
            let text = error.to_string();
            // serde_json ends its messages with ` at line 3 column 5`, which we say in our own way.
            let end = text.rfind(" at line ").unwrap_or(text.len());
            let problem = self.problem(error.line(), "", text[..end].to_owned());
            return (Node::root(), vec![problem]);
        }
        let mut reader = Json {
            file: self,
            at: 0,
            problems: Vec::new(),
        };
        let kind = reader.value("");
        let root = Node {
            kind,
            ..Node::root()
        };
        match root.kind {
            Kind::Table(_) => (root, reader.problems),
            _ => {
                let text = "expected an object, as `{\"training\": {\"batch_size\": 4}}`";
                (Node::root(), vec![self.problem(1, "", text.to_owned())])
            }
        }
    }
}

/// `key.name`; at the top, the name alone.
fn joined(key: &str, name: &str) -> String {
    match key {
        "" => name.to_owned(),
        key => format!("{key}.{name}"),
    }
}

/// Goes through a text that is known to be JSON, and so finds what it expects.
struct Json<'a> {
    file: &'a File<'a>,
    at: usize,
    problems: Vec<Problem>,
}

impl Json<'_> {
    fn next(&mut self) -> u8 {
        let bytes = self.file.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or_default()
    }

    /// A text, number, truth value or null.
    fn scalar(&mut self) -> Value {
        let bytes = self.file.text.as_bytes();
        let start = self.at;
        if self.next() == b'"' {
            self.at += 1;
            while bytes.get(self.at).is_some_and(|byte| *byte != b'"') {
                self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
            }
            self.at += 1;
        } else {
            let ends = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
            while bytes.get(self.at).is_some_and(|byte| !ends(byte)) {
                self.at += 1;
            }
        }
        serde_json::from_str(&self.file.text[start..self.at.min(bytes.len())]).unwrap_or_default()
    }

    fn value(&mut self, key: &str) -> Kind {
        match self.next() {
            b'{' => self.table(key),
            b'[' => self.list(key),
            _ => Kind::Leaf(self.scalar()),
        }
    }

    fn table(&mut self, key: &str) -> Kind {
        self.at += 1;
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            match self.next() {
                b'"' => {}
                b',' => {
                    self.at += 1;
                    continue;
                }
                _ => break,
            }
            let line = self.file.line(self.at);
            let name = match self.scalar() {
                Value::String(name) => name,
                other => other.to_string(),
            };
            let key = joined(key, &name);
            // The colon.
            self.next();
            self.at += 1;
            let kind = self.value(&key);
            if let Some((_, first)) = entries.iter().find(|(other, _)| *other == name) {
                let text = format!("`{key}` stands here again, after line {}", first.line);
                self.problems.push(self.file.problem(line, &key, text));
            } else {
                entries.push((name, Node { key, line, kind }));
            }
        }
        self.at += 1;
        Kind::Table(entries)
    }

    fn list(&mut self, key: &str) -> Kind {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            match self.next() {
                b']' | 0 => break,
                b',' => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            let line = self.file.line(self.at);
            let key = format!("{key}[{}]", items.len());
            let kind = self.value(&key);
            items.push(Node { key, line, kind });
        }
        self.at += 1;
        Kind::List(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a line that is counted wrongly, and values that one of the formats bends.
    #[test]
    fn lines_and_values_of_both_formats() {
        let json =
            "{\n \"a\": {\"b\": 1.5,\n\"c\\\"\": [\"x,}\", {\"d\":\nnull}]},\n \"e\": true\n}";
        let toml = "e = true\n[a]\nb = 1.5\n[[a.f]]\nd = 0x10\n";
        let check = |file: &File<'_>,
                     (root, problems): (Node, Vec<Problem>),
                     expected: &[(&str, usize, Value)]| {
            assert_eq!(problems, [], "{}", file.name);
            let mut found: Vec<(String, usize, Value)> = root
                .leaves()
                .into_iter()
                .map(|leaf| (leaf.key.clone(), leaf.line, leaf.value()))
                .collect();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            let expected: Vec<(String, usize, Value)> = expected
                .iter()
                .map(|(key, line, value)| ((*key).to_owned(), *line, value.clone()))
                .collect();
            assert_eq!(found, expected);
        };
        let file = File {
            name: "f.json",
            text: json,
        };
        let list = serde_json::json!(["x,}", {"d": null}]);
        let expected = [
            ("a.b", 2, 1.5.into()),
            ("a.c\"", 3, list),
            ("e", 5, true.into()),
        ];
        check(&file, file.json(), &expected);
        let file = File {
            name: "f.toml",
            text: toml,
        };
        let expected = [
            ("a.b", 3, 1.5.into()),
            ("a.f", 4, serde_json::json!([{"d": 16}])),
            ("e", 1, true.into()),
        ];
        check(&file, file.toml(), &expected);
    }

    /// Would catch a key of which the first value is dropped without a word, and a number that is none.
    #[test]
    fn what_is_no_setting_is_a_problem() {
        let text = "{\"seed\": 1,\n\"seed\": 2}";
        let (root, problems) = File { name: "f", text }.json();
        assert_eq!(root.leaves().len(), 1);
        assert_eq!(
            problems[0].to_string(),
            "config `f`, line 2: `seed` stands here again, after line 1"
        );
        let text = "[dpo]\nbeta = nan\n";
        let (root, problems) = File { name: "f", text }.toml();
        assert_eq!(root.leaves().len(), 1, "the empty section");
        assert_eq!(
            problems[0].to_string(),
            "config `f`, line 2: `dpo.beta`: expected a finite number"
        );
        let text = "[dpo\n[ppo\n";
        let (_, problems) = File { name: "f", text }.toml();
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
