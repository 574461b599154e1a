//! What stands behind `encoder` and `sandbox` while a plugin is tested: no model is
//! loaded, no program is run, and every question has an answer that depends on the
//! question alone.

use std::sync::Arc;

use crate::plugin::code_runner::Outcome;
use crate::plugin::host::encoder::{Embeddings, Encoder, Frequencies, Matching};
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

/// Width of a stand-in's vectors.
const WIDTH: u32 = 4;

/// Words instead of tokens; equal words match.
impl Encoder for StandIn {
    fn signature(&self) -> String {
        "model:stand-in|layer:0".into()
    }

    fn fit(
        &self,
        references: &[String],
        learned: Option<&Frequencies>,
    ) -> Result<Arc<Frequencies>, String> {
        let before = learned.and_then(|learned| learned.downcast_ref::<usize>());
        Ok(Arc::new(references.len() + before.copied().unwrap_or(0)))
    }

    fn encode(&self, texts: &[String]) -> Result<Vec<Embeddings>, String> {
        let embed = |text: &String| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Embeddings {
                tokens: u32::try_from(words.len()).unwrap_or(u32::MAX),
                width: WIDTH,
                held: Box::new(words),
            }
        };
        Ok(texts.iter().map(embed).collect())
    }

    fn matches(
        &self,
        candidate: &Embeddings,
        reference: &Embeddings,
        _frequencies: Option<&Frequencies>,
    ) -> Result<Matching, String> {
        let words = |embeddings: &Embeddings| -> Result<Vec<String>, String> {
            let words = embeddings.held.downcast_ref::<Vec<String>>();
            words.cloned().ok_or_else(|| "not the stand-in's".into())
        };
        let (candidate, reference) = (words(candidate)?, words(reference)?);
        let found = |of: &[String], among: &[String]| match of.len() {
            0 => 0.0,
            all => of.iter().filter(|word| among.contains(word)).count() as f64 / all as f64,
        };
        let precision = found(&candidate, &reference);
        let recall = found(&reference, &candidate);
        let f1 = match precision + recall {
            0.0 => 0.0,
            sum => 2.0 * precision * recall / sum,
        };
        Ok(Matching {
            precision,
            recall,
            f1,
        })
    }

    fn vectors(&self, embeddings: &Embeddings) -> Result<Vec<f32>, String> {
        Ok(vec![0.5; (embeddings.tokens * embeddings.width) as usize])
    }
}
