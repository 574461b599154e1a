//! The typed front of the code-runner world: one program, one instance.
//!
//! Whatever a program does ends up in an [`Execution`]. Nothing that its
//! instance says about itself is a verdict: outputs are compared by the host,
//! and functions are called through [`Program::call`], by value.

use std::sync::Arc;

use wasmtime::Store;

use super::bindings::v0_1::{self, CodeRunnerPlugin, types};
use super::discovery::Spec;
use super::failure::Failure;
use super::host::sandbox::{Refusal, Sandbox, Verdict};
use super::host::{Candidate, Services};
use super::instance::{Budget, State};
use super::value::Value;
use super::world::{Instance, Loaded};
use super::{Component, Error, Runtime};

/// What a runner says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// With the version of each that it implements: `("python", "3.14")`.
    pub languages: Vec<(String, String)>,
}

/// What ended a program, and what it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// As the guest tells it: `finished`, `exception`, `exit`, `syntax-error`, …;
    /// of a call also `not-a-value`, of a judge also `cannot-judge`.
    /// As the host saw it: `out-of-fuel`, `out-of-time`, `out-of-memory`, `stack`, `trap`, …
    pub kind: String,
    /// Exception's type name, or empty.
    pub exception: String,
    /// Message or trimmed traceback, or empty.
    pub detail: String,
    /// Status given to `exit`, 0 otherwise.
    pub exit_code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// A program's outcome and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    pub outcome: Outcome,
    pub fuel: u64,
    pub memory_bytes: usize,
}

/// A loaded runner. Every program gets an instance of its own.
#[derive(Clone)]
pub struct CodeRunner {
    descriptor: Descriptor,
    loaded: Arc<Loaded<CodeRunnerPlugin>>,
}

impl CodeRunner {
    /// Finds and loads a runner.
    ///
    /// # Errors
    /// Those of [`CodeRunner::of`], or there is no such file.
    pub fn load(runtime: &Arc<Runtime>, spec: &Spec) -> Result<Self, Error> {
        let component = Component::find(runtime, spec)?;
        Self::of(component, spec, &Services::default())
    }

    /// Asks the runner in a component to describe itself, and checks its options.
    ///
    /// # Errors
    /// It is no runner, asks for what no runner gets, or fails in `describe` or `configure`.
    pub fn of(component: Component, spec: &Spec, services: &Services) -> Result<Self, Error> {
        let (loaded, _, descriptor) = Loaded::<CodeRunnerPlugin>::ready(component, spec, services)?;
        Ok(Self {
            descriptor,
            loaded: Arc::new(loaded),
        })
    }

    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub fn component(&self) -> &Component {
        &self.loaded.component
    }

    /// Whether it runs this language.
    pub fn runs(&self, language: &str) -> bool {
        let mut languages = self.descriptor.languages.iter();
        languages.any(|(name, _)| name == language)
    }

    /// Whether a source compiles; it is not run.
    ///
    /// # Errors
    /// It doesn't, or the check itself came to grief.
    pub fn check(&self, language: &str, source: &str) -> Result<(), Failure> {
        let mut instance = self.loaded.configured()?;
        let budget = Budget::for_samples(&self.loaded.limits, 1);
        self.loaded
            .call(&mut instance, budget, |world, store| {
                world
                    .rlhf_plugin_code_runner()
                    .call_check(store, language, source)
            })?
            .map_err(v0_1::failure)
    }

    /// A program in an instance of its own; it is compiled, not run.
    ///
    /// # Errors
    /// It doesn't compile, or compiling came to grief.
    pub fn program(&self, language: &str, source: &str) -> Result<Program, Failure> {
        let mut instance = self.loaded.configured()?;
        let budget = Budget::for_samples(&self.loaded.limits, 1);
        self.loaded
            .call(&mut instance, budget, |world, store| {
                world
                    .rlhf_plugin_code_runner()
                    .call_load(store, language, source)
            })?
            .map_err(v0_1::failure)?;
        Ok(Program {
            loaded: Arc::clone(&self.loaded),
            instance: Some(instance),
        })
    }

    /// A judge: an instance that has loaded nothing and runs tests, which call
    /// the candidate's functions. See [`Program::judge`].
    ///
    /// # Errors
    /// The instance can't be made.
    pub fn judge(&self, candidate: impl Candidate + 'static) -> Result<Program, Failure> {
        let program = Program {
            loaded: Arc::clone(&self.loaded),
            instance: Some(self.loaded.configured()?),
        };
        Ok(program.judging(candidate))
    }

    /// Compiles and runs a program to its end.
    pub fn execute(&self, language: &str, source: &str, stdin: &[u8]) -> Execution {
        match self.program(language, source) {
            Ok(mut program) => program.run(stdin),
            Err(failure) => Execution {
                outcome: Outcome::of(&failure),
                fuel: 0,
                memory_bytes: 0,
            },
        }
    }
}

/// One program and the instance it lives in, which ends with the first failure.
pub struct Program {
    loaded: Arc<Loaded<CodeRunnerPlugin>>,
    instance: Option<Instance<CodeRunnerPlugin>>,
}

impl Program {
    /// Makes it a judge: its source can call the candidate's functions.
    #[must_use]
    pub fn judging(mut self, candidate: impl Candidate + 'static) -> Self {
        if let Some(instance) = &mut self.instance {
            instance.store.data_mut().candidate = Some(Box::new(candidate));
        }
        self
    }

    /// Runs the program to its end.
    pub fn run(&mut self, stdin: &[u8]) -> Execution {
        self.execution(|world, store| world.rlhf_plugin_code_runner().call_run(store, stdin))
    }

