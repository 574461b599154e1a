//! The `rlhf` command, run to its end.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use xtask::workspace::target_dir;

use crate::filters::Filters;
use crate::workspace::Workspace;

/// The binary that cargo built for this test: `rlhf!(&workspace)`.
///
/// Only a package's own integration tests know where its binary is; elsewhere
/// use [`Rlhf::in_target_dir`].
#[macro_export]
macro_rules! rlhf {
    ($workspace:expr) => {
        $crate::Rlhf::new(env!("CARGO_BIN_EXE_rlhf"), $workspace)
    };
}

/// A test that hangs must fail, and say where. Far above what any takes.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A call of `rlhf`, in a workspace and with an environment of its own.
#[derive(Debug)]
pub struct Rlhf {
    program: PathBuf,
    folder: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    timeout: Duration,
}

impl Rlhf {
    /// A call of `program` in `workspace`.
    pub fn new(program: impl Into<PathBuf>, workspace: &Workspace) -> Self {
        Self {
            program: program.into(),
            folder: workspace.path().to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            stdin: Vec::new(),
            timeout: TIMEOUT,
        }
    }

    /// A call of the binary beside this test's own, or else of the newest in
    /// the target directory.
    ///
    /// # Panics
    /// It isn't built.
    pub fn in_target_dir(workspace: &Workspace) -> Self {
        let name = format!("rlhf{}", std::env::consts::EXE_SUFFIX);
        let test = std::env::current_exe().expect("a test knows its file");
        let mut candidates: Vec<PathBuf> = test
            .ancestors()
            .skip(1)
            .take(2)
            .map(|folder| folder.join(&name))
            .collect();
        if let Ok(target) = target_dir() {
            candidates.extend([
                target.join("debug").join(&name),
                target.join("release").join(&name),
            ]);
        }
        let program = candidates.iter().find(|path| path.is_file());
        let program = program.unwrap_or_else(|| {
            panic!("`rlhf` isn't built: looked for {candidates:?}; run `cargo build -p rlhf`")
        });
        Self::new(program, workspace)
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(self, argument: impl AsRef<OsStr>) -> Self {
        self.args([argument])
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What it reads from standard input; nothing otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// After which it is killed and the test fails.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Has a shell start it: `script` gets the call as its arguments, `exec "$@"`.
    #[must_use]
    pub fn through(mut self, script: &str) -> Self {
        let program = std::mem::replace(&mut self.program, "/bin/sh".into());
        let shell = ["-c", script, "sh"].map(OsString::from);
        let call = shell.into_iter().chain([program.into_os_string()]);
        self.arguments.splice(0..0, call);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// It can't be started, or runs into the time limit.
    #[track_caller]
    pub fn run(self) -> Run {
        self.start().wait()
    }

    /// Starts it.
    ///
    /// # Panics
    /// It can't be started.
    #[track_caller]
    pub fn start(self) -> Running {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(inherited())
            .envs([
                ("HF_HUB_OFFLINE", "1"),
                ("NO_COLOR", "1"),
                ("LC_ALL", "C.UTF-8"),
                ("COLUMNS", "100"),
            ])
            .env("HOME", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Ok(target) = target_dir() {
            // Compiling components takes seconds: once for all tests.
            command.env("RLHF_CACHE", target.join("test-cache"));
        }
        command.envs(self.variables);
        let start = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let mut pipe = child.stdin.take().expect("piped above");
        let stdin = self.stdin;
        // Who doesn't read its input closes the pipe: not our trouble.
        let writer = thread::spawn(move || drop(pipe.write_all(&stdin)));
        Running {
            stdout: collect(child.stdout.take().expect("piped above")),
            stderr: collect(child.stderr.take().expect("piped above")),
            child,
            writer,
            start,
            timeout: self.timeout,
            arguments: self.arguments,
            folder: self.folder,
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: thread::JoinHandle<Vec<u8>>,
    stderr: thread::JoinHandle<Vec<u8>>,
    writer: thread::JoinHandle<()>,
    start: Instant,
    timeout: Duration,
    arguments: Vec<OsString>,
    folder: PathBuf,
}

impl Running {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    ///
    /// # Panics
    /// The system does not say.
    pub fn is_running(&mut self) -> bool {
        let status = self.child.try_wait();
        status.expect("a child can be waited for").is_none()
    }

    /// Waits until `there`, asking every millisecond; whether that came before its end.
    ///
    /// # Panics
    /// Neither comes within its time limit.
    #[track_caller]
    pub fn wait_until(&mut self, mut there: impl FnMut() -> bool) -> bool {
        loop {
            if there() {
                return true;
            }
            if !self.is_running() {
                return false;
            }
            assert!(self.start.elapsed() < self.timeout, "nothing happens");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends it a signal: `INT`, `TERM`, `KILL`. It may have ended meanwhile.
    ///
    /// # Panics
    /// There is no `kill`.
    pub fn signal(&mut self, name: &str) {
        if self.is_running() {
            let mut kill = Command::new("kill");
            kill.args(["-s", name, &self.id().to_string()]);
            kill.stderr(Stdio::null()).status().expect("kill is there");
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It runs into its time limit.
    #[track_caller]
    pub fn wait(mut self) -> Run {
        let (status, peak_bytes) = wait(&mut self.child, self.start + self.timeout);
        let stdout = self.stdout.join().expect("the reader doesn't panic");
        let stderr = self.stderr.join().expect("the reader doesn't panic");
        self.writer.join().expect("the writer doesn't panic");
        let run = Run {
            arguments: self.arguments,
            code: status.and_then(|status| status.code()),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            elapsed: self.start.elapsed(),
            peak_bytes,
            folder: self.folder,
        };
        assert!(
            status.is_some(),
            "still running after {:?}\n{run}",
            self.timeout
        );
        run
    }
}

/// What a program needs to run at all; nothing of the user's settings.
fn inherited() -> Vec<(OsString, OsString)> {
    [
        "PATH",
        "TMPDIR",
        "SYSTEMROOT",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
    ]
    .into_iter()
    .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
    .collect()
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// How it ended, if it did in time, and its peak.
fn wait(child: &mut Child, deadline: Instant) -> (Option<std::process::ExitStatus>, Option<usize>) {
    let mut peak = None;
    loop {
        peak = peak_bytes(child.id()).or(peak);
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return (Some(status), peak);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return (None, peak);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The most memory that a living process has had so far, where the system tells.
fn peak_bytes(process: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Run {
    arguments: Vec<OsString>,
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// From start to end.
    pub elapsed: Duration,
    /// The most memory it had, in bytes, as seen every few milliseconds; Linux alone tells.
    pub peak_bytes: Option<usize>,
    folder: PathBuf,
}

impl Run {
    /// Checks the exit code.
    ///
    /// # Panics
    /// It is another one; the message shows everything the program said.
    #[track_caller]
    pub fn expect_code(self, expected: i32) -> Self {
        assert_eq!(self.code, Some(expected), "exit code\n{self}");
        self
    }

    /// Checks that standard error contains a text, filtered.
    ///
    /// # Panics
    /// It doesn't; the message shows everything the program said.
    #[track_caller]
    pub fn expect_stderr(self, expected: &str) -> Self {
        let stderr = self.filters().apply(&self.stderr);
        assert!(
            stderr.contains(expected),
            "expected on stderr: {expected}\n{self}"
        );
        self
    }

    /// Checks that standard output contains a text, filtered.
    ///
    /// # Panics
    /// It doesn't; the message shows everything the program said.
    #[track_caller]
    pub fn expect_stdout(self, expected: &str) -> Self {
        let stdout = self.filters().apply(&self.stdout);
        assert!(
            stdout.contains(expected),
            "expected on stdout: {expected}\n{self}"
        );
        self
    }

    /// The filters of its workspace.
    pub fn filters(&self) -> Filters {
        Filters::of_folder(&self.folder)
    }

    /// Compares call, exit code and both outputs, filtered, with a file; see
    /// [`expect_file`](crate::expect_file).
    ///
    /// # Panics
    /// They differ.
    #[track_caller]
    pub fn expect_snapshot(self, path: impl AsRef<Path>) -> Self {
        crate::snapshot::expect_file(path, &self.filters().apply(&self.to_string()));
        self
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arguments: Vec<_> = self
            .arguments
            .iter()
            .map(|argument| argument.to_string_lossy())
            .collect();
        writeln!(formatter, "$ rlhf {}", arguments.join(" "))?;
        match self.code {
            Some(code) => writeln!(formatter, "exit code {code}")?,
            None => writeln!(formatter, "ended by a signal")?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                writeln!(formatter, "--- {name}\n{}", text.trim_end_matches('\n'))?;
            }
        }
        Ok(())
    }
}
