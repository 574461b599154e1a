//! What `deep` reads a run's files with: the readers of TensorBoard and of Weights & Biases, and a
//! browser. Where one can't be had, that is said, and its test says that it was not run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::tools;
use crate::workspace::{run, say};

/// wandb 0.19 is the last whose reader is Python; 0.31 writes and reads the same files.
const PACKAGES: [&str; 2] = ["tensorboard==2.21.0", "wandb==0.19.11"];

/// Names for tests where the readers and the browser are.
pub fn apply(command: &mut Command) {
    match readers() {
        Ok(python) => {
            command.env("RLHF_READERS_PYTHON", python);
        }
        Err(error) => say(&format!(
            "TensorBoard's and Weights & Biases' readers are left out: {error:#}"
        )),
    }
    match chromium() {
        Ok(path) => {
            command.env("RLHF_CHROMIUM", path);
        }
        Err(error) => say(&format!("the report is not opened in a browser: {error:#}")),
    }
}

/// A Python that has both readers, in a place of its own.
fn readers() -> Result<PathBuf> {
    if let Some(python) = std::env::var_os("RLHF_READERS_PYTHON") {
        return Ok(python.into());
    }
    let folder = tools().join("readers");
    let python = folder.join("bin/python");
    let whole = folder.join("whole");
    if whole.is_file() {
        return Ok(python);
    }
    let _ = fs::remove_dir_all(&folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:"])
        .args(PACKAGES))?;
    fs::write(&whole, PACKAGES.join("\n")).with_context(|| whole.display().to_string())?;
    Ok(python)
}

/// A Chromium: the one that is named, one on PATH, or Debian's.
fn chromium() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RLHF_CHROMIUM") {
        return Ok(path.into());
    }
    let found = || {
        let paths = std::env::var_os("PATH")?;
        std::env::split_paths(&paths)
            .flat_map(|folder| {
                ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name))
            })
            .find(|path| path.is_file())
    };
    if let Some(path) = found() {
        return Ok(path);
    }
    run(Command::new("apt-get")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .arg("chromium"))
    .context("no Chromium on PATH or in RLHF_CHROMIUM, and Debian's can't be installed")?;
    found().context("Debian's package has no program `chromium`")
}
