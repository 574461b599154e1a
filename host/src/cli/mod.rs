//! The command line: what each command takes, and what its exit code means.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | our fault |
//! | 2 | wrong input: flags, configuration, data, model |
//! | 3 | a plugin was refused or failed |
//! | 4 | finished, but a metric's target was missed (only with `--require-targets`) |
//! | 130 | interrupted; a checkpoint was written if training had begun |
//!
//! `rlhf exec` passes on the code of the program that it ran; see there.
//!
//! Data goes to stdout, talk to stderr.

mod config;
mod eval;
mod exec;
mod generate;
mod help;
mod merge;
mod plugin;
mod replay;
mod report;
mod resume;
mod reward;
mod shell;
mod train;
mod version;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{data, pipeline, sandbox, trainer};

/// Train language models that write code, with human feedback and rewards that can be trusted.
///
/// Without a subcommand the whole pipeline runs: data, warm-up, training, evaluation, report.
/// `rlhf --mode fast` needs neither files nor network.
#[derive(Parser)]
#[command(name = "rlhf", version, long_version = version::LONG)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 our fault, 2 wrong input, 3 plugin refused or failed, \
    4 a target was missed (with --require-targets), 130 interrupted. \
    `rlhf help` lists the guides."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::Args,
    #[command(flatten)]
    talk: Talk,
}

/// How much is told on the way: flags of every command.
#[derive(Clone, Copy, clap::Args)]
struct Talk {
    /// Log what happens inside
    #[arg(long, global = true)]
    debug: bool,
    /// Log more
    #[arg(long, global = true)]
    verbose: bool,
    /// No progress, only warnings and results
    #[arg(long, global = true, conflicts_with_all = ["debug", "verbose"])]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the pipeline (the same as no subcommand)
    Train(Box<train::Args>),
    /// Score predictions with any metrics
    Eval(Box<eval::Args>),
    /// Run a program that nobody trusts in the sandbox
    Exec(exec::Args),
    /// Let a model answer prompts
    Generate(Box<generate::Args>),
    /// Train a reward model on human feedback, or score responses with one
    #[command(subcommand)]
    Reward(reward::Command),
    /// Compute a run's logged scores and rewards again, and name what differs
    Replay(replay::Args),
    /// Make report.html of a run again, or compare two runs
    Report(report::Args),
    /// Merge adapters into their model
    Merge(merge::Args),
    /// Write, look at, test, measure and pin plugins
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Print the effective configuration and where each value comes from
    Config(Box<config::Args>),
    /// Show a guide, or what a command takes
    Help(help::Args),
    /// Print a completion script for a shell
    Completions(shell::Completions),
    /// Write the manual pages into a folder
    Man(shell::Man),
    /// Run programs for the process that started this one
    #[command(name = sandbox::WORKER_COMMAND, hide = true)]
    SandboxWorker,
}

/// A mistake in the flags that only shows once they are seen together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// A metric missed its target, and the user had asked to be told so.
#[derive(Debug, thiserror::Error)]
#[error("missed its target: {0}")]
struct MissedTarget(String);

/// Parses the command line, runs the command, prints an error once.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.talk);
    let quiet = cli.talk.quiet;
    let done = |()| ExitCode::SUCCESS;
    let result = match cli.command {
        None => train::run(&cli.train, quiet).map(done),
        Some(Command::Train(args)) => train::run(&args, quiet).map(done),
        Some(Command::Eval(args)) => eval::run(&args).map(done),
        Some(Command::Exec(args)) => exec::run(&args),
        Some(Command::Generate(args)) => generate::run(&args).map(done),
        Some(Command::Reward(command)) => reward::run(&command, quiet).map(done),
        Some(Command::Replay(args)) => replay::run(&args).map(done),
        Some(Command::Report(args)) => report::run(&args).map(done),
        Some(Command::Merge(args)) => merge::run(&args).map(done),
        Some(Command::Plugin(command)) => plugin::run(&command).map(done),
        Some(Command::Config(args)) => config::run(&args).map(done),
        Some(Command::Help(args)) => help::run(&args).map(done),
        Some(Command::Completions(args)) => shell::completions(&args).map(done),
        Some(Command::Man(args)) => shell::man(&args).map(done),
        Some(Command::SandboxWorker) => sandbox::serve(std::io::stdin(), std::io::stdout())
            .map(done)
            .map_err(Into::into),
    };
    match result {
        Ok(code) => code,
        // The reader of our output went away, as `| head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", message(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Logs to stderr what the flags ask for, else what `RUST_LOG` does, else warnings.
fn start_logging(talk: Talk) {
    let named = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let (filter, wrong) = match (talk.debug, talk.verbose) {
        (true, _) => (EnvFilter::new("rlhf=debug"), None),
        (false, true) => (EnvFilter::new("rlhf=info"), None),
        (false, false) if named.trim().is_empty() => (EnvFilter::new("rlhf=warn"), None),
        (false, false) => match EnvFilter::try_new(&named) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new("rlhf=warn"), Some(error)),
        },
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(talk.debug)
        .without_time()
        .init();
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG=`{named}` is no filter: {error}");
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The chain on one line, the hint on the next. Our own errors name their cause
/// themselves, so a cause that has been said is not said again.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    let hint = error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<pipeline::Error>() {
            return error.hint();
        }
        None
    });
    if let Some(hint) = hint {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}

