//! Verdicts, which come from outside the candidate.
//!
//! A test of input and output is compared here, on the host's side of the sandbox. A test that is
//! code runs in a judge: an instance of its own, which reaches the candidate's functions only
//! through [`Seat`], by value. So the candidate can't see a test, touch what compares, or say
//! that it passed.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::plugin::CodeRunner;
use crate::plugin::code_runner::{Outcome, Program};
use crate::plugin::host::Candidate;
use crate::plugin::host::sandbox::{Refusal, Verdict};
use crate::plugin::value::Value;

/// How a judge tells that a test can't be judged, whatever the candidate does.
const CANNOT_JUDGE: &str = "cannot-judge";
const FINISHED: &str = "finished";

/// What becomes of tests that can't be judged by value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// They fail, and say what they would need.
    #[default]
    Guarded,
    /// They run with the candidate in one instance, where it can forge its verdict, and are
    /// counted as `unguarded`.
    AllowUnguarded,
}

/// A test that compares what a program writes: `{"input": "…", "output": "…"}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputOutput {
    #[serde(default)]
    input: String,
    output: String,
}

/// What is judged.
pub struct Case<'a> {
    pub language: &'a str,
    /// Executed by the judge for its helpers, where it is code.
    pub prompt: &'a str,
    pub candidate: &'a str,
}

/// Runs tests against a candidate.
///
/// # Errors
/// Time was up, which says something about the machine and nothing about the candidate.
pub fn judge(
    runner: &CodeRunner,
    case: &Case,
    tests: &[String],
    policy: Policy,
) -> Result<Verdict, Refusal> {
    let mut court = Court {
        runner,
        case,
        seat: None,
        judge: None,
    };
    let mut verdict = Verdict::default();
    for test in tests {
        let result = match serde_json::from_str::<InputOutput>(test) {
            Ok(test) => court.compare(&test)?,
            Err(_) => court.test(test)?,
        };
        let result = match (result, policy) {
            (Ruling::CannotJudge(_), Policy::AllowUnguarded) => {
                verdict.unguarded += 1;
                court.together(test)?
            }
            (result, _) => result,
        };
        verdict.total += 1;
        match result {
            Ruling::Passed => verdict.passed += 1,
            Ruling::Failed(reason) => verdict.failures.push(reason),
            Ruling::CannotJudge(reason) => verdict.failures.push(format!(
                "{CANNOT_JUDGE}: {reason}; it can only run unguarded, where a candidate can forge its verdict"
            )),
        }
    }
    Ok(verdict)
}

/// What came of one test.
enum Ruling {
    Passed,
    /// Why.
    Failed(String),
    /// Why not.
    CannotJudge(String),
}

struct Court<'a> {
    runner: &'a CodeRunner,
    case: &'a Case<'a>,
    /// The candidate's instance, as long as it lives.
    seat: Option<Seat>,
    /// The judge's, which may try one test after another: it sees only values.
    judge: Option<Program>,
}

impl Court<'_> {
    /// Runs the candidate on an input and compares its output, trailing white space aside.
    fn compare(&self, test: &InputOutput) -> Result<Ruling, Refusal> {
        let outcome = self
            .runner
            .execute(
                self.case.language,
                self.case.candidate,
                test.input.as_bytes(),
            )
            .outcome;
        in_time(&outcome)?;
        // A program that leaves by `exit(0)` has done its work as well.
        let ended = outcome.kind == FINISHED || (outcome.kind == "exit" && outcome.exit_code == 0);
        if !ended {
            return Ok(Ruling::Failed(reason(&outcome)));
        }
        let written = String::from_utf8_lossy(&outcome.stdout);
        Ok(if same_output(&written, &test.output) {
            Ruling::Passed
        } else {
            Ruling::Failed("the output differs".into())
        })
    }

    /// Runs a test in the judge against the candidate in its own instance.
    fn test(&mut self, test: &str) -> Result<Ruling, Refusal> {
        let seat = match self.seat.take() {
            Some(seat) => seat,
            None => match self.runner.program(self.case.language, self.case.candidate) {
                Ok(program) => Seat::new(program),
                Err(failure) => {
                    let outcome = Outcome::of(&failure);
                    in_time(&outcome)?;
                    return Ok(Ruling::Failed(reason(&outcome)));
                }
            },
        };
        let mut judge = match self.judge.take() {
            Some(judge) => judge,
            None => self.runner.judge(seat.clone()).map_err(|failure| {
                let Outcome { kind, detail, .. } = Outcome::of(&failure);
                Refusal {
                    code: kind,
                    message: detail,
                }
            })?,
        };
        // A test has its own fuel: what those before it took must not decide.
        seat.refuel();
        judge.refuel();
        let outcome = judge
            .judge(self.case.language, self.case.prompt, test)
            .outcome;
        // What ended the candidate counts, even if the test went on without it.
        let Ended {
            outcome: ended,
            class,
        } = seat.take_ended();
        if let Some(ended) = &ended {
            in_time(ended)?;
        }
        in_time(&outcome)?;
        if ended.is_none() && !judge.is_over() {
            // Both go on to the next test. A judge knows one candidate, so they stay together.
            self.seat = Some(seat);
            self.judge = Some(judge);
        }
        if let Some(class) = class {
            return Ok(Ruling::CannotJudge(format!(
                "the test makes an object of the candidate's class `{class}`"
            )));
        }
        Ok(match (ended, outcome) {
            (Some(ended), _) => Ruling::Failed(format!("the candidate ended: {}", reason(&ended))),
            (None, outcome) if outcome.kind == FINISHED => Ruling::Passed,
            (None, outcome) if outcome.kind == CANNOT_JUDGE => Ruling::CannotJudge(outcome.detail),
            (None, outcome) => Ruling::Failed(reason(&outcome)),
        })
    }

    /// Runs a test and the candidate in one instance, as programs are tested without a judge.
    fn together(&self, test: &str) -> Result<Ruling, Refusal> {
        let source = format!("{}\n\n{test}", self.case.candidate);
        let outcome = self
            .runner
            .execute(self.case.language, &source, &[])
            .outcome;
        in_time(&outcome)?;
        Ok(if outcome.kind == FINISHED {
            Ruling::Passed
        } else {
            Ruling::Failed(reason(&outcome))
        })
    }
}

