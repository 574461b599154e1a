//! Fuzz targets, by cargo-fuzz with the toolchain of everything else: no sanitizer, which would
//! need a nightly one, but debug assertions and overflow checks.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::tools;
use crate::workspace::{root, run, say, target_dir};

/// Each target with a folder of files to begin with; the last one's is of the target directory.
pub const TARGETS: [(&str, &str); 5] = [
    ("config", "tests/config/valid"),
    ("weights", "tests/golden/weights"),
    ("tokenizer", "tests/golden/models/tiny-llama"),
    ("rows", "plugins/adapter-json/golden"),
    ("plugin", "plugins/metrics"),
];

/// Seconds of each target. Chosen: a minute finds what is shallow, and five are five minutes.
const SECONDS: u32 = 60;

/// The release that was tried.
const CARGO_FUZZ: &str = "0.13.2";

/// Runs every target for a minute. What was found lies in the target directory's `fuzz/found`.
///
/// # Errors
/// A target found something, or can't be built.
pub fn run_all() -> Result<()> {
    let cargo_fuzz = install()?;
    let fuzz = target_dir()?.join("fuzz");
    for (target, seeds) in TARGETS {
        let seeds = match target {
            "plugin" => target_dir()?.join(seeds),
            _ => root().join(seeds),
        };
        let [corpus, found] = ["corpus", "found"].map(|kind| fuzz.join(kind).join(target));
        for folder in [&corpus, &found] {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let mut command = Command::new(&cargo_fuzz);
        command.current_dir(root());
        command.args(["fuzz", "run", target, "--sanitizer", "none"]);
        // A single unit, which is the default, takes far longer to build.
        command.args(["--codegen-units", "16"]);
        command.arg("--target-dir").arg(fuzz.join("build"));
        command.arg(corpus).arg(seeds);
        command.arg("--").arg(format!("-max_total_time={SECONDS}"));
        command.arg(format!("-artifact_prefix={}/", found.display()));
        run(&mut command)?;
    }
    Ok(())
}

/// cargo-fuzz, which is installed into the target directory once.
fn install() -> Result<PathBuf> {
    let folder = tools().join(format!("cargo-fuzz-{CARGO_FUZZ}"));
    let program = folder
        .join("bin/cargo-fuzz")
        .with_extension(std::env::consts::EXE_EXTENSION);
    if program.is_file() {
        return Ok(program);
    }
    say(&format!(
        "installing cargo-fuzz {CARGO_FUZZ} into {}",
        folder.display()
    ));
    let mut install = Command::new("cargo");
    install.args(["install", "--quiet", "--locked", "cargo-fuzz"]);
    install
        .args(["--version", CARGO_FUZZ, "--root"])
        .arg(&folder);
    run(&mut install)?;
    Ok(program)
}
