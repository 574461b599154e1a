//! A run's view of one worker process.

use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::wire::{self, Hello, Ready, Reply, Request};
use super::{Error, WORKER_COMMAND};
use crate::plugin::code_runner::Outcome;
use crate::plugin::host::sandbox::Refusal;

/// How long a start may take: a machine with a hundred runs on it is slow, too. Chosen.
const START: Duration = Duration::from_secs(60);
/// What a request may take beyond the wall time of its programs, which the worker sees to.
const GRACE: Duration = Duration::from_secs(30);

/// One worker. It ends when this is dropped.
pub struct Process {
    child: Child,
    /// Closed first when the worker is to end; `None` only then.
    requests: Option<BufWriter<ChildStdin>>,
    replies: mpsc::Receiver<std::io::Result<Reply>>,
    /// Wall time of one program.
    wall: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("it ended ({0})")]
    Ended(String),
    #[error("it gave no answer for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("{}", .0.message)]
    Refused(Refusal),
}

impl Lost {
    /// What is told of a program that ended its worker.
    ///
    /// # Errors
    /// There was no worker to be ended.
    pub fn outcome(self) -> Result<Outcome, Refusal> {
        let kind = match self {
            Self::Refused(refusal) => return Err(refusal),
            Self::Ended(_) => "trap",
            Self::Silent(_) => "out-of-time",
        };
        Ok(Outcome {
            kind: kind.into(),
            detail: format!("the sandbox worker was lost twice: {self}"),
            ..Outcome::default()
        })
    }

    pub fn refusal(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            lost => Refusal {
                code: "no-worker".into(),
                message: format!("the sandbox worker was lost twice: {lost}"),
            },
        }
    }
}

impl Process {
    /// Starts a worker and waits until it is ready.
    ///
    /// # Errors
    /// The program can't be started, or what starts is no worker.
    pub fn start(program: &Path, hello: &Hello) -> Result<(Self, Ready), Error> {
        let problem = |problem: String| Error::Start {
            program: program.to_owned(),
            problem,
        };
        let mut command = Command::new(program);
        command
            .arg(WORKER_COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A worker may write to pipes only: a log in a file would end it.
            .stderr(Stdio::piped());
        // A Ctrl-C is for the run, which ends its workers.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .map_err(|error| problem(error.to_string()))?;
        let stdin = child.stdin.take().expect("it was piped");
        let stdout = child.stdout.take().expect("it was piped");
        let mut stderr = child.stderr.take().expect("it was piped");
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
        let (ready_sender, ready_receiver) = mpsc::sync_channel(1);
        let (sender, replies) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let ready = wire::receive::<Ready>(&mut stdout);
            let failed = ready.is_err();
            if ready_sender.send(ready).is_err() || failed {
                return;
            }
            loop {
                let reply = wire::receive(&mut stdout);
                let failed = reply.is_err();
                if sender.send(reply).is_err() || failed {
                    return;
                }
            }
        });
        let longest = hello
            .runners
            .iter()
            .map(|runner| runner.limits.wall_ms_per_sample);
        let mut worker = Self {
            child,
            requests: Some(BufWriter::new(stdin)),
            replies,
            wall: Duration::from_millis(longest.max().unwrap_or_default()),
        };
        // A worker that ends at once says why on its standard error.
        let _ = wire::send(worker.pipe(), hello);
        match ready_receiver.recv_timeout(START) {
            Ok(Ok(ready)) => Ok((worker, ready)),
            Ok(Err(error)) => Err(problem(format!("{error} ({})", worker.status()))),
            Err(_) => Err(problem(format!("not ready after {} s", START.as_secs()))),
        }
    }

    /// Has it answer a request.
    ///
    /// # Errors
    /// It is lost, and must not be used again.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, Lost> {
        if wire::send(self.pipe(), request).is_err() {
            return Err(Lost::Ended(self.status()));
        }
        let programs = u32::try_from(request.programs()).unwrap_or(u32::MAX);
        let patience = self.wall.saturating_mul(programs).saturating_add(GRACE);
        match self.replies.recv_timeout(patience) {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(Lost::Ended(self.status())),
            Err(RecvTimeoutError::Timeout) => Err(Lost::Silent(patience)),
        }
    }

    fn pipe(&mut self) -> &mut BufWriter<ChildStdin> {
        self.requests.as_mut().expect("it is open until the drop")
    }

    /// How it ended, once its pipe is closed.
    fn status(&mut self) -> String {
        let _ = self.child.kill();
        let status = self.child.wait();
        status.map_or_else(
            |error| error.to_string(),
            |status: ExitStatus| status.to_string(),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.requests.take());
        // It may be in the middle of a program, and has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
