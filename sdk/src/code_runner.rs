//! Code runners: one program of a language, executed.
//!
//! Nothing that a runner says about itself is a verdict: the host compares
//! outputs, or calls the program's functions from a judge's instance and
//! passes arguments and results by value. A [`Value`] is all that crosses.

#![allow(
    clippy::result_large_err,
    reason = "one result a program: a box would save nothing and burden every runner (on wasm32 it isn't large)"
)]

use serde::de::DeserializeOwned;

use crate::bindings::code_runner::exports::rlhf::plugin::code_runner as wit;
use crate::bindings::host::rlhf::plugin::{candidate, types, values};
use crate::component::Holder;
use crate::options;
use crate::types::{Error, Outcome};

/// Runs one program of a language.
pub trait CodeRunner: Sized + 'static {
    /// Parsed from the run's configuration; [`NoOptions`](options::NoOptions) if there are none.
    type Options: DeserializeOwned + Default;

    /// A runner that has loaded nothing yet. `Self::Options::default()` must work.
    ///
    /// # Errors
    /// An option's value is out of range: [`Error::bad_option`].
    fn new(options: Self::Options) -> Result<Self, Error>;

    /// Name and languages.
    fn describe() -> RunnerDescriptor;

    /// Whether a source compiles; it is not run.
    ///
    /// # Errors
    /// `syntax-error`, or [`Error::unsupported_language`].
    fn check(&self, language: &str, source: &str) -> Result<(), Error>;

    /// Compiles the program that `run` and `call` use. It is called once.
    ///
    /// # Errors
    /// `syntax-error`, or [`Error::unsupported_language`].
    fn load(&mut self, language: &str, source: &str) -> Result<(), Error>;

    /// Runs the program to its end.
    fn run(&mut self, stdin: &[u8]) -> Outcome;

    /// Calls a top-level function of the loaded program, which is executed
    /// first if it was not.
    ///
    /// # Errors
    /// The program or the function ended in another way than by returning.
    fn call(&mut self, function: &str, arguments: Vec<Value>) -> Result<Value, Outcome>;

    /// Runs one test as the judge of a candidate that lives in another instance
    /// and is reached through [`call_candidate`] only. Nothing has to be loaded;
    /// several tests may be judged one after another, and none must see what an
    /// earlier one left.
    ///
    /// The prompt is executed for its helpers where it is code of the language.
    /// The candidate's are the functions which the prompt leaves without a body,
    /// and those which the test uses and nobody else defines.
    ///
    /// The outcome is `finished` if the test passed, `exception` if it did not,
    /// `cannot-judge` if it needs more of the candidate than values. By default
    /// a runner can't judge at all.
    fn judge(&mut self, language: &str, prompt: &str, test: &str) -> Outcome {
        let _ = (language, prompt, test);
        Outcome {
            kind: "cannot-judge".to_owned(),
            detail: format!(
                "`{}` judges no tests that are code: expected input and output to compare",
                Self::describe().name
            ),
            ..Outcome::default()
        }
    }
}

/// What a code runner says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunnerDescriptor {
    /// Lower case, kebab-case: `python`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// Languages it runs, lower case, with the version it implements: `("python", "3.14")`.
    pub languages: Vec<(String, String)>,
    /// For keys that a later version of the contract adds.
    pub extra: Vec<(String, String)>,
}

impl RunnerDescriptor {
    /// A runner without languages. Pass `env!("CARGO_PKG_VERSION")` as the version.
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            languages: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Adds a language, lower case, and the version of it that is implemented.
    #[must_use]
    pub fn language(mut self, language: impl Into<String>, version: impl Into<String>) -> Self {
        self.languages.push((language.into(), version.into()));
        self
    }
}

/// A value that crosses between judge, host and candidate: Python's view of
/// data, without identity, methods or code.
#[derive(Clone, Debug)]
pub enum Value {
    /// `None`, `null`, `nil`.
    None,
    /// True or false.
    Boolean(bool),
    /// Decimal, of any length, with `-` where it is negative.
    Integer(String),
    /// Compared by its bits: NaNs and signed zeros survive.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A mutable sequence.
    List(Vec<Value>),
    /// An immutable sequence.
    Tuple(Vec<Value>),
    /// Keys and values in insertion order.
    Dict(Vec<(Value, Value)>),
    /// Distinct values.
    Set(Vec<Value>),
    /// Distinct values, immutable.
    FrozenSet(Vec<Value>),
    /// Type name and message of an exception.
    Exception(String, String),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) | (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b))
            | (Self::Tuple(a), Self::Tuple(b))
            | (Self::Set(a), Self::Set(b))
            | (Self::FrozenSet(a), Self::FrozenSet(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            (Self::Exception(a, b), Self::Exception(c, d)) => a == c && b == d,
            _ => false,
        }
    }
}

