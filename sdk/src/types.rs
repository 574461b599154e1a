//! Types that more than one kind of plugin uses.

use std::fmt;

use crate::bindings::host::rlhf::plugin::types as wit;

/// A failure that a plugin reports about one item or one call.
///
/// The host shows `message` to people and counts failures by `code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Stable, kebab-case, for programs: `bad-option`, `unsupported-language`.
    pub code: String,
    /// For people: what was expected, what was found, what to do.
    pub message: String,
}

impl Error {
    /// A failure with a code of the plugin's own.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }

    /// `bad-option`: the option `key` has a value the plugin can't use.
    ///
    /// ```
    /// let error = rlhf_sdk::Error::bad_option("max_n", "expected 1 to 9, found 0");
    /// assert_eq!(error.to_string(), "option `max_n`: expected 1 to 9, found 0");
    /// ```
    pub fn bad_option(key: &str, message: impl fmt::Display) -> Self {
        Self::new("bad-option", format!("option `{key}`: {message}"))
    }

    /// `unsupported-language`: the plugin can't judge or run this language.
    pub fn unsupported_language(language: &str, supported: &[&str]) -> Self {
        let found = if language.is_empty() {
            "none"
        } else {
            language
        };
        Self::new(
            "unsupported-language",
            format!("language: expected {}, found {found}", one_of(supported)),
        )
    }

    /// `unavailable`: a host interface was called outside of a host.
    pub(crate) fn unavailable(interface: &str) -> Self {
        Self::new(
            "unavailable",
            format!(
                "the interface `{interface}` exists only inside a component that the host runs"
            ),
        )
    }

    /// `bad-result`: the plugin's own result can't be passed on.
    pub(crate) fn bad_result(message: impl Into<String>) -> Self {
        Self::new("bad-result", message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// `a`, `b` or `c`, for messages.
pub(crate) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}

/// One response to be judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Unique within the run.
    pub id: String,
    /// What the model was asked. Empty where it isn't known.
    pub prompt: String,
    /// What the model answered (the *prediction*).
    pub response: String,
    /// Accepted answers; not empty if the descriptor says that the plugin needs them.
    pub references: Vec<String>,
    /// Programming language of response and references, lower case (`python`); empty if unknown.
    pub language: String,
    /// Test code or input/output cases, where the task has them.
    pub tests: Vec<String>,
    /// Whatever a later version adds, by key.
    pub extra: Vec<(String, String)>,
}

impl Sample {
    /// A sample with a response and references, the rest empty: for tests.
    pub fn new<R: Into<String>>(
        response: impl Into<String>,
        references: impl IntoIterator<Item = R>,
    ) -> Self {
        Self {
            response: response.into(),
            references: references.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// A named number: a metric's component, a reward's part.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedValue {
    /// As the descriptor announces it.
    pub name: String,
    /// Finite.
    pub value: f64,
}

impl NamedValue {
    /// A named number.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
        }
    }
}

/// What ended a program, as far as its runner can tell. Out of fuel, out of
/// time and traps are seen by the host, which adds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// `finished`, `exception`, `exit`, `syntax-error`, `out-of-memory`, `out-of-output`;
    /// from a call also `not-a-value`, from a judge also `cannot-judge`.
    pub kind: String,
    /// Exception's type name, or empty.
    pub exception: String,
    /// Message or trimmed traceback, or empty.
    pub detail: String,
    /// Status given to `exit`, 0 otherwise.
    pub exit_code: i32,
    /// What the program wrote to standard output.
    pub stdout: Vec<u8>,
    /// What the program wrote to standard error.
    pub stderr: Vec<u8>,
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        Self {
            code: error.code,
            message: error.message,
        }
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        Self {
            code: error.code,
            message: error.message,
        }
    }
}

impl From<wit::Sample> for Sample {
    fn from(sample: wit::Sample) -> Self {
        let wit::Sample {
            id,
            prompt,
            response,
            references,
            language,
            tests,
            extra,
        } = sample;
        Self {
            id,
            prompt,
            response,
            references,
            language,
            tests,
            extra,
        }
    }
}

impl From<wit::NamedValue> for NamedValue {
    fn from(named: wit::NamedValue) -> Self {
        Self {
            name: named.name,
            value: named.value,
        }
    }
}

impl From<NamedValue> for wit::NamedValue {
    fn from(named: NamedValue) -> Self {
        Self {
            name: named.name,
            value: named.value,
        }
    }
}

impl From<wit::Outcome> for Outcome {
    fn from(outcome: wit::Outcome) -> Self {
        let wit::Outcome {
            kind,
            exception,
            detail,
            exit_code,
            stdout,
            stderr,
        } = outcome;
        Self {
            kind,
            exception,
            detail,
            exit_code,
            stdout,
            stderr,
        }
    }
}

impl From<Outcome> for wit::Outcome {
    fn from(outcome: Outcome) -> Self {
        let Outcome {
            kind,
            exception,
            detail,
            exit_code,
            stdout,
            stderr,
        } = outcome;
        Self {
            kind,
            exception,
            detail,
            exit_code,
            stdout,
            stderr,
        }
    }
}

pub(crate) fn named(values: Vec<NamedValue>) -> Vec<wit::NamedValue> {
    values.into_iter().map(Into::into).collect()
}

pub(crate) fn unnamed(values: Vec<wit::NamedValue>) -> Vec<NamedValue> {
    values.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches messages that read badly with one name or none.
    #[test]
    fn names_are_listed_as_people_do() {
        let check = |names: &[&str], expected: &str| assert_eq!(one_of(names), expected);
        check(&[], "nothing");
        check(&["a"], "`a`");
        check(&["a", "b"], "`a` or `b`");
        check(&["a", "b", "c"], "`a`, `b` or `c`");
    }
}
