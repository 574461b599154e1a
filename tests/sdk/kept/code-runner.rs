//! The language `kept`, version 1: a program is one line of text. `run` prints
//! the program and its input to standard output. `call` of `echo` gives its
//! first argument back, `program` the program's text; any other name raises
//! `NameError`. A program that starts with `!` doesn't compile:
//! `syntax-error`; another language is `unsupported-language`.
//!
//! `candidate` calls the candidate's function of the same name and raises what
//! that raises; only a judge has a candidate. A test names a function: it is
//! passed if the candidate's function of that name, given the prompt, gives the
//! prompt back. Writes `kept code-runner configured` to the log. Imports `log`
//! and `candidate`.

use rlhf_sdk::code_runner::call_candidate;
use rlhf_sdk::{CodeRunner, Error, NoOptions, Outcome, RunnerDescriptor, Value, host};

struct Kept(String);

fn outcome(kind: &str, exception: &str, detail: &str) -> Outcome {
    Outcome {
        kind: kind.to_owned(),
        exception: exception.to_owned(),
        detail: detail.to_owned(),
        ..Outcome::default()
    }
}

impl CodeRunner for Kept {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        host::log::info("kept code-runner configured");
        Ok(Self(String::new()))
    }

    fn describe() -> RunnerDescriptor {
        RunnerDescriptor::new("kept", "1.0.0", "repeats what it is given").language("kept", "1")
    }

    fn check(&self, language: &str, source: &str) -> Result<(), Error> {
        if language != "kept" {
            return Err(Error::unsupported_language(language, &["kept"]));
        }
        if source.starts_with('!') {
            return Err(Error::new(
                "syntax-error",
                "line 1: expected no `!`, found one",
            ));
        }
        Ok(())
    }

    fn load(&mut self, language: &str, source: &str) -> Result<(), Error> {
        self.check(language, source)?;
        self.0 = source.to_owned();
        Ok(())
    }

    fn run(&mut self, stdin: &[u8]) -> Outcome {
        Outcome {
            stdout: [self.0.as_bytes(), stdin].concat(),
            ..outcome("finished", "", "")
        }
    }

    fn call(&mut self, function: &str, mut arguments: Vec<Value>) -> Result<Value, Outcome> {
        match function {
            "program" => Ok(Value::Text(self.0.clone())),
            "echo" if !arguments.is_empty() => Ok(arguments.swap_remove(0)),
            "candidate" => call_candidate("candidate", arguments).map_err(|raised| match raised {
                Value::Exception(name, message) => outcome("exception", &name, &message),
                _ => outcome("exception", "Candidate", "raised no exception"),
            }),
            other => Err(outcome("exception", "NameError", other)),
        }
    }

    fn judge(&mut self, language: &str, prompt: &str, test: &str) -> Outcome {
        if let Err(Error { code, message }) = self.check(language, test) {
            return outcome(&code, "", &message);
        }
        let prompt = Value::Text(prompt.to_owned());
        match call_candidate(test, vec![prompt.clone()]) {
            Ok(result) if result == prompt => outcome("finished", "", ""),
            Ok(_) => outcome("exception", "AssertionError", "another text"),
            Err(Value::Exception(name, message)) => outcome("exception", &name, &message),
            Err(_) => outcome("exception", "Candidate", "raised no exception"),
        }
    }
}

rlhf_sdk::export_code_runner!(Kept);
