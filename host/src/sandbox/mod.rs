//! Where programs that nobody trusts are run.
//!
//! A program runs in a fresh WebAssembly instance of a code runner, and that in a worker: a
//! process of the same binary that has given up what the system lets it give up. [`Pool`] starts
//! workers when they are needed, one for each core at most, keeps them warm, and replaces those
//! that die. What a worker does is in [`worker`], what it gives up in [`confinement`], how the
//! two sides talk in [`wire`], and who decides whether a test passed in [`judge`].
//!
//! What a program says about itself is never a verdict.

pub mod confinement;
pub mod demo;
pub mod judge;
mod process;
mod wire;
mod worker;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub use judge::Policy;
pub use worker::serve;

use process::{Lost, Process};
use wire::{Hello, Reply, Request, Runner};

use crate::plugin::code_runner::{Execution, Outcome};
use crate::plugin::host::Sandbox;
use crate::plugin::host::sandbox::{Refusal, Verdict};
use crate::plugin::{self, CodeRunner, Spec};

/// The hidden command by which the binary becomes a worker.
pub const WORKER_COMMAND: &str = "sandbox-worker";

/// Requests after which all workers are started, though one could answer. Chosen: starting one
/// takes as long as some dozens of small programs.
const ASKED_FOR_TURNS: u64 = 32;

/// Why no program can be run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
    #[error("sandbox worker `{}` can't be started: {problem}", program.display())]
    Start { program: PathBuf, problem: String },
    #[error("sandbox worker: the pipe to its run broke: {0}")]
    Pipe(std::io::Error),
}

/// Workers of a run, and the programs they run.
///
/// It is a [`Sandbox`] that metrics and reward shapers can be granted.
pub struct Pool {
    /// The binary that becomes a worker.
    program: PathBuf,
    hello: Hello,
    /// Languages of the runners.
    languages: Vec<(String, String)>,
    size: usize,
    policy: Policy,
    workers: Mutex<Workers>,
    returned: Condvar,
    /// Compiled code that no cache holds, as long as workers may need it.
    _compiled: Option<tempfile::TempDir>,
}

#[derive(Default)]
struct Workers {
    /// The one that has been idle longest first.
    idle: VecDeque<Process>,
    /// Idle and busy ones together.
    alive: usize,
    /// Requests so far.
    asked: u64,
    /// Whether the confinement has been told.
    told: bool,
}

impl Pool {
    /// A pool of at most `size` workers over some runners, each with what its user set. `program`
    /// is the `rlhf` binary. No worker is started yet.
    ///
    /// # Errors
    /// Compiled code can't be put where workers find it.
    pub fn new(
        program: PathBuf,
        runners: &[(CodeRunner, Spec)],
        size: usize,
        policy: Policy,
    ) -> Result<Self, Error> {
        let mut folder = None;
        let mut handed = Vec::with_capacity(runners.len());
        for (runner, spec) in runners {
            handed.push(Runner::of(runner, spec, &mut folder)?);
        }
        Ok(Self {
            program,
            hello: Hello { runners: handed },
            languages: runners
                .iter()
                .flat_map(|(runner, _)| runner.descriptor().languages.clone())
                .collect(),
            size: size.max(1),
            policy,
            workers: Mutex::default(),
            returned: Condvar::new(),
            _compiled: folder,
        })
    }

    /// Whether there is a runner for a language.
    ///
    /// # Errors
    /// There is none: the languages that there are.
    pub fn supports(&self, language: &str) -> Result<(), Refusal> {
        let mut languages = self.languages.iter();
        match languages.any(|(name, _)| name == language) {
            true => Ok(()),
            false => Err(unsupported(language, self.languages.iter())),
        }
    }

    /// Runs a program to its end, and says what that cost.
    ///
    /// # Errors
    /// No runner for the language; no worker can be started.
    pub fn run(&self, language: &str, source: &str, stdin: &[u8]) -> Result<Execution, Refusal> {
        let request = Request::Execute {
            language: language.to_owned(),
            source: source.to_owned(),
            stdin: stdin.to_owned(),
        };
        match self.ask(&request) {
            Ok(Reply::Executed(result)) => result,
            Ok(_) => Err(confused()),
            // The program is to blame only if it takes two workers with it.
            Err(lost) => Ok(Execution {
                outcome: lost.outcome()?,
                ..Execution::default()
            }),
        }
    }

