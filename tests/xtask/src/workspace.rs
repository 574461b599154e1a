//! Where things are, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The workspace's root.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors()
            .nth(2)
            .expect("this crate lies in tests/xtask")
            .to_owned()
    })
}

/// Cargo's target directory, wherever its configuration or environment puts it.
///
/// # Errors
/// `cargo metadata` fails: the workspace's manifests are broken.
pub fn target_dir() -> Result<&'static Path> {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    if let Some(target) = TARGET.get() {
        return Ok(target);
    }
    let metadata = metadata(&["--no-deps", "--offline"])?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata: expected `target_directory`, found none")?;
    Ok(TARGET.get_or_init(|| target.into()))
}

/// What `cargo metadata` says of the workspace, asked with these arguments.
///
/// # Errors
/// It fails: the workspace's manifests are broken, or packages are missing and there is no network.
pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let output = cargo()
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata")
}

/// What a build leaves in the environment of the programs it starts. Passed on
/// to another cargo, it would rebuild what hasn't changed, or with wrong flags.
const BUILD_VARIABLES: [&str; 4] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CRATE_",
    "CARGO_BIN_",
];

/// Cargo in the workspace's root, as if started from a shell.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if BUILD_VARIABLES
            .iter()
            .any(|prefix| text.starts_with(prefix))
            || text == "OUT_DIR"
        {
            command.env_remove(&name);
        }
    }
    command
}

/// A command as people would type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut text = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        text.push(' ');
        if argument.is_empty() || argument.contains([' ', '"', '\'', '*', '$']) {
            text.push_str(&format!("{argument:?}"));
        } else {
            text.push_str(&argument);
        }
    }
    text
}

/// Says what runs, on standard error.
pub fn say(message: &str) {
    eprintln!("xtask: {message}");
}

/// Runs a command to its end, with its output where ours goes.
///
/// # Errors
/// It can't be started, or it fails.
pub fn run(command: &mut Command) -> Result<()> {
    say(&shown(command));
    let status = command.status().with_context(|| shown(command))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}