/// The candidate's place before its judge: its functions, and what ended it.
#[derive(Clone)]
struct Seat(Arc<Mutex<Sitting>>);

struct Sitting {
    program: Program,
    ended: Ended,
}

/// What came of a candidate during a test.
#[derive(Default)]
struct Ended {
    /// What ended it, if it was more than an exception.
    outcome: Option<Outcome>,
    /// A class of its own that the test made an object of. By its capital letter: what asks for
    /// an object must be the test, and not a candidate that returns one.
    class: Option<String>,
}

impl Seat {
    fn new(program: Program) -> Self {
        Self(Arc::new(Mutex::new(Sitting {
            program,
            ended: Ended::default(),
        })))
    }

    fn refuel(&self) {
        let mut sitting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sitting.program.refuel();
    }

    fn take_ended(&self) -> Ended {
        let mut sitting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut sitting.ended)
    }
}

impl Candidate for Seat {
    fn call(&mut self, function: &str, arguments: Vec<Value>) -> Result<Value, Value> {
        let mut sitting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Sitting { program, ended } = &mut *sitting;
        program.call(function, arguments).map_err(|outcome| {
            if outcome.kind == "not-a-value" && function.starts_with(char::is_uppercase) {
                ended.class.get_or_insert_with(|| function.to_owned());
            }
            if outcome.kind != "exception" {
                // The first is the cause, later ones only find that the instance is gone.
                ended.outcome.get_or_insert_with(|| outcome.clone());
            }
            outcome.exception()
        })
    }
}

/// Running out of wall time is trouble of the machine, and no verdict.
fn in_time(outcome: &Outcome) -> Result<(), Refusal> {
    if outcome.kind == "out-of-time" {
        return Err(Refusal {
            code: outcome.kind.clone(),
            message: outcome.detail.clone(),
        });
    }
    Ok(())
}

/// One line.
fn reason(outcome: &Outcome) -> String {
    let last = outcome.detail.lines().last().unwrap_or_default().trim();
    match (outcome.exception.as_str(), last) {
        ("", "") => outcome.kind.clone(),
        ("", last) => format!("{}: {last}", outcome.kind),
        (exception, "") => exception.to_owned(),
        (exception, last) if last.starts_with(exception) => last.to_owned(),
        (exception, last) => format!("{exception}: {last}"),
    }
}

/// Whether outputs are the same but for white space at the ends of lines and of the whole, which
/// is what the usual graders forgive.
fn same_output(found: &str, expected: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        text.trim_end()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    lines(found) == lines(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a grader that is stricter or laxer than it says.
    #[test]
    fn outputs_are_compared_line_by_line() {
        for (found, expected, same) in [
            ("1 2\n3\n", "1 2\n3", true),
            ("1 2 \r\n3\n\n", "1 2\n3\n", true),
            ("1  2\n3", "1 2\n3", false),
            ("\n1", "1", false),
            ("", "", true),
            ("1\n\n2", "1\n2", false),
        ] {
            assert_eq!(same_output(found, expected), same, "{found:?} {expected:?}");
        }
    }

    // Would catch a reason that says nothing, or everything twice.
    #[test]
    fn reasons_fit_on_a_line() {
        let outcome = |kind: &str, exception: &str, detail: &str| Outcome {
            kind: kind.into(),
            exception: exception.into(),
            detail: detail.into(),
            ..Outcome::default()
        };
        for (outcome, expected) in [
            (
                outcome("out-of-fuel", "", "out of fuel"),
                "out-of-fuel: out of fuel",
            ),
            (
                outcome(
                    "exception",
                    "ValueError",
                    "Traceback (most recent call last):\n  …\nValueError: no",
                ),
                "ValueError: no",
            ),
            (outcome("exception", "AssertionError", ""), "AssertionError"),
            (outcome("exit", "", ""), "exit"),
        ] {
            assert_eq!(reason(&outcome), expected);
        }
    }
}
