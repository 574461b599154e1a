//! The code runner as the host sees it; the language is in `rpn.rs`.

pub mod rpn;

use rlhf_sdk::{CodeRunner, Error, NoOptions, Outcome, RunnerDescriptor, Value};

use rpn::{Exception, Machine, Program};

const LANGUAGE: &str = "rpn";

/// Runs programs of a calculator in reverse Polish notation.
#[derive(Default)]
pub struct Rpn {
    program: Program,
    /// Whether the program has run to its end, which a call needs.
    has_run: bool,
}

impl CodeRunner for Rpn {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn describe() -> RunnerDescriptor {
        let summary = "runs a calculator in reverse Polish notation";
        RunnerDescriptor::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
            .language(LANGUAGE, "1")
    }

    fn check(&self, language: &str, source: &str) -> Result<(), Error> {
        parse(language, source).map(drop)
    }

    fn load(&mut self, language: &str, source: &str) -> Result<(), Error> {
        *self = Self {
            program: parse(language, source)?,
            has_run: false,
        };
        Ok(())
    }

    fn run(&mut self, stdin: &[u8]) -> Outcome {
        let input = String::from_utf8_lossy(stdin);
        let mut machine = Machine::new(&self.program, &input);
        let ended = machine.run();
        let output = machine.output;
        self.has_run = ended.is_ok();
        match ended {
            Ok(()) => Outcome {
                kind: "finished".into(),
                stdout: output.into_bytes(),
                ..Outcome::default()
            },
            Err(error) => exception(error, output),
        }
    }

    fn call(&mut self, function: &str, arguments: Vec<Value>) -> Result<Value, Outcome> {
        if !self.has_run {
            let outcome = self.run(b"");
            if !self.has_run {
                return Err(outcome);
            }
        }
        let mut machine = Machine::new(&self.program, "");
        for argument in arguments {
            match integer(&argument) {
                Some(number) => machine.stack.push(number),
                None => {
                    let detail = format!("expected an integer within 2^53, found {argument:?}");
                    return Err(exception(
                        Exception::new("BadArgument", detail),
                        String::new(),
                    ));
                }
            }
        }
        match machine.call(function) {
            Ok(()) => Ok(result(&machine.stack)),
            Err(error) => Err(exception(error, machine.output)),
        }
    }
}

rlhf_sdk::export_code_runner!(Rpn);

fn parse(language: &str, source: &str) -> Result<Program, Error> {
    if language != LANGUAGE {
        return Err(Error::unsupported_language(language, &[LANGUAGE]));
    }
    Program::parse(source).map_err(|message| Error::new("syntax-error", message))
}

fn exception(error: Exception, output: String) -> Outcome {
    Outcome {
        kind: "exception".into(),
        exception: error.name.into(),
        detail: error.detail,
        stdout: output.into_bytes(),
        ..Outcome::default()
    }
}

/// Integers up to here are exact as doubles.
const INTEGER_MAX: u64 = 1 << 53;

fn integer(value: &Value) -> Option<f64> {
    let Value::Integer(digits) = value else {
        return None;
    };
    let integer: i64 = digits.parse().ok()?;
    (integer.unsigned_abs() <= INTEGER_MAX).then_some(integer as f64)
}

/// What a call leaves on the stack: nothing, one value, or a list from bottom to top.
fn result(stack: &[f64]) -> Value {
    let value = |number: &f64| {
        if number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64 {
            Value::Integer(number.to_string())
        } else {
            Value::Float(*number)
        }
    };
    match stack {
        [] => Value::None,
        [only] => value(only),
        several => Value::List(several.iter().map(value).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn loaded(source: &str) -> Rpn {
        let mut runner = Rpn::default();
        runner.load("rpn", source).expect("it is well-formed");
        runner
    }

    fn integers(numbers: &[i64]) -> Vec<Value> {
        let integer = |number: &i64| Value::Integer(number.to_string());
        numbers.iter().map(integer).collect()
    }

    // Catches programs that end or print otherwise than the files in `golden`
    // say: NAME.rpn with its input NAME.in prints NAME.out, whose last line is
    // the exception if one ends it.
    #[test]
    fn golden_programs() {
        let mut programs = 0;
        for entry in fs::read_dir("golden").expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.extension().is_none_or(|extension| extension != "rpn") {
                continue;
            }
            let read = |path: &Path| {
                fs::read_to_string(path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            };
            let input = read(&path.with_extension("in"));
            let outcome = loaded(&read(&path)).run(input.as_bytes());
            let mut found = String::from_utf8(outcome.stdout).expect("it prints numbers");
            if outcome.kind != "finished" {
                let (kind, name, detail) = (outcome.kind, outcome.exception, outcome.detail);
                found.push_str(&format!("{kind} {name}: {detail}\n"));
            }
            assert_eq!(
                found,
                read(&path.with_extension("out")),
                "{}",
                path.display()
            );
            programs += 1;
        }
        assert!(programs > 0, "expected programs in `golden`, found none");
    }

    // Catches results of the wrong type, and arguments in the wrong order.
    #[test]
    fn functions_are_called() {
        let mut runner = loaded(": less swap - ; : both ; : none drop drop ; : half 2 / ;");
        let mut check = |function: &str, arguments: &[i64], expected: Value| {
            let found = runner.call(function, integers(arguments));
            assert_eq!(found, Ok(expected), "{function}");
        };
        check("less", &[2, 44], Value::Integer("42".into()));
        check("half", &[3], Value::Float(1.5));
        check("half", &[-4], Value::Integer("-2".into()));
        check("both", &[1, 2], Value::List(integers(&[1, 2])));
        check("none", &[1, 2], Value::None);
    }

    // Catches a program that is not run before its functions are called, and
    // failures that look like results.
    #[test]
    fn calls_fail_as_programs_do() {
        let fails = |source: &str, arguments: Vec<Value>, expected: &str| {
            let outcome = loaded(source).call("f", arguments).unwrap_err();
            assert_eq!(
                (&*outcome.kind, &*outcome.exception),
                ("exception", expected)
            );
        };
        fails("1 0 / : f 1 ;", Vec::new(), "DivisionByZero");
        fails(": g 1 ;", Vec::new(), "UnknownWord");
        fails(": f + ;", integers(&[1]), "StackUnderflow");
        fails(": f ;", vec![Value::Text("1".into())], "BadArgument");
        fails(": f ;", integers(&[i64::MAX]), "BadArgument");
    }

    // Catches another language's source taken for this one's, and codes that the host doesn't know.
    #[test]
    fn sources_are_checked() {
        let code = |language, source| {
            let checked = Rpn::default().check(language, source);
            checked.err().map(|error| error.code).unwrap_or_default()
        };
        assert_eq!(code("rpn", "1 2 +"), "");
        assert_eq!(code("rpn", ": f"), "syntax-error");
        assert_eq!(code("python", "1"), "unsupported-language");
    }
}
