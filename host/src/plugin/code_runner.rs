//! The typed front of the code-runner world: one program, one instance.
//!
//! Whatever a program does ends up in an [`Execution`]. Nothing that its
//! instance says about itself is a verdict: outputs are compared by the host,
//! and functions are called through [`Program::call`], by value.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use wasmtime::Store;

use super::bindings::v0_1::{self, CodeRunnerPlugin, types};
use super::discovery::Spec;
use super::failure::Failure;
use super::host::{Candidate, Services};
use super::instance::{Budget, State};
use super::value::Value;
use super::world::{Instance, Loaded};
use super::{Component, Error, Runtime};

/// Instances that are made ahead of need: a program takes one, a judged one two.
const READY: usize = 2;

/// Instances in which programs have ended.
type Used = Arc<Mutex<Vec<Instance<CodeRunnerPlugin>>>>;

fn held<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    pub outcome: Outcome,
    /// Of compiling and running it.
    pub fuel: u64,
    /// Linear memory at its largest, the interpreter's own included.
    pub memory_bytes: usize,
}

/// A loaded runner. Every program gets an instance of its own.
#[derive(Clone)]
pub struct CodeRunner {
    descriptor: Descriptor,
    loaded: Arc<Loaded<CodeRunnerPlugin>>,
    /// Where programs leave their instances, if those are not cleared away at once.
    used: Option<Used>,
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
            used: None,
        })
    }

    /// Clears away what earlier programs left, and makes instances for the next ones: for a
    /// process that waits for programs.
    ///
    /// # Errors
    /// What went wrong in an instance.
    pub fn prepare(&self) -> Result<(), Failure> {
        let Some(used) = &self.used else {
            return Ok(());
        };
        // A judge holds its candidate, which is left here as well once the judge is gone.
        loop {
            let used = std::mem::take(&mut *held(used));
            if used.is_empty() {
                break;
            }
            drop(used);
        }
        self.loaded.keep_ready(READY)
    }

    /// Leaves making and clearing instances to [`CodeRunner::prepare`]: both take as long as a
    /// small program does, and a process that waits for programs can do them while nobody waits
    /// for it. (On a second thread of the process they would slow the program down: threads that
    /// change one address space at once wait for each other.)
    #[must_use]
    pub fn prepared(mut self) -> Self {
        self.used = Some(Arc::default());
        self
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
            .call(&mut instance, budget, async |world, store| {
                world
                    .rlhf_plugin_code_runner()
                    .call_check(store, language, source)
                    .await
            })?
            .map_err(v0_1::failure)
    }

    /// An instance that no program has touched.
    fn fresh(&self) -> Result<Program, Failure> {
        let instance = match self.loaded.take_idle() {
            Some(instance) => instance,
            None => self.loaded.configured()?,
        };
        Ok(Program {
            fuel_left: self.loaded.limits.fuel_per_sample,
            loaded: Arc::clone(&self.loaded),
            used: self.used.clone(),
            instance: Some(instance),
            memory_bytes: 0,
        })
    }

    /// A program in an instance of its own; it is compiled, not run.
    ///
    /// # Errors
    /// It doesn't compile, or compiling came to grief.
    pub fn program(&self, language: &str, source: &str) -> Result<Program, Failure> {
        let mut program = self.fresh()?;
        program.load(language, source)?;
        Ok(program)
    }

    /// A judge: an instance that has loaded nothing and runs tests, which call
    /// the candidate's functions. See [`Program::judge`].
    ///
    /// # Errors
    /// The instance can't be made.
    pub fn judge(&self, candidate: impl Candidate + 'static) -> Result<Program, Failure> {
        Ok(self.fresh()?.judging(candidate))
    }

    /// Compiles and runs a program to its end.
    pub fn execute(&self, language: &str, source: &str, stdin: &[u8]) -> Execution {
        let mut program = match self.fresh() {
            Ok(program) => program,
            Err(failure) => {
                return Execution {
                    outcome: Outcome::of(&failure),
                    ..Execution::default()
                };
            }
        };
        match program.load(language, source) {
            Ok(()) => program.run(stdin),
            Err(failure) => program.ended(Outcome::of(&failure)),
        }
    }
}

