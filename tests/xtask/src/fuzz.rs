//! Fuzz targets, where cargo-fuzz and a nightly toolchain are there to run them.

use std::process::{Command, Stdio};

use anyhow::Result;

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

/// Runs every target for a minute, or says why not.
///
/// # Errors
/// A target found something, or can't be built.
pub fn run_all() -> Result<()> {
    if !is_there() {
        say(
            "fuzz targets are not run: they need `rustup toolchain install nightly` and `cargo install cargo-fuzz`",
        );
        return Ok(());
    }
    for (target, seeds) in TARGETS {
        let corpus = root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&corpus)?;
        let mut command = Command::new("cargo");
        command.current_dir(root());
        command.args(["+nightly", "fuzz", "run", target]);
        let seeds = match target {
            "plugin" => target_dir()?.join(seeds),
            _ => root().join(seeds),
        };
        command.arg(corpus).arg(seeds);
        command.arg("--").arg(format!("-max_total_time={SECONDS}"));
        run(&mut command)?;
    }
    Ok(())
}

fn is_there() -> bool {
    let mut version = Command::new("cargo");
    version.args(["+nightly", "fuzz", "--version"]);
    let status = version.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
