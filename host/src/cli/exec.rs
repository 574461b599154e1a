//! `rlhf exec`: one program in the sandbox, as an interpreter would run it.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::Usage;
use crate::config;
use crate::pipeline;
use crate::plugin::code_runner::{Execution, Outcome};
use crate::plugin::{Runtime, Spec};
use crate::sandbox::Pool;
use crate::sandbox::demo::{self, FORGERIES, Shown};

/// Exit codes beside the program's own, after those of `timeout` and of a shell.
mod code {
    /// A signal's number and 128: SIGKILL, as the system ends what takes too much memory.
    pub const OUT_OF_MEMORY: u8 = 137;
    /// SIGABRT.
    pub const TRAP: u8 = 134;
    pub const OUT_OF_OUTPUT: u8 = 125;
    /// As `timeout` has it.
    pub const OUT_OF_TIME: u8 = 124;
    /// An uncaught exception, as Python has it.
    pub const EXCEPTION: u8 = 1;
}

/// Bytes of stdin that a program may have. Chosen: a quarter of its memory, unless told otherwise.
const STDIN_MAX: u64 = 64 << 20;

#[derive(clap::Args)]
#[command(
    after_help = "The program gets stdin, and nothing else of this machine: no file, network, environment or clock.\n\
    It starts once stdin has ended, of which it takes 64 MiB at most.\n\
    Its exit code is passed on: 0 at its end, the code it gave to exit, 1 after an exception that nothing caught;\n\
    124 out of fuel or time, 125 out of output, 134 trap or too deep a recursion, 137 out of memory.\n\
    3 where the interpreter itself can't start within the limits."
)]
pub struct Args {
    /// The program; - is stdin, and the program then has no input
    #[arg(value_name = "FILE|-", required_unless_present = "demo_forge")]
    program: Option<PathBuf>,
    /// Programming language [default: by the file's name, or python]
    #[arg(long, value_name = "NAME")]
    language: Option<String>,
    /// Fuel: about one unit an instruction, so a verdict that is the same on every machine [default: 40 billion, about a second's work of a native CPython]
    #[arg(long, value_name = "UNITS[K|M|G]", value_parser = number)]
    fuel: Option<u64>,
    /// Memory, the interpreter's own 30 MB included [default: 256M]
    #[arg(long, value_name = "BYTES[K|M|G]", value_parser = number)]
    memory: Option<u64>,
    /// Say on stderr what ended it, its fuel and its memory
    #[arg(long)]
    stats: bool,
    /// Code runner: the name of a shipped component or a path [default: python]
    #[arg(long, value_name = "PATH[,…]")]
    plugin: Option<String>,
    /// Show five programs that forge a verdict before a naive check and before ours
    #[arg(long, conflicts_with_all = ["program", "language", "fuel", "memory", "stats"])]
    demo_forge: bool,
}

/// A whole number, in which sizes may end in `K`, `M` or `G`.
fn number(text: &str) -> Result<u64, String> {
    crate::plugin::discovery::size(text)
        .ok_or_else(|| "expected a whole number, for instance 5000000, 64M or 2G".into())
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let mut spec = Spec::parse(args.plugin.as_deref().unwrap_or(pipeline::DEFAULT_RUNNER))?;
    for (key, value) in [("fuel", args.fuel), ("memory", args.memory)] {
        if let Some(value) = value {
            spec.limits.set(key, value);
        }
    }
    spec.limits.validate().map_err(Usage)?;
    let runtime = Runtime::of_user()?;
    let one = config::Sandbox {
        workers: 1,
        ..config::Sandbox::default()
    };
    if args.demo_forge {
        return demo_forge(&pipeline::pool(&runtime, &[spec], &one)?);
    }
    let path = args.program.as_deref().expect("clap requires it");
    let from_stdin = path.as_os_str() == "-";
    let source = if from_stdin {
        let mut source = Vec::new();
        std::io::stdin().read_to_end(&mut source).context("stdin")?;
        source
    } else {
        std::fs::read(path).map_err(|error| Usage(format!("`{}`: {error}", path.display())))?
    };
    let source = String::from_utf8(source).map_err(|error| {
        Usage(format!(
            "`{}`: byte {} is not UTF-8\nhint: save the program as UTF-8",
            path.display(),
            error.utf8_error().valid_up_to() + 1
        ))
    })?;
    let language = args.language.as_deref().unwrap_or_else(|| by_name(path));
    let pool = pipeline::pool(&runtime, &[spec], &one)?;
    pool.supports(language)
        .map_err(|refusal| Usage(refusal.message))?;
    let mut stdin = Vec::new();
    // An interactive program would wait for its reader; here it is run once all input is there.
    if !from_stdin && !std::io::stdin().is_terminal() {
        let mut limited = std::io::stdin().take(STDIN_MAX + 1);
        limited.read_to_end(&mut stdin).context("stdin")?;
        if stdin.len() as u64 > STDIN_MAX {
            return Err(Usage(format!(
                "stdin has more than {STDIN_MAX} bytes\nhint: the program starts once all of its input is there"
            ))
            .into());
        }
    }
    let execution = pool
        .run(language, &source, &stdin)
        .map_err(|refusal| anyhow::anyhow!("{}: {}", refusal.code, refusal.message))?;
    let outcome = &execution.outcome;
    let mut out = std::io::stdout().lock();
    out.write_all(&outcome.stdout)?;
    out.flush()?;
    let mut err = std::io::stderr().lock();
    err.write_all(&outcome.stderr)?;
    let words = ending(outcome);
    if !words.is_empty() {
        writeln!(err, "{words}")?;
    }
    if args.stats {
        writeln!(err, "{}", stats(&execution))?;
    }
    Ok(ExitCode::from(exit_code(outcome)))
}

