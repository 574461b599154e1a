//! The language `echo`: a program writes itself and its input. `loop` never ends.

use rlhf_sdk::{CodeRunner, Error, NoOptions, Outcome, RunnerDescriptor, Value};

struct Echo(String);

impl CodeRunner for Echo {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self(String::new()))
    }

    fn describe() -> RunnerDescriptor {
        RunnerDescriptor::new("echo", "0.1.0", "writes what it is given").language("echo", "1")
    }

    fn check(&self, language: &str, _: &str) -> Result<(), Error> {
        match language {
            "echo" => Ok(()),
            other => Err(Error::unsupported_language(other, &["echo"])),
        }
    }

    fn load(&mut self, language: &str, source: &str) -> Result<(), Error> {
        self.check(language, source)?;
        self.0 = source.to_owned();
        Ok(())
    }

    fn run(&mut self, stdin: &[u8]) -> Outcome {
        while self.0 == "loop" {
            std::hint::black_box(());
        }
        Outcome {
            kind: "finished".into(),
            stdout: [self.0.as_bytes(), stdin].concat(),
            ..Outcome::default()
        }
    }

    fn call(&mut self, function: &str, _: Vec<Value>) -> Result<Value, Outcome> {
        Err(Outcome {
            kind: "exception".into(),
            exception: "NameError".into(),
            detail: function.into(),
            ..Outcome::default()
        })
    }
}

rlhf_sdk::export_code_runner!(Echo);
