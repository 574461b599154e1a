//! `cargo xtask COMMAND`: see [`HELP`].

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use xtask::components::{self, Output};
use xtask::cuda;
use xtask::dist;
use xtask::first_party;
use xtask::fuzz;
use xtask::python;
use xtask::readers;
use xtask::setup::{WasmC, setup};
use xtask::wit;
use xtask::workspace::{cargo, root, run, say, shown, target_dir};

const HELP: &str = "\
Usage: cargo xtask COMMAND [ARGUMENTS]

  run [ARGS…]    set up, build everything, run `rlhf ARGS` (default: --mode fast)
  test [ARGS…]   set up, build the components, run `cargo test --workspace ARGS`
  setup          install what is missing: the WASM target, a C compiler for components, componentize-py
  plugins        build the components into the target directory's `plugins`
  tasks          regenerate the embedded tasks and their tokenizer
  lint           clippy with warnings as errors, natively and for components; rustfmt
  cuda [ARGS…]   set up, build the components, run `cargo ARGS` with NVIDIA's toolkit from PyPI (default:
                 build --release --package rlhf --features cuda): computes on a GPU where there is one
  check-cuda     type-check the feature `cuda`, Rust only: needs no CUDA, compiles no kernel
  bench [NAME…]  benchmarks, against the peers where RLHF_PEER_PYTHON names them: plugins, sandbox, training, trl;
                 trl takes TRL's last PPO from the folder RLHF_PEER_TRL_PPO, and plugins has BERTScore where
                 RLHF_MINILM names the folder of all-MiniLM-L6-v2
  dist           an archive for machines without Rust and Python, in the target directory's `dist`
  fuzz           install cargo-fuzz, run every fuzz target for a minute
  deep           check-cuda, then all tests, the slow ones and the comparisons with peers included, then fuzz

  wit check            prove the rules of wit/README.md for all versions of the contract
  wit new VERSION      open a draft, a copy of the last version
  wit freeze VERSION   release a draft, and build the components that are kept for it

`deep` needs two variables:
  RLHF_GOLDENS       folder with the reference numbers
  RLHF_PEER_PYTHON   a Python with the reference implementations

