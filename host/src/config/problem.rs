//! What is wrong with a setting, in words.

use std::fmt;

use super::layers::Source;

/// One mistake in the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Who said so: a file and its line, a variable, a flag; none where it is not known.
    pub source: Option<Source>,
    /// The key at fault; empty where a text is none.
    pub key: String,
    /// The mistake with the key in it.
    pub text: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl Problem {
    /// A value that can't be used, though it is of the right type.
    pub fn of_value(key: &str, found: impl fmt::Display, expected: &str, hint: &str) -> Self {
        Self {
            source: None,
            key: key.to_owned(),
            text: format!("`{key}` is {found}; expected {expected}"),
            hint: hint.to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.source.as_ref().and_then(Source::place);
        match place {
            Some(place) => write!(formatter, "{place}: {}", self.text),
            None => formatter.write_str(&self.text),
        }
    }
}

/// One problem as it is; several below one another.
pub(super) fn list(problems: &[Problem]) -> String {
    if let [only] = problems {
        return match only.hint.as_str() {
            "" => only.to_string(),
            hint => format!("{only}\nhint: {hint}"),
        };
    }
    let mut text = format!("{} settings are wrong", problems.len());
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
        if !problem.hint.is_empty() {
            text.push_str(&format!("\n    hint: {}", problem.hint));
        }
    }
    text
}
