//! The four parts of a score, each from 0 to 1.

use rlhf_python::candidate::Candidate;
use rlhf_sdk::host::Sandbox;
use rlhf_sdk::{Error, Sample};

use crate::complexity::Complexity;
use crate::options::{Options, Rules, Weights};
use crate::seed;
use crate::style::{Code, Counts, violations};

/// The language this metric is about, as sandboxes know it.
pub const LANGUAGE: &str = "python";

/// Up to this complexity a block is simple: radon's rank A, "low - simple block".
const SIMPLE: f64 = 5.0;

/// From this complexity on it is "very high - error-prone, unstable": radon's rank F.
const UNSTABLE: f64 = 41.0;

/// The parts and the numbers they come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// 1 if the code compiles.
    pub syntax: f64,
    /// See [`complexity_score`].
    pub complexity: f64,
    /// See [`style_score`].
    pub style: f64,
    /// 1 if the program finished, or passed its tests.
    pub execution: f64,
    /// Whether there is something to run: code that compiles, and not only comments.
    pub is_program: bool,
    /// radon's numbers; all 0 if there is no program.
    pub cyclomatic: Cyclomatic,
    /// pycodestyle's numbers, whether or not the code compiles.
    pub violations: Counts,
}

/// radon's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cyclomatic {
    /// Functions, methods and classes.
    pub blocks: usize,
    /// Of all blocks together.
    pub total: usize,
    /// The largest one, the code outside of blocks included.
    pub maximum: usize,
}

impl Parts {
    /// The parts of a sample's response.
    ///
    /// # Errors
    /// The sandbox could not say whether the code compiles, runs or passes.
    pub fn of(sample: &Sample, options: &Options, sandbox: &Sandbox) -> Result<Self, Error> {
        let Sample {
            prompt, response, ..
        } = sample;
        let candidate = Candidate::of(prompt, response, options.candidate, options.fences);
        let source = candidate.source();
        let compiles = match sandbox.check(LANGUAGE, &source) {
            Ok(()) => true,
            Err(error) if error.code == "syntax-error" => false,
            Err(error) => return Err(error),
        };
        let mut parts = Self::of_text(&candidate, options.compat, compiles);
        if parts.is_program {
            parts.execution = execution(sample, &candidate, options.fraction, sandbox)?;
        }
        Ok(parts)
    }

    /// Those that come from the text alone; execution is 0.
    #[must_use]
    pub fn of_text(candidate: &Candidate, rules: Rules, compiles: bool) -> Self {
        // A completion is read with its prompt, and only what it adds is its fault.
        let read = if candidate.is_completion {
            candidate.source()
        } else {
            candidate.written.into()
        };
        let mut violations = violations(&read);
        if candidate.is_completion {
            violations = violations.without(&self::violations(candidate.before));
        }
        let mut parts = Self {
            syntax: f64::from(u8::from(compiles)),
            violations,
            ..Self::default()
        };
        if rules == Rules::Seed {
            parts.style = seed::style(candidate.written).score;
        }
        if !compiles {
            return parts;
        }
        let written = Complexity::of(candidate.written);
        // A text without a statement compiles, and nothing is wrong with it, and it is no program.
        parts.is_program = written.statements.lines > 0 || rules == Rules::Seed;
        if !parts.is_program {
            return parts;
        }
        let complexity = if candidate.is_completion {
            Complexity::of(&read)
        } else {
            written
        };
        parts.cyclomatic = Cyclomatic {
            blocks: complexity.blocks.len(),
            total: complexity.total(),
            maximum: complexity.maximum(),
        };
        match rules {
            Rules::Reference => {
                parts.complexity = complexity_score(parts.cyclomatic.maximum);
                parts.style = style_score(&parts.violations, candidate.written);
            }
            Rules::Seed => parts.complexity = seed::complexity(&complexity.statements),
        }
        parts
    }

    /// The weighted sum.
    #[must_use]
    pub fn value(&self, weights: &Weights) -> f64 {
        weights.syntax * self.syntax
            + weights.complexity * self.complexity
            + weights.style * self.style
            + weights.execution * self.execution
    }
}

/// 1 for code of which no block is more complex than radon's rank A allows, 0
/// from rank F on, and in between a straight line.
///
/// The largest complexity counts, not the mean: a mean can be talked down with
/// trivial functions.
#[must_use]
pub fn complexity_score(maximum: usize) -> f64 {
    let maximum = f64::from(u32::try_from(maximum).unwrap_or(u32::MAX));
    ((UNSTABLE - maximum) / (UNSTABLE - SIMPLE)).clamp(0.0, 1.0)
}

/// 1 less the violations for each line that isn't blank, and not below 0.
///
/// Whether the text's last line ends, and how often (W292, W391), is left out:
/// responses end where generation stopped.
#[must_use]
pub fn style_score(violations: &Counts, text: &str) -> f64 {
    let lines = text
        .lines()
        .filter(|line| !rlhf_text::is_blank(line))
        .count();
    let ending = violations.get(Code::W292) + violations.get(Code::W391);
    let counted = f64::from(violations.total() - ending);
    let lines = f64::from(u32::try_from(lines.max(1)).unwrap_or(u32::MAX));
    (1.0 - counted / lines).max(0.0)
}

/// Tests if there are any, otherwise whether the program finishes.
fn execution(
    sample: &Sample,
    candidate: &Candidate,
    fraction: bool,
    sandbox: &Sandbox,
) -> Result<f64, Error> {
    let source = candidate.source();
    if sample.tests.is_empty() {
        let outcome = sandbox.execute(LANGUAGE, &source, b"")?;
        return match outcome.kind.as_str() {
            "finished" => Ok(1.0),
            // The machine was too slow, not the program.
            "out-of-time" => Err(Error::new("out-of-time", outcome.detail)),
            _ => Ok(0.0),
        };
    }
    let verdict = sandbox.judge(LANGUAGE, candidate.prompt, &source, &sample.tests)?;
    if verdict.total == 0 {
        return Err(Error::new(
            "cannot-judge",
            "the sandbox ran none of the tests",
        ));
    }
    Ok(if fraction {
        f64::from(verdict.passed) / f64::from(verdict.total)
    } else {
        f64::from(u8::from(verdict.passed == verdict.total))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a rule that isn't the README's.
    #[test]
    fn numbers_become_scores() {
        let check = |maximum, expected: f64| {
            assert!(
                (complexity_score(maximum) - expected).abs() < 1e-15,
                "{maximum}"
            );
        };
        check(0, 1.0);
        check(5, 1.0);
        check(6, 35.0 / 36.0);
        check(23, 0.5);
        check(41, 0.0);
        check(usize::MAX, 0.0);
        let check = |text: &str, expected: f64| {
            assert_eq!(style_score(&violations(text), text), expected, "{text:?}");
        };
        check("x = 1", 1.0);
        check("x = 1\n\n\n", 1.0);
        check("x=1\ny = 2\n", 0.5);
        check("x=1 \n", 0.0);
    }
}