/// The language of a file by its name's end.
fn by_name(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("js" | "mjs") => "javascript",
        Some("rb") => "ruby",
        Some("lua") => "lua",
        _ => "python",
    }
}

/// What is said of a program that did not just end: its traceback, or what stopped it.
fn ending(outcome: &Outcome) -> String {
    match outcome.kind.as_str() {
        "finished" | "exit" => String::new(),
        "exception" | "syntax-error" => outcome.detail.trim_end().to_owned(),
        kind if outcome.detail.starts_with(kind) => format!("rlhf: {}", outcome.detail),
        kind => format!("rlhf: {kind}: {}", outcome.detail),
    }
}

fn stats(execution: &Execution) -> String {
    format!(
        "rlhf: {}, {} fuel, {} KiB",
        execution.outcome.kind,
        execution.fuel,
        execution.memory_bytes >> 10
    )
}

fn exit_code(outcome: &Outcome) -> u8 {
    match outcome.kind.as_str() {
        "finished" => 0,
        // The system keeps the lowest eight bits.
        "exit" => (outcome.exit_code & 0xff) as u8,
        "exception" | "syntax-error" => code::EXCEPTION,
        "out-of-fuel" | "out-of-time" => code::OUT_OF_TIME,
        "out-of-output" | "result-too-large" => code::OUT_OF_OUTPUT,
        "out-of-memory" | "out-of-table" => code::OUT_OF_MEMORY,
        _ => code::TRAP,
    }
}

/// Exit code 0 only if the naive check believed each and ours none.
fn demo_forge(pool: &Pool) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "asked for: {}",
        demo::PROMPT.lines().next().unwrap_or_default()
    )?;
    for line in demo::TEST.lines() {
        writeln!(out, "     test: {line}")?;
    }
    writeln!(
        out,
        "\n{:48} {:12} rlhf",
        "a program that forges", "naive check"
    )?;
    let mut held = true;
    for forgery in &FORGERIES {
        let Shown {
            name,
            naive_passed,
            passed,
            reason,
        } = demo::show(pool, forgery)
            .map_err(|refusal| anyhow::anyhow!("{}: {}", refusal.code, refusal.message))?;
        held &= naive_passed && !passed;
        let word = |passed: bool| if passed { "pass" } else { "fail" };
        writeln!(
            out,
            "{name:48} {:12} {}  ({reason})",
            word(naive_passed),
            word(passed)
        )?;
    }
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a limit that looks like the program's own failure.
    #[test]
    fn exit_codes_tell_how_a_program_ended() {
        for (kind, given, expected) in [
            ("finished", 0, 0),
            ("exit", 7, 7),
            ("exit", -1, 255),
            ("exit", 256, 0),
            ("exception", 0, 1),
            ("syntax-error", 0, 1),
            ("out-of-fuel", 0, 124),
            ("out-of-time", 0, 124),
            ("out-of-output", 0, 125),
            ("trap", 0, 134),
            ("stack", 0, 134),
            ("out-of-memory", 0, 137),
        ] {
            let outcome = Outcome {
                kind: kind.into(),
                exit_code: given,
                ..Outcome::default()
            };
            assert_eq!(exit_code(&outcome), expected, "{kind} {given}");
        }
    }
}
