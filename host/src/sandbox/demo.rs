//! Five programs that forge a verdict, before a check that believes them and before ours.
//!
//! The naive check is what most test harnesses do: candidate and test in one interpreter, and a
//! pass is an end without an error. (It runs in the sandbox here, so that showing it is safe.)

use serde::Serialize;

use super::Pool;
use crate::plugin::code_runner::Outcome;
use crate::plugin::host::Sandbox;
use crate::plugin::host::sandbox::Refusal;

/// What every program of the demonstration is asked for.
pub const PROMPT: &str = "def double(n):\n    \"\"\"Twice n.\"\"\"\n";
/// The test that none of them deserves to pass.
pub const TEST: &str = "assert double(2) == 4\nassert double(-3) == -6\n";

/// A program that does not what it was asked for.
pub struct Forgery {
    pub name: &'static str,
    pub program: &'static str,
}

/// Each attacks another part of the naive check.
pub const FORGERIES: [Forgery; 5] = [
    Forgery {
        name: "an answer that equals everything",
        program: "class Yes(int):\n    def __eq__(self, other):\n        return True\n\n\
                  def double(n):\n    return Yes(0)\n",
    },
    Forgery {
        name: "leave with status 0 before the test",
        program: "import sys\n\ndef double(n):\n    sys.exit(0)\n",
    },
    Forgery {
        name: "leave by os._exit, past every handler",
        program: "import os\n\ndef double(n):\n    os._exit(0)\n",
    },
    Forgery {
        name: "take the failure out of assert",
        program: "import builtins\n\nclass Quiet(SystemExit):\n    code = 0\n\n\
                  builtins.AssertionError = Quiet\n\n\
                  def double(n):\n    raise Quiet(0)\n",
    },
    Forgery {
        name: "read the expected answer from the test's frame",
        program: "import sys\n\ndef double(n):\n    \
                  frame = sys._getframe(1)\n    \
                  while frame.f_back is not None and 'double(2)' not in str(frame.f_code.co_consts):\n        \
                  frame = frame.f_back\n    \
                  constants = [c for c in frame.f_code.co_consts if isinstance(c, int)]\n    \
                  class Any(int):\n        __hash__ = int.__hash__\n        \
                  def __eq__(self, other):\n            return other in constants or True\n    \
                  return Any()\n",
    },
];

/// What the two checks make of one program.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub name: &'static str,
    /// Whether the naive check believes it.
    pub naive_passed: bool,
    /// Whether ours does.
    pub passed: bool,
    /// Why ours doesn't.
    pub reason: String,
}

/// Shows one program to both checks.
///
/// # Errors
/// There is no worker, or no runner for Python.
pub fn show(pool: &Pool, forgery: &Forgery) -> Result<Shown, Refusal> {
    let Forgery { name, program } = forgery;
    let Outcome {
        kind, exit_code, ..
    } = pool.execute("python", &format!("{program}\n{TEST}"), &[])?;
    let verdict = pool.judge("python", PROMPT, program, &[TEST.to_owned()])?;
    Ok(Shown {
        name,
        naive_passed: kind == "finished" || (kind == "exit" && exit_code == 0),
        passed: verdict.passed == verdict.total,
        reason: verdict.failures.join("; "),
    })
}