/// Calls a function of the candidate that is being judged. Only a runner that
/// judges can import it; the host links it for judges alone.
///
/// # Errors
/// What the candidate's function raised, as an exception value. A candidate
/// that ended in another way has the outcome's kind in the place of the
/// exception's name: `out-of-fuel`. Or a value that can't be an exception: the
/// host passed on something that isn't a tree.
pub fn call_candidate(function: &str, arguments: Vec<Value>) -> Result<Value, Value> {
    let arguments: Vec<values::Value> = arguments.into_iter().map(flatten).collect();
    let read = |value| {
        unflatten(value).map_err(|error| Value::Exception("ValueError".to_owned(), error.message))
    };
    match candidate::call(function, &arguments) {
        Ok(value) => read(value),
        Err(value) => Err(read(value)?),
    }
}

/// Nesting beyond this is refused: the host refuses it as well, and reading
/// recurses. Chosen; a test goes to the limit and past it.
pub const VALUE_DEPTH_MAX: usize = 200;

/// Tree to arena. References point to smaller indices: children come first.
fn flatten(value: Value) -> values::Value {
    fn list(nodes: &mut Vec<values::Node>, items: Vec<Value>) -> Vec<u32> {
        items.into_iter().map(|item| push(nodes, item)).collect()
    }
    fn push(nodes: &mut Vec<values::Node>, value: Value) -> u32 {
        let node = match value {
            Value::None => values::Node::None,
            Value::Boolean(value) => values::Node::Boolean(value),
            Value::Integer(digits) => values::Node::Integer(digits),
            Value::Float(value) => values::Node::Floating(value.to_bits()),
            Value::Text(text) => values::Node::Text(text),
            Value::Bytes(bytes) => values::Node::Bytes(bytes),
            Value::List(items) => values::Node::List(list(nodes, items)),
            Value::Tuple(items) => values::Node::Tuple(list(nodes, items)),
            Value::Dict(entries) => values::Node::Dict(
                entries
                    .into_iter()
                    .map(|(key, value)| (push(nodes, key), push(nodes, value)))
                    .collect(),
            ),
            Value::Set(items) => values::Node::Set(list(nodes, items)),
            Value::FrozenSet(items) => values::Node::Frozenset(list(nodes, items)),
            Value::Exception(name, message) => values::Node::Exception((name, message)),
        };
        nodes.push(node);
        u32::try_from(nodes.len() - 1).expect("fits in a component's memory")
    }
    let mut nodes = Vec::new();
    let root = push(&mut nodes, value);
    values::Value { nodes, root }
}

/// Arena to tree.
///
/// # Errors
/// `bad-value`: a reference that doesn't point to a smaller index, which could
/// be a cycle; one node referred to twice, which could blow up
/// exponentially; or nesting beyond [`VALUE_DEPTH_MAX`].
fn unflatten(value: values::Value) -> Result<Value, Error> {
    struct Reader(Vec<Option<values::Node>>);

    impl Reader {
        fn items(
            &mut self,
            parent: u32,
            indices: &[u32],
            depth: usize,
        ) -> Result<Vec<Value>, Error> {
            indices
                .iter()
                .map(|&index| self.child(parent, index, depth))
                .collect()
        }

        fn child(&mut self, parent: u32, index: u32, depth: usize) -> Result<Value, Error> {
            if index >= parent {
                return Err(Error::new(
                    "bad-value",
                    format!("node {parent}: expected references to smaller indices, found {index}"),
                ));
            }
            self.read(index, depth + 1)
        }

        fn read(&mut self, index: u32, depth: usize) -> Result<Value, Error> {
            if depth > VALUE_DEPTH_MAX {
                return Err(Error::new(
                    "bad-value",
                    format!(
                        "value: expected at most {VALUE_DEPTH_MAX} levels of nesting, found more"
                    ),
                ));
            }
            let position = usize::try_from(index).expect("u32 fits in usize");
            let node = self
                .0
                .get_mut(position)
                .and_then(Option::take)
                .ok_or_else(|| {
                    Error::new(
                        "bad-value",
                        format!("node {index}: missing, or referred to twice"),
                    )
                })?;
            Ok(match node {
                values::Node::None => Value::None,
                values::Node::Boolean(value) => Value::Boolean(value),
                values::Node::Integer(digits) => Value::Integer(digits),
                values::Node::Floating(bits) => Value::Float(f64::from_bits(bits)),
                values::Node::Text(text) => Value::Text(text),
                values::Node::Bytes(bytes) => Value::Bytes(bytes),
                values::Node::List(items) => Value::List(self.items(index, &items, depth)?),
                values::Node::Tuple(items) => Value::Tuple(self.items(index, &items, depth)?),
                values::Node::Dict(entries) => {
                    let mut read = Vec::with_capacity(entries.len());
                    for (key, value) in entries {
                        let key = self.child(index, key, depth)?;
                        read.push((key, self.child(index, value, depth)?));
                    }
                    Value::Dict(read)
                }
                values::Node::Set(items) => Value::Set(self.items(index, &items, depth)?),
                values::Node::Frozenset(items) => {
                    Value::FrozenSet(self.items(index, &items, depth)?)
                }
                values::Node::Exception((name, message)) => Value::Exception(name, message),
            })
        }
    }

    Reader(value.nodes.into_iter().map(Some).collect()).read(value.root, 0)
}

