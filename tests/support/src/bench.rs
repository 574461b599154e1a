//! What the benchmarks share: a process that does a unit of work for each line it is sent, and
//! what its rounds say.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use xtask::workspace::root;

/// A call of a script in `host/benches` by the Python that `RLHF_PEER_PYTHON` names; `None` where
/// it names none.
pub fn peer(script: &str) -> Option<Command> {
    let python = std::env::var_os("RLHF_PEER_PYTHON").filter(|python| !python.is_empty())?;
    let mut command = Command::new(python);
    command.arg(root().join("host/benches").join(script));
    Some(command)
}

/// A process that answers each line with one. It is ended where it is dropped.
pub struct Process {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Process {
    /// # Panics
    /// It can't be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            requests: child.stdin.take().expect("it was piped"),
            replies: BufReader::new(child.stdout.take().expect("it was piped")),
            child,
        }
    }

    /// Its next line.
    ///
    /// # Panics
    /// It has ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.replies.read_line(&mut line).expect("it writes text");
        assert!(read > 0, "it ended: {:?}", self.child.wait());
        line
    }

    /// Its answer to a line.
    ///
    /// # Panics
    /// It has ended.
    pub fn ask(&mut self, request: &str) -> String {
        writeln!(self.requests, "{request}").expect("the process lives");
        self.line()
    }

    /// Has it do a unit of work, of which it answers a [`Measured`] in JSON.
    ///
    /// # Panics
    /// It has ended, or says something else.
    pub fn measure(&mut self, request: &str) -> Measured {
        let reply: Value = serde_json::from_str(&self.ask(request)).expect("a JSON line");
        let number = |key: &str| reply[key].as_f64().expect("a number");
        Measured {
            seconds: number("seconds"),
            tokens: number("tokens"),
            peak_mib: number("peak_mib"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A unit of work.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub seconds: f64,
    pub tokens: f64,
    /// The process' largest resident set so far.
    pub peak_mib: f64,
}

/// Median, least and most.
///
/// # Panics
/// There are no values.
pub fn spread(values: impl IntoIterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

/// The largest peak of some rounds.
pub fn peak(rounds: &[Measured]) -> f64 {
    rounds.iter().fold(0.0, |most, m| m.peak_mib.max(most))
}

/// Prints the rounds of one side, of which the first is not steady; the median of the others.
///
/// # Panics
/// There are fewer than two.
pub fn show(name: &str, rounds: &[Measured]) -> f64 {
    let (first, steady) = rounds.split_first().expect("rounds were run");
    let (median, least, most) = spread(steady.iter().map(|m| m.seconds));
    println!(
        "  {name:24} {median:7.3} s ({least:.3} to {most:.3}), first {:.3}; {:7.1} tokens/s; peak {:.0} MiB",
        first.seconds,
        first.tokens / median,
        peak(rounds),
    );
    median
}

/// Prints ours over theirs, round by round without the first.
///
/// # Panics
/// There are fewer than two.
pub fn show_ratio(ours: &[Measured], theirs: &[Measured], bar: &str) {
    let pairs = ours.iter().zip(theirs).skip(1);
    let (median, least, most) = spread(pairs.map(|(a, b)| a.seconds / b.seconds));
    println!(
        "  {:24} time {median:.3} ({least:.3} to {most:.3}), peak {:.3}; bar {bar}",
        "ours / peer's",
        peak(ours) / peak(theirs),
    );
}

/// The largest resident set of this process so far; NaN where the system doesn't say.
pub fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Processes that wanted to run in the last minute; empty where the system doesn't say.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
