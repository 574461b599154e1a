//! What differs from run to run, taken out of a program's output.

use std::path::{Path, PathBuf};

use xtask::workspace::{root, target_dir};

/// Replaces paths by names, and times and hashes by what they are.
#[derive(Clone, Debug)]
pub struct Filters {
    /// Longest first: one may lie in another.
    paths: Vec<(String, &'static str)>,
}

impl Filters {
    /// For a program that ran in `folder`.
    pub fn of_folder(folder: &Path) -> Self {
        let mut paths: Vec<(PathBuf, &'static str)> = vec![
            (folder.to_owned(), "[WORKSPACE]"),
            (root().to_owned(), "[ROOT]"),
        ];
        if let Ok(target) = target_dir() {
            paths.push((target.to_owned(), "[TARGET]"));
        }
        let mut texts: Vec<(String, &'static str)> = Vec::new();
        for (path, name) in paths {
            // A temporary folder may be a link, and programs show either name.
            if let Ok(real) = path.canonicalize()
                && real != path
            {
                texts.push((real.to_string_lossy().into_owned(), name));
            }
            texts.push((path.to_string_lossy().into_owned(), name));
        }
        texts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self { paths: texts }
    }

    /// The text without what differs.
    pub fn apply(&self, text: &str) -> String {
        let mut text = text.replace("\r\n", "\n");
        for (path, name) in &self.paths {
            text = text.replace(path, name);
        }
        text.split_inclusive(|character: char| !is_word(character))
            .map(|piece| {
                let word = piece.trim_end_matches(|character| !is_word(character));
                match replacement(word) {
                    Some(name) => format!("{name}{}", &piece[word.len()..]),
                    None => piece.to_owned(),
                }
            })
            .collect()
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '_' | '-' | '[' | ']' | '/')
}

fn replacement(word: &str) -> Option<&'static str> {
    if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some("[SHA256]");
    }
    // "1.5s", "12ms", "3m05s": a number and a unit, once or more.
    let mut rest = word;
    let mut found = false;
    while rest.starts_with(|character: char| character.is_ascii_digit()) {
        rest = rest
            .trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
        let unit = ["ns", "µs", "us", "ms", "min", "s", "m", "h"]
            .into_iter()
            .find_map(|unit| rest.strip_prefix(unit));
        rest = unit?;
        found = true;
    }
    (found && rest.is_empty()).then_some("[TIME]")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches snapshots that fail on the next machine, and filters that hide results.
    #[test]
    fn only_what_differs_is_replaced() {
        let filters = Filters {
            paths: vec![("/tmp/x".into(), "[WORKSPACE]")],
        };
        let check = |text: &str, expected: &str| assert_eq!(filters.apply(text), expected);
        check("read /tmp/x/run.toml: no", "read [WORKSPACE]/run.toml: no");
        check("done in 1.52s, 13ms each", "done in [TIME], [TIME] each");
        check("(3m05s)", "([TIME])");
        check(&format!("sha256 {}", "0a".repeat(32)), "sha256 [SHA256]");
        check(
            "bleu 0.77, 3 items, 5 m, 2x, v1.0.0, s",
            "bleu 0.77, 3 items, 5 m, 2x, v1.0.0, s",
        );
        check("größe µ\r\n", "größe µ\n");
    }
}
