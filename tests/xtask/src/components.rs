//! Plugins as components.
//!
//! A plugin is a folder `plugins/KIND-NAME` with a crate of that name, or with
//! modules in Python (see `python.rs`). Its component lies in the target
//! directory as `plugins/KINDS/NAME.wasm`, where `rlhf` finds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::python;
use crate::setup::{WASM_TARGET, WasmC};
use crate::workspace::{cargo, root, run, say, shown, target_dir};

/// The prefix of a plugin's name, and the folder of such components.
pub const KINDS: [(&str, &str); 4] = [
    ("metric", "metrics"),
    ("shaper", "rewards"),
    ("adapter", "adapters"),
    ("runner", "runners"),
];

/// A plugin of this repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Name of its folder, and of its crate if it is one: `metric-bleu`.
    pub package: String,
    /// Where its component goes, below the plugin folder: `metrics/bleu.wasm`.
    pub component: PathBuf,
}

impl Plugin {
    /// `None` if the name has no kind's prefix: `lib-text` exports nothing.
    pub fn named(package: &str) -> Option<Self> {
        let (kind, name) = package.split_once('-')?;
        let (_, folder) = KINDS.iter().find(|(prefix, _)| *prefix == kind)?;
        Some(Self {
            package: package.to_owned(),
            component: Path::new(folder).join(format!("{name}.wasm")),
        })
    }

    /// Where its sources lie.
    pub fn folder(&self) -> PathBuf {
        root().join("plugins").join(&self.package)
    }

    /// Whether cargo builds it.
    pub fn is_crate(&self) -> bool {
        self.folder().join("Cargo.toml").is_file()
    }
}

/// The plugins of this repository, by name.
///
/// # Errors
/// The folder `plugins` can't be read.
pub fn plugins() -> Result<Vec<Plugin>> {
    let folder = root().join("plugins");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(plugin) = Plugin::named(&name)
            && (plugin.is_crate() || python::is_plugin(&path))
        {
            found.push(plugin);
        }
    }
    found.sort_by(|a, b| a.package.cmp(&b.package));
    Ok(found)
}

/// The folder that holds the components.
///
/// # Errors
/// The target directory is not known; see [`target_dir`].
pub fn plugin_dir() -> Result<PathBuf> {
    Ok(target_dir()?.join("plugins"))
}

/// Cargo for components: a target folder of its own, since the outer cargo may
/// hold the lock of the usual one, and none of the flags meant for this machine.
///
/// # Errors
/// The target directory is not known; see [`target_dir`].
pub fn cargo_for_components(compiler: &WasmC, subcommand: &str) -> Result<Command> {
    let mut command = cargo();
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    compiler.apply(&mut command);
    command
        .args([subcommand, "--profile", "plugin", "--target", WASM_TARGET])
        .arg("--target-dir")
        .arg(target_dir()?.join("components"));
    Ok(command)
}

/// Whether a build talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Where ours goes.
    Shown,
    /// Only if the build fails.
    OnFailure,
}

/// Builds components and puts them into the plugin folder. Files that don't
/// change are not touched. Other processes may do the same at the same time.
///
/// # Errors
/// A plugin doesn't compile.
pub fn build(plugins: &[Plugin], compiler: &WasmC, output: Output) -> Result<Vec<PathBuf>> {
    if plugins.iter().any(Plugin::is_crate) {
        build_crates(compiler, output)?;
    }
    let built = target_dir()?
        .join("components")
        .join(WASM_TARGET)
        .join("plugin");
    let folder = plugin_dir()?;
    let mut components = Vec::new();
    for plugin in plugins {
        let from = if plugin.is_crate() {
            built.join(format!("{}.wasm", plugin.package.replace('-', "_")))
        } else {
            python::component(&plugin.package, output)?
        };
        let to = folder.join(&plugin.component);
        let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
        if place(&to, &bytes)? && output == Output::Shown {
            say(&format!("{} ({} KiB)", to.display(), bytes.len() / 1024));
        }
        components.push(to);
    }
    Ok(components)
}

/// Builds all of them, whichever are asked for: cargo settles features over the
/// packages of a call, and a component must have the same bytes however it is
/// built, since its grants belong to their hash.
fn build_crates(compiler: &WasmC, output: Output) -> Result<()> {
    let mut command = cargo_for_components(compiler, "build")?;
    for plugin in plugins()?.iter().filter(|plugin| plugin.is_crate()) {
        command.args(["--package", &plugin.package]);
    }
    match output {
        Output::Shown => run(&mut command)?,
        Output::OnFailure => {
            let output = command.output().with_context(|| shown(&command))?;
            if !output.status.success() {
                let text = String::from_utf8_lossy(&output.stderr);
                bail!(
                    "`{}` failed: {}\n{}",
                    shown(&command),
                    output.status,
                    text.trim_end()
                );
            }
        }
    }
    Ok(())
}

/// Whether the file changed. Written beside and renamed: somebody may be reading.
fn place(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    let show = || path.display().to_string();
    let folder = path.parent().expect("a component's path has a folder");
    fs::create_dir_all(folder).with_context(show)?;
    let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&fresh, bytes).with_context(show)?;
    fs::rename(&fresh, path).with_context(show)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches components that lie where the command line doesn't look for them.
    #[test]
    fn a_prefix_is_a_kind() {
        let check = |package: &str, expected: Option<&str>| {
            let found = Plugin::named(package).map(|plugin| plugin.component);
            assert_eq!(found.as_deref(), expected.map(Path::new));
        };
        check("metric-bleu", Some("metrics/bleu.wasm"));
        check("adapter-json", Some("adapters/json.wasm"));
        check("shaper-edit-distance", Some("rewards/edit-distance.wasm"));
        check("runner-python", Some("runners/python.wasm"));
        check("lib-text", None);
        check("metric", None);
    }
}
