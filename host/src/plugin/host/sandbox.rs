//! `rlhf:plugin/sandbox`: execution of code by the run's code runner, in an
//! instance of its own for each program.

use serde::{Deserialize, Serialize};

use crate::plugin::bindings::v0_1::{self, sandbox, types};
use crate::plugin::code_runner::Outcome;
use crate::plugin::instance::State;

/// Why a sandbox did not even try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, kebab-case: `unsupported-language`, `syntax-error`, `cannot-judge`.
    pub code: String,
    pub message: String,
}

/// How many of the tests a candidate passed, judged outside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub total: u32,
    pub passed: u32,
    /// Tests that ran with the candidate in one instance, where it can forge their verdict.
    pub unguarded: u32,
    /// Why each failing test failed, in order.
    pub failures: Vec<String>,
}

/// Runs programs that nobody trusts.
pub trait Sandbox: Send + Sync {
    /// Whether a source compiles; it is not run.
    ///
    /// # Errors
    /// `syntax-error`, or no runner for the language.
    fn check(&self, language: &str, source: &str) -> Result<(), Refusal>;

    /// Runs a program to its end. What it did, failures included, is in the outcome.
    ///
    /// # Errors
    /// There is no runner for the language.
    fn execute(&self, language: &str, source: &str, stdin: &[u8]) -> Result<Outcome, Refusal>;

    /// Runs tests against a candidate, which can't touch the verdict.
    ///
    /// # Errors
    /// There is no runner for the language, or the tests can't be judged.
    fn judge(
        &self,
        language: &str,
        prompt: &str,
        candidate: &str,
        tests: &[String],
    ) -> Result<Verdict, Refusal>;
}

impl State {
    /// The sandbox, whose time is not the plugin's.
    fn with_sandbox<T>(
        &mut self,
        call: impl FnOnce(&dyn Sandbox) -> Result<T, Refusal>,
    ) -> Result<T, types::Error> {
        // Loading refuses plugins that lack the grant, so this is only a second wall.
        let Some(sandbox) = self.granted.sandbox.clone() else {
            return Err(types::Error {
                code: "not-granted".into(),
                message: "the run granted no sandbox".into(),
            });
        };
        self.in_host(|_| call(&*sandbox))
            .map_err(|Refusal { code, message }| types::Error { code, message })
    }
}

impl sandbox::Host for State {
    fn check(
        &mut self,
        language: String,
        source: String,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.with_sandbox(|sandbox| sandbox.check(&language, &source)))
    }

    fn execute(
        &mut self,
        language: String,
        source: String,
        stdin: Vec<u8>,
    ) -> wasmtime::Result<Result<types::Outcome, types::Error>> {
        Ok(self
            .with_sandbox(|sandbox| sandbox.execute(&language, &source, &stdin))
            .map(v0_1::outcome_out))
    }

    fn judge(
        &mut self,
        language: String,
        prompt: String,
        candidate: String,
        tests: Vec<String>,
    ) -> wasmtime::Result<Result<sandbox::Verdict, types::Error>> {
        let verdict =
            self.with_sandbox(|sandbox| sandbox.judge(&language, &prompt, &candidate, &tests));
        Ok(verdict.map(|verdict| sandbox::Verdict {
            total: verdict.total,
            passed: verdict.passed,
            unguarded: verdict.unguarded,
            failures: verdict.failures,
        }))
    }
}