    /// Runs one test as the judge of the candidate. `finished` means that it
    /// passed; several may be judged one after another.
    pub fn judge(&mut self, language: &str, prompt: &str, test: &str) -> Execution {
        self.execution(|world, store| {
            world
                .rlhf_plugin_code_runner()
                .call_judge(store, language, prompt, test)
        })
    }

    fn execution(
        &mut self,
        call: impl FnOnce(&CodeRunnerPlugin, &mut Store<State>) -> wasmtime::Result<types::Outcome>
        + Send,
    ) -> Execution {
        let budget = Budget::for_samples(&self.loaded.limits, 1);
        let Some(mut instance) = self.instance.take() else {
            return Execution {
                outcome: Outcome::of(&gone()),
                fuel: 0,
                memory_bytes: 0,
            };
        };
        let result = self.loaded.call(&mut instance, budget, call);
        let left = instance.store.get_fuel().unwrap_or_default();
        let memory_bytes = instance.store.data().limiter.memory_bytes();
        let outcome = match result {
            Ok(outcome) => {
                self.instance = Some(instance);
                v0_1::outcome(outcome)
            }
            Err(failure) => Outcome::of(&failure),
        };
        Execution {
            outcome,
            fuel: budget.fuel - left,
            memory_bytes,
        }
    }

    /// Calls a top-level function of the program, which is executed first if it was not.
    ///
    /// # Errors
    /// What ended the call, if it did not return; a result that is no value.
    pub fn call(&mut self, function: &str, arguments: Vec<Value>) -> Result<Value, Outcome> {
        let mut instance = self.instance.take().ok_or_else(|| Outcome::of(&gone()))?;
        let budget = Budget::for_samples(&self.loaded.limits, 1);
        let arguments: Vec<_> = arguments.into_iter().map(Value::into_arena).collect();
        let result = self.loaded.call(&mut instance, budget, |world, store| {
            world
                .rlhf_plugin_code_runner()
                .call_call(store, function, &arguments)
        });
        let returned = result.map_err(|failure| Outcome::of(&failure))?;
        self.instance = Some(instance);
        let value = returned.map_err(v0_1::outcome)?;
        Value::from_arena(value).map_err(|message| Outcome::of(&Failure::BadResult { message }))
    }
}

fn gone() -> Failure {
    Failure::Trap {
        message: "the program's instance has ended".into(),
    }
}

impl Outcome {
    /// What the host saw, in the words of outcomes.
    fn of(failure: &Failure) -> Self {
        let (kind, detail) = match failure {
            // What `load` and `check` refuse.
            Failure::Plugin { code, message } => (code.as_str(), message.clone()),
            other => (other.kind(), other.to_string()),
        };
        Self {
            kind: kind.to_owned(),
            detail,
            ..Self::default()
        }
    }

    /// As an exception, for whoever called a function.
    fn exception(self) -> Value {
        let name = if self.exception.is_empty() {
            self.kind
        } else {
            self.exception
        };
        Value::Exception {
            name,
            message: self.detail,
        }
    }
}

impl Candidate for Program {
    fn call(&mut self, function: &str, arguments: Vec<Value>) -> Result<Value, Value> {
        Program::call(self, function, arguments).map_err(Outcome::exception)
    }
}

/// The run's code runners as the sandbox that plugins are granted.
pub struct Runners(pub Vec<CodeRunner>);

/// A test that compares what a program writes: `{"input": "…", "output": "…"}`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct InputOutput {
    #[serde(default)]
    input: String,
    output: String,
}

impl Runners {
    fn for_language(&self, language: &str) -> Result<&CodeRunner, Refusal> {
        let mut runners = self.0.iter();
        runners
            .find(|runner| runner.runs(language))
            .ok_or_else(|| Refusal {
                code: "unsupported-language".into(),
                message: format!(
                    "no runner for `{language}`: expected one of {}",
                    self.languages().join(", ")
                ),
            })
    }

    fn languages(&self) -> Vec<&str> {
        self.0
            .iter()
            .flat_map(|runner| &runner.descriptor.languages)
            .map(|(language, _)| language.as_str())
            .collect()
    }
}

impl Sandbox for Runners {
    fn check(&self, language: &str, source: &str) -> Result<(), Refusal> {
        let runner = self.for_language(language)?;
        runner.check(language, source).map_err(|failure| {
            let Outcome { kind, detail, .. } = Outcome::of(&failure);
            Refusal {
                code: kind,
                message: detail,
            }
        })
    }

    fn execute(&self, language: &str, source: &str, stdin: &[u8]) -> Result<Outcome, Refusal> {
        let runner = self.for_language(language)?;
        Ok(runner.execute(language, source, stdin).outcome)
    }

    /// Tests of input and output are compared here, on the host; the prompt is
    /// not part of such a program.
    fn judge(
        &self,
        language: &str,
        _prompt: &str,
        candidate: &str,
        tests: &[String],
    ) -> Result<Verdict, Refusal> {
        let runner = self.for_language(language)?;
        let mut verdict = Verdict::default();
        for test in tests {
            let test: InputOutput = serde_json::from_str(test).map_err(|error| Refusal {
                code: "cannot-judge".into(),
                message: format!(
                    "a test is no object with `input` and `output` ({error}); tests of other forms need a judge for `{language}`"
                ),
            })?;
            verdict.total += 1;
            let outcome = runner
                .execute(language, candidate, test.input.as_bytes())
                .outcome;
            let written = String::from_utf8_lossy(&outcome.stdout);
            if outcome.kind != "finished" {
                verdict
                    .failures
                    .push(format!("{}: {}", outcome.kind, outcome.detail));
            } else if written.trim_end() != test.output.trim_end() {
                verdict.failures.push("the output differs".into());
            } else {
                verdict.passed += 1;
            }
        }
        Ok(verdict)
    }
}
