//! What stands behind `sandbox` while a plugin is tested: no program is run,
//! and every question has an answer that depends on the question alone.

use crate::plugin::code_runner::Outcome;
use crate::plugin::host::sandbox::{Refusal, Sandbox, Verdict};

/// Answers for any language but one that nobody speaks.
pub(super) struct StandIn;

impl StandIn {
    fn knows(language: &str) -> Result<(), Refusal> {
        if language == super::UNKNOWN_LANGUAGE {
            return Err(Refusal {
                code: "unsupported-language".into(),
                message: format!("no runner for `{language}`"),
            });
        }
        Ok(())
    }
}

impl Sandbox for StandIn {
    /// Sources without NUL compile.
    fn check(&self, language: &str, source: &str) -> Result<(), Refusal> {
        Self::knows(language)?;
        if source.contains('\0') {
            return Err(Refusal {
                code: "syntax-error".into(),
                message: "found a NUL".into(),
            });
        }
        Ok(())
    }

    /// Programs of an even number of bytes finish, the others raise something.
    fn execute(&self, language: &str, source: &str, stdin: &[u8]) -> Result<Outcome, Refusal> {
        Self::knows(language)?;
        let (kind, exception) = if source.len().is_multiple_of(2) {
            ("finished", "")
        } else {
            ("exception", "ValueError")
        };
        Ok(Outcome {
            kind: kind.into(),
            exception: exception.into(),
            stdout: stdin.to_vec(),
            ..Outcome::default()
        })
    }

    /// Candidates of an even number of bytes pass all tests, the others none.
    fn judge(
        &self,
        language: &str,
        _prompt: &str,
        candidate: &str,
        tests: &[String],
    ) -> Result<Verdict, Refusal> {
        Self::knows(language)?;
        let total = u32::try_from(tests.len()).unwrap_or(u32::MAX);
        let passes = candidate.len().is_multiple_of(2);
        if passes {
            return Ok(Verdict {
                total,
                passed: total,
                ..Verdict::default()
            });
        }
        let mut verdict = Verdict {
            total,
            ..Verdict::default()
        };
        verdict.failures = tests
            .iter()
            .map(|_| "the stand-in says so".into())
            .collect();
        Ok(verdict)
    }
}