/// One program, or one judge, and the instance it lives in, which ends with the
/// first failure. All its calls together have the fuel of one sample.
pub struct Program {
    loaded: Arc<Loaded<CodeRunnerPlugin>>,
    used: Option<Used>,
    instance: Option<Instance<CodeRunnerPlugin>>,
    fuel_left: u64,
    /// At the end of the last call.
    memory_bytes: usize,
}

impl Program {
    fn load(&mut self, language: &str, source: &str) -> Result<(), Failure> {
        self.guest(async |world, store| {
            world
                .rlhf_plugin_code_runner()
                .call_load(store, language, source)
                .await
        })?
        .map_err(v0_1::failure)
    }

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
        self.execution(async |world, store| {
            world.rlhf_plugin_code_runner().call_run(store, stdin).await
        })
    }

    /// Runs one test as the judge of the candidate. `finished` means that it
    /// passed; several may be judged one after another.
    pub fn judge(&mut self, language: &str, prompt: &str, test: &str) -> Execution {
        self.execution(async |world, store| {
            world
                .rlhf_plugin_code_runner()
                .call_judge(store, language, prompt, test)
                .await
        })
    }

    fn execution(
        &mut self,
        call: impl AsyncFnOnce(&CodeRunnerPlugin, &mut Store<State>) -> wasmtime::Result<types::Outcome>,
    ) -> Execution {
        let outcome = self
            .guest(call)
            .map_or_else(|failure| Outcome::of(&failure), v0_1::outcome);
        self.ended(outcome)
    }

    /// Gives it the fuel of a sample again, for the next test.
    pub fn refuel(&mut self) {
        self.fuel_left = self.loaded.limits.fuel_per_sample;
    }

    /// Calls a top-level function of the program, which is executed first if it was not.
    ///
    /// # Errors
    /// What ended the call, if it did not return; a result that is no value.
    pub fn call(&mut self, function: &str, arguments: Vec<Value>) -> Result<Value, Outcome> {
        let arguments: Vec<_> = arguments.into_iter().map(Value::into_arena).collect();
        let returned = self
            .guest(async |world, store| {
                world
                    .rlhf_plugin_code_runner()
                    .call_call(store, function, &arguments)
                    .await
            })
            .map_err(|failure| Outcome::of(&failure))?;
        let value = returned.map_err(v0_1::outcome)?;
        Value::from_arena(value).map_err(|message| Outcome::of(&Failure::BadResult { message }))
    }

    /// One guest call. What its instance was after a failure nobody knows, so it ends.
    fn guest<T>(
        &mut self,
        call: impl AsyncFnOnce(&CodeRunnerPlugin, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let mut instance = self.instance.take().ok_or_else(|| Failure::Trap {
            message: "the program's instance has ended".into(),
        })?;
        let budget = Budget {
            fuel: self.fuel_left,
            ..Budget::for_samples(&self.loaded.limits, 1)
        };
        let result = self.loaded.call(&mut instance, budget, call);
        self.fuel_left = instance.store.get_fuel().unwrap_or_default();
        self.memory_bytes = instance.store.data().limiter.memory_bytes();
        self.instance = Some(instance);
        if result.is_err() {
            self.clear();
        }
        result
    }

    /// Ends its instance: leaves it to be cleared away, unless many wait for that already.
    fn clear(&mut self) {
        if let (Some(instance), Some(used)) = (self.instance.take(), &self.used) {
            let mut used = held(used);
            if used.len() < READY {
                used.push(instance);
            }
        }
    }

    /// An outcome with what the program has cost so far.
    fn ended(&self, outcome: Outcome) -> Execution {
        Execution {
            outcome,
            fuel: self.loaded.limits.fuel_per_sample - self.fuel_left,
            memory_bytes: self.memory_bytes,
        }
    }

    /// Whether its instance came to grief, so that nothing can be called any more.
    pub fn is_over(&self) -> bool {
        self.instance.is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Outcome {
    /// What the host saw, in the words of outcomes.
    pub(crate) fn of(failure: &Failure) -> Self {
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
    pub(crate) fn exception(self) -> Value {
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