It reads a run's files with TensorBoard's and Weights & Biases' own readers (from PyPI, into the target
directory; or RLHF_READERS_PYTHON) and opens reports in Chromium (RLHF_CHROMIUM, on PATH, or Debian's).
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match dispatch(&command, &rest) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, rest: &[String]) -> Result<ExitCode> {
    match command {
        "run" => return run_rlhf(rest),
        "test" => test(rest)?,
        "deep" => deep(rest)?,
        "cuda" => {
            plugins()?;
            cuda::run_cargo(rest)?;
        }
        "setup" | "plugins" | "tasks" | "lint" | "dist" | "check-cuda" | "fuzz"
            if !rest.is_empty() =>
        {
            bail!(
                "unexpected argument `{}`: `cargo xtask {command}` takes none",
                rest[0]
            )
        }
        "setup" => {
            setup()?;
            python::set_up()?;
        }
        "plugins" => {
            plugins()?;
        }
        "tasks" => xtask::tasks::tasks(root())?,
        "lint" => lint()?,
        "bench" => bench(rest)?,
        "dist" => distribution()?,
        "check-cuda" => cuda::check()?,
        "fuzz" => {
            plugins()?;
            fuzz::run_all()?;
        }
        "wit" => contract(rest)?,
        "" | "help" | "-h" | "--help" => print!("{HELP}"),
        other => bail!("unknown command `{other}`\n\n{HELP}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn plugins() -> Result<WasmC> {
    let compiler = setup()?;
    components::build(&components::plugins()?, &compiler, Output::Shown)?;
    Ok(compiler)
}

/// Builds the binary that people run; `commit` goes into its `--version`.
fn release(commit: Option<String>) -> Result<PathBuf> {
    plugins()?;
    let mut build = cargo();
    build.args(["build", "--release", "--package", "rlhf"]);
    build.envs(commit.map(|commit| ("RLHF_COMMIT", commit)));
    first_party::apply(&mut build)?;
    run(&mut build)?;
    Ok(target_dir()?
        .join("release/rlhf")
        .with_extension(std::env::consts::EXE_EXTENSION))
}

fn distribution() -> Result<()> {
    let program = release(dist::commit())?;
    let all = target_dir()?.join("dist");
    if all.exists() {
        std::fs::remove_dir_all(&all).with_context(|| all.display().to_string())?;
    }
    let folder = all.join(dist::name(&program)?);
    dist::assemble(&program, &components::plugin_dir()?, &folder)?;
    dist::report(&dist::pack(&folder)?)
}

/// The exit code is that of `rlhf`, whose codes mean something.
fn run_rlhf(arguments: &[String]) -> Result<ExitCode> {
    let program = release(None)?;
    let mut command = Command::new(&program);
    // Who comes from `cargo run` separates them.
    let arguments = match arguments {
        [first, rest @ ..] if first == "--" => rest,
        all => all,
    };
    if arguments.is_empty() {
        command.args(["--mode", "fast"]);
    } else {
        command.args(arguments);
    }
    say(&shown(&command));
    let status = command
        .status()
        .with_context(|| program.display().to_string())?;
    let code = status
        .code()
        .with_context(|| format!("`{}`: {status}", shown(&command)))?;
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn test(arguments: &[String]) -> Result<()> {
    plugins()?;
    let mut command = cargo();
    command.args(["test", "--workspace"]).args(arguments);
    first_party::apply(&mut command)?;
    run(&mut command)
}

/// One after the other, since two would time each other.
fn bench(names: &[String]) -> Result<()> {
    const ALL: [&str; 4] = ["plugins", "sandbox", "training", "trl"];
    if let Some(other) = names.iter().find(|name| !ALL.contains(&name.as_str())) {
        bail!("no benchmark `{other}`: expected one of {}", ALL.join(", "));
    }
    plugins()?;
    for name in ALL {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            let mut command = cargo();
            command.args(["bench", "--workspace", "--bench", name]);
            first_party::apply(&mut command)?;
            run(&mut command)?;
        }
    }
    Ok(())
}

fn contract(arguments: &[String]) -> Result<()> {
    let layout = wit::Layout::of(root());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = match arguments.as_slice() {
        ["check"] => {
            let releases = wit::check(&layout)?;
            let lines: Vec<String> = releases
                .iter()
                .map(|release| format!("{} is {}", release.version, release.status()))
                .collect();
            lines.join("\n")
        }
        ["new", version] => wit::new(&layout, version)?,
        ["freeze", version] => {
            let today = wit::releases::today()?;
            wit::freeze(&layout, version, today, |kinds| {
                wit::kept::build(&layout.kept(), kinds)
            })?
        }
        other => bail!(
            "wit: expected `check`, `new VERSION` or `freeze VERSION`, found `{}`\n\n{HELP}",
            other.join(" ")
        ),
    };
    for line in report.lines() {
        say(line);
    }
    Ok(())
}

fn lint() -> Result<()> {
    let compiler = setup()?;
    let deny = ["--", "--deny", "warnings"];
    run(cargo()
        .args(["clippy", "--workspace", "--all-targets"])
        .args(deny))?;
    // What an export macro expands to exists only here.
    let mut clippy = components::cargo_for_components(&compiler, "clippy")?;
    let plugins = components::plugins()?;
    for plugin in plugins.iter().filter(|plugin| plugin.is_crate()) {
        clippy.args(["--package", &plugin.package]);
    }
    run(clippy.args(deny))?;
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn deep(arguments: &[String]) -> Result<()> {
    for name in ["RLHF_GOLDENS", "RLHF_PEER_PYTHON"] {
        let value = std::env::var(name).unwrap_or_default();
        if value.is_empty() {
            bail!("{name} is not set\n\n{HELP}");
        }
        say(&format!("{name}={value}"));
    }
    cuda::check()?;
    plugins()?;
    // Release: peers are compared in speed as well.
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--release", "--no-fail-fast"])
        .args(arguments);
    if !arguments.iter().any(|argument| argument == "--") {
        command.arg("--");
    }
    first_party::apply(&mut command)?;
    readers::apply(&mut command);
    run(command.arg("--include-ignored"))?;
    fuzz::run_all()
}
