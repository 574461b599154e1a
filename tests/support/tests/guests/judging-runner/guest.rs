//! A runner whose programs are names of the candidate's functions.

use rlhf_sdk::code_runner::call_candidate;
use rlhf_sdk::{CodeRunner, Error, NoOptions, Outcome, RunnerDescriptor, Value};

struct Names(String);

impl CodeRunner for Names {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self(String::new()))
    }

    fn describe() -> RunnerDescriptor {
        RunnerDescriptor::new("names", env!("CARGO_PKG_VERSION"), "Calls what it is named")
            .language("names", "1")
    }

    fn check(&self, language: &str, _source: &str) -> Result<(), Error> {
        match language {
            "names" => Ok(()),
            other => Err(Error::unsupported_language(other, &["names"])),
        }
    }

    fn load(&mut self, language: &str, source: &str) -> Result<(), Error> {
        self.check(language, source)?;
        source.clone_into(&mut self.0);
        Ok(())
    }

    fn run(&mut self, _stdin: &[u8]) -> Outcome {
        let found = call_candidate(&self.0, Vec::new());
        Outcome {
            kind: "finished".into(),
            stdout: format!("{found:?}").into(),
            ..Outcome::default()
        }
    }

    fn call(&mut self, function: &str, arguments: Vec<Value>) -> Result<Value, Outcome> {
        call_candidate(function, arguments).or_else(Ok)
    }
}

rlhf_sdk::export_code_runner!(Names);
