//! Components from one source file: a crate with the SDK, serde and serde_json.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::components::cargo_for_components;
use crate::setup::{WASM_TARGET, WasmC};
use crate::workspace::{root, shown, target_dir};

/// Compiles `source` as the crate `package`, whose manifest goes to
/// `folder/package`. Its dependencies' builds are shared with the plugins',
/// unless there are `rustflags`: they stand in place of those of `.cargo/config.toml`.
///
/// # Errors
/// It doesn't compile, or the folder can't be written.
pub fn compile(
    package: &str,
    source: &Path,
    folder: &Path,
    compiler: &WasmC,
    rustflags: &[String],
) -> Result<Vec<u8>> {
    let folder = folder.join(package);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    // A guest with an allocator of its own leaves out the SDK's: there can be one.
    let text = fs::read_to_string(source).with_context(|| source.display().to_string())?;
    let sdk_default = !text.contains("#[global_allocator]");
    let manifest = format!(
        "[package]\nname = {package:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [lib]\npath = {source:?}\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nrlhf-sdk = {{ path = {sdk:?}, default-features = {sdk_default} }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\n\
         serde_json = {{ version = \"1\", features = [\"preserve_order\"] }}\n\n\
         [workspace]\n\n\
         [profile.plugin]\ninherits = \"release\"\nopt-level = 3\nlto = \"fat\"\n\
         codegen-units = 1\npanic = \"abort\"\nstrip = true\n",
        sdk = root().join("sdk"),
    );
    replace(&folder.join("Cargo.toml"), manifest.as_bytes())?;
    // The versions of the workspace, so that nothing is compiled twice or fetched.
    let lock = root().join("Cargo.lock");
    let bytes = fs::read(&lock).with_context(|| lock.display().to_string())?;
    if !folder.join("Cargo.lock").is_file() {
        replace(&folder.join("Cargo.lock"), &bytes)?;
    }
    let mut command = cargo_for_components(compiler, "build")?;
    if !rustflags.is_empty() {
        command.env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"));
    }
    command
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--offline");
    let output = command.output().with_context(|| shown(&command))?;
    if !output.status.success() {
        bail!(
            "{}\n{}",
            shown(&command),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    let built = target_dir()?
        .join("components")
        .join(WASM_TARGET)
        .join("plugin")
        .join(format!("{}.wasm", package.replace('-', "_")));
    fs::read(&built).with_context(|| built.display().to_string())
}

/// Writes a file unless it has these bytes; beside it first and renamed, since
/// somebody may be reading.
///
/// # Errors
/// The folder can't be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let show = || path.display().to_string();
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.tmp", std::process::id()));
    fs::write(&fresh, bytes).with_context(show)?;
    fs::rename(&fresh, path).with_context(show)
}