    /// Has a worker answer. One that dies is replaced, and what it was doing is tried once more;
    /// so is what ran out of wall time, which is trouble of the machine.
    fn ask(&self, request: &Request) -> Result<Reply, Lost> {
        self.supports(request.language()).map_err(Lost::Refused)?;
        let mut worker = self.take()?;
        for attempt in 0.. {
            let reply = worker.ask(request);
            let again = attempt == 0;
            match reply {
                Ok(reply) => {
                    if again && reply.is_out_of_time() {
                        tracing::warn!("a program ran out of wall time: tried once more");
                        continue;
                    }
                    self.give_back(worker);
                    return Ok(reply);
                }
                Err(lost) => {
                    tracing::warn!("sandbox worker lost: {lost}");
                    // Its place is free even if no other can be started.
                    drop(worker);
                    self.forget();
                    if !again {
                        return Err(lost);
                    }
                    worker = self.take()?;
                }
            }
        }
        unreachable!("the second attempt returns")
    }

    /// The worker that has been idle longest, a new one, or the next that comes back.
    ///
    /// A worker that has just answered clears away behind the program and makes an instance for
    /// the next. So even programs that come one after another take turns at the workers.
    fn take(&self) -> Result<Process, Lost> {
        let mut workers = self.workers();
        workers.asked += 1;
        loop {
            let turns = workers.asked > ASKED_FOR_TURNS && workers.alive < self.size;
            if !turns && let Some(worker) = workers.idle.pop_front() {
                return Ok(worker);
            }
            if workers.alive < self.size {
                workers.alive += 1;
                break;
            }
            workers = self
                .returned
                .wait(workers)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(workers);
        match Process::start(&self.program, &self.hello) {
            Ok((worker, ready)) => {
                let mut workers = self.workers();
                if !std::mem::replace(&mut workers.told, true) {
                    tell(&ready.confinement);
                }
                Ok(worker)
            }
            Err(error) => {
                self.forget();
                Err(Lost::Refused(Refusal {
                    code: "no-worker".into(),
                    message: error.to_string(),
                }))
            }
        }
    }

    fn give_back(&self, worker: Process) {
        self.workers().idle.push_back(worker);
        self.returned.notify_one();
    }

    /// One worker fewer is alive.
    fn forget(&self) {
        self.workers().alive -= 1;
        self.returned.notify_one();
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox for Pool {
    fn check(&self, language: &str, source: &str) -> Result<(), Refusal> {
        let request = Request::Check {
            language: language.to_owned(),
            source: source.to_owned(),
        };
        match self.ask(&request) {
            Ok(Reply::Checked(result)) => result,
            Ok(_) => Err(confused()),
            Err(lost) => Err(lost.refusal()),
        }
    }

    fn execute(&self, language: &str, source: &str, stdin: &[u8]) -> Result<Outcome, Refusal> {
        Ok(self.run(language, source, stdin)?.outcome)
    }

    fn judge(
        &self,
        language: &str,
        prompt: &str,
        candidate: &str,
        tests: &[String],
    ) -> Result<Verdict, Refusal> {
        let request = Request::Judge {
            language: language.to_owned(),
            prompt: prompt.to_owned(),
            candidate: candidate.to_owned(),
            tests: tests.to_owned(),
            policy: self.policy,
        };
        match self.ask(&request) {
            Ok(Reply::Judged(result)) => result,
            Ok(_) => Err(confused()),
            Err(lost) => {
                let outcome = lost.outcome()?;
                Ok(Verdict {
                    total: u32::try_from(tests.len()).unwrap_or(u32::MAX),
                    failures: vec![outcome.detail; tests.len()],
                    ..Verdict::default()
                })
            }
        }
    }
}

/// What a user should know about the walls, once.
fn tell(confinement: &[String]) {
    for line in confinement {
        if line.contains("not available") || line.contains("no confinement") {
            tracing::warn!("sandbox: {line}");
        } else {
            tracing::info!("sandbox: {line}");
        }
    }
}

fn confused() -> Refusal {
    Refusal {
        code: "bad-reply".into(),
        message: "a sandbox worker answered another question".into(),
    }
}

/// No runner runs this language.
fn unsupported<'a>(
    language: &str,
    languages: impl Iterator<Item = &'a (String, String)>,
) -> Refusal {
    let known: Vec<&str> = languages.map(|(name, _)| name.as_str()).collect();
    Refusal {
        code: "unsupported-language".into(),
        message: format!(
            "no runner for `{language}`: expected one of {}",
            known.join(", ")
        ),
    }
}