/// [`CodeRunner`] as the host calls it.
pub trait Implementation: CodeRunner {}

impl<R: CodeRunner> Implementation for R {}

impl<H: Holder> wit::Guest for H
where
    H::Plugin: Implementation,
{
    fn describe() -> wit::Descriptor {
        let RunnerDescriptor {
            name,
            version,
            summary,
            languages,
            extra,
        } = H::Plugin::describe();
        wit::Descriptor {
            name,
            version,
            summary,
            languages,
            extra,
        }
    }

    fn configure(options: String) -> Result<(), types::Error> {
        let runner = H::Plugin::new(options::parse(&options)?)?;
        H::slot(|slot| slot.set(runner));
        Ok(())
    }

    fn check(language: String, source: String) -> Result<(), types::Error> {
        with_runner::<H, _>(|runner| runner.check(&language, &source))
            .and_then(|checked| checked)
            .map_err(Into::into)
    }

    fn load(language: String, source: String) -> Result<(), types::Error> {
        with_runner::<H, _>(|runner| runner.load(&language, &source))
            .and_then(|loaded| loaded)
            .map_err(Into::into)
    }

    fn run(stdin: Vec<u8>) -> types::Outcome {
        with_runner::<H, _>(|runner| runner.run(&stdin))
            .unwrap_or_else(refused)
            .into()
    }

    fn call(
        function: String,
        arguments: Vec<values::Value>,
    ) -> Result<values::Value, types::Outcome> {
        let arguments: Result<Vec<Value>, Error> = arguments.into_iter().map(unflatten).collect();
        arguments
            .and_then(|arguments| with_runner::<H, _>(|runner| runner.call(&function, arguments)))
            .unwrap_or_else(|error| Err(refused(error)))
            .map(flatten)
            .map_err(Into::into)
    }

    fn judge(language: String, prompt: String, test: String) -> types::Outcome {
        with_runner::<H, _>(|runner| runner.judge(&language, &prompt, &test))
            .unwrap_or_else(refused)
            .into()
    }
}

/// The program was not run: its runner has no default options, or an argument
/// is no value.
fn refused(error: Error) -> Outcome {
    Outcome {
        kind: "exception".to_owned(),
        exception: error.code,
        detail: error.message,
        ..Outcome::default()
    }
}

fn with_runner<H: Holder, R>(with: impl FnOnce(&mut H::Plugin) -> R) -> Result<R, Error>
where
    H::Plugin: CodeRunner,
{
    let make = || H::Plugin::new(options::parse("")?);
    H::slot(|slot| slot.get_or_make(make, with))
}

/// Makes the crate a component whose code runner is this [`CodeRunner`].
#[macro_export]
macro_rules! export_code_runner {
    ($runner:ty) => {
        $crate::__export!(
            code_runner,
            $runner,
            $crate::__private::RunnerImplementation
        );
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::None, |inside, _| Value::List(vec![inside]))
    }

    // Catches a value that changes on its way between judge and candidate.
    #[test]
    fn values_survive_the_arena() {
        let check = |value: Value| assert_eq!(unflatten(flatten(value.clone())).unwrap(), value);
        check(Value::None);
        check(Value::Float(f64::NAN));
        check(Value::Float(-0.0));
        check(Value::Integer("-123456789012345678901234567890".into()));
        check(Value::Dict(vec![
            (
                Value::Text("k".into()),
                Value::Tuple(vec![Value::Boolean(true), Value::None]),
            ),
            (
                Value::Bytes(vec![0, 255]),
                Value::Set(vec![Value::FrozenSet(Vec::new())]),
            ),
        ]));
        check(Value::Exception("KeyError".into(), "'x'".into()));
        check(nested(VALUE_DEPTH_MAX));
    }

    // Catches values made to hang or blow up whoever reads them.
    #[test]
    fn hostile_arenas_are_refused() {
        use values::Node;
        let check = |nodes: Vec<Node>, root, expected: &str| {
            let error = unflatten(values::Value { nodes, root }).unwrap_err();
            assert_eq!(error.message, expected);
        };
        check(
            vec![Node::List(vec![0])],
            0,
            "node 0: expected references to smaller indices, found 0",
        );
        check(vec![Node::None], 1, "node 1: missing, or referred to twice");
        check(
            vec![Node::None, Node::List(vec![0, 0])],
            1,
            "node 0: missing, or referred to twice",
        );
        let error = unflatten(flatten(nested(VALUE_DEPTH_MAX + 1))).unwrap_err();
        assert_eq!(
            error.message,
            "value: expected at most 200 levels of nesting, found more"
        );
    }
}