/// The exit code by the first error in the chain that we know.
fn exit_code(error: &anyhow::Error) -> u8 {
    const OUR_FAULT: u8 = 1;
    const WRONG_INPUT: u8 = 2;
    const PLUGIN: u8 = 3;
    const MISSED_TARGET: u8 = 4;
    const INTERRUPTED: u8 = 130;
    // How a plugin is asked for is the user's, what it is and does is its own.
    let of_plugin = |error: &crate::plugin::Error| match error {
        crate::plugin::Error::Spec { .. }
        | crate::plugin::Error::Lock { .. }
        | crate::plugin::Error::Encoder { .. } => WRONG_INPUT,
        _ => PLUGIN,
    };
    error
        .chain()
        .find_map(|cause| {
            if cause.is::<MissedTarget>() {
                return Some(MISSED_TARGET);
            }
            if let Some(error) = cause.downcast_ref::<crate::plugin::Error>() {
                return Some(of_plugin(error));
            }
            if cause.is::<plugin::Failed>() || cause.is::<eval::NotComputed>() {
                return Some(PLUGIN);
            }
            if let Some(error) = cause.downcast_ref::<pipeline::Error>() {
                use pipeline::Error;
                return match error {
                    Error::Interrupted { .. } => Some(INTERRUPTED),
                    Error::Reward { .. } | Error::Abort(_) | Error::Canary { .. } => Some(PLUGIN),
                    Error::Sandbox(sandbox::Error::Plugin(error)) => Some(of_plugin(error)),
                    Error::Sandbox(_) => None,
                    Error::Plugin(error) | Error::Data(data::sources::Error::Plugin(error)) => {
                        Some(of_plugin(error))
                    }
                    Error::Input(_)
                    | Error::Report(_)
                    | Error::Hub(_)
                    | Error::Data(_)
                    | Error::Weights(_)
                    | Error::Tokenizer(_) => Some(WRONG_INPUT),
                    Error::RewardModel(crate::reward::learned::Error::Tensor { .. }) => None,
                    Error::RewardModel(_) => Some(WRONG_INPUT),
                    Error::Trainer(
                        trainer::Error::OtherRun { .. }
                        | trainer::Error::BrokenCheckpoint { .. }
                        | trainer::Error::NoSuchMetric { .. },
                    ) => Some(WRONG_INPUT),
                    Error::Trainer(_) | Error::Tensor { .. } | Error::Write { .. } => None,
                };
            }
            if let Some(error) = cause.downcast_ref::<data::sources::Error>() {
                return Some(match error {
                    data::sources::Error::Plugin(error) => of_plugin(error),
                    _ => WRONG_INPUT,
                });
            }
            if let Some(differs) = cause.downcast_ref::<replay::Differs>() {
                return Some(if differs.plugin { PLUGIN } else { WRONG_INPUT });
            }
            if let Some(error) = cause.downcast_ref::<crate::report::Error>() {
                let ours = matches!(error, crate::report::Error::Write { .. });
                return (!ours).then_some(WRONG_INPUT);
            }
            let wrong_input = cause.is::<Usage>() || cause.is::<crate::config::Error>();
            wrong_input.then_some(WRONG_INPUT)
        })
        .unwrap_or(OUR_FAULT)
}
