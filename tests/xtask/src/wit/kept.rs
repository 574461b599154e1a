//! Components kept for a released version: one a world, built when the version
//! was frozen and never again. That today's host loads them is what "keeps
//! loading" means; the sources they came from go on changing with the SDK.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use semver::Version;
use wit_parser::decoding::{DecodedWasm, decode};

use super::contract::{Contract, PACKAGE, hash};
use crate::one_file;
use crate::setup::setup;
use crate::workspace::{root, shown, target_dir};

/// Components by kind: `metric`, `reward-shaper`.
pub type Components = BTreeMap<String, Vec<u8>>;

/// The kind that a world stands for: `metric-plugin` is `metric`. It names the
/// source `tests/sdk/kept/metric.rs` and the component `VERSION/metric.wasm`.
pub fn kind(world: &str) -> &str {
    world.strip_suffix("-plugin").unwrap_or(world)
}

/// Builds components of these kinds from the sources in `folder`.
///
/// # Errors
/// There is no such source, it doesn't compile, or its component holds a path
/// of this machine.
pub fn build(folder: &Path, kinds: &[String]) -> Result<Components> {
    let compiler = setup()?;
    let private = private_prefixes()?;
    let flags: Vec<String> = private
        .iter()
        .map(|prefix| format!("--remap-path-prefix={prefix}="))
        .collect();
    let mut components = Components::new();
    for kind in kinds {
        let source = folder.join(format!("{kind}.rs"));
        if !source.is_file() {
            bail!(
                "{}: expected the source of a component to keep, found none",
                source.display()
            );
        }
        let out = target_dir()?.join("kept");
        let bytes = one_file::compile(&format!("kept-{kind}"), &source, &out, &compiler, &flags)?;
        for prefix in &private {
            if contains(&bytes, prefix.as_bytes()) {
                bail!(
                    "{}: its component holds the path {prefix}",
                    source.display()
                );
            }
        }
        components.insert(kind.clone(), bytes);
    }
    Ok(components)
}

/// Where panics would say their source files lie. Components are published, so
/// they say it from the repository's, a crate's or the library's folder on.
fn private_prefixes() -> Result<Vec<String>> {
    let mut prefixes = vec![format!("{}/", root().display())];
    let mut rustc = Command::new("rustc");
    rustc.current_dir(root()).args(["--print", "sysroot"]);
    let output = rustc.output().with_context(|| shown(&rustc))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shown(&rustc), output.status);
    }
    let sysroot = String::from_utf8_lossy(&output.stdout);
    prefixes.push(format!("{}/lib/rustlib/src/rust/", sysroot.trim()));
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => home.into(),
        None => std::env::home_dir()
            .context("cargo's folder: expected CARGO_HOME or a home directory, found neither")?
            .join(".cargo"),
    };
    let registries = home.join("registry/src");
    // Absent where dependencies are vendored.
    if registries.is_dir() {
        for entry in fs::read_dir(&registries).with_context(|| registries.display().to_string())? {
            let path = entry
                .with_context(|| registries.display().to_string())?
                .path();
            prefixes.push(format!("{}/", path.display()));
        }
    }
    Ok(prefixes)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Reads a version's components.
///
/// # Errors
/// The folder can't be read, or holds something else.
pub fn read(folder: &Path) -> Result<Components> {
    let mut components = Components::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            bail!("{}: expected nothing but .wasm files", path.display());
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        components.insert(name.into_owned(), bytes);
    }
    Ok(components)
}

/// Writes a version's components.
///
/// # Errors
/// The folder exists, or can't be written.
pub fn write(folder: &Path, components: &Components) -> Result<()> {
    let show = || folder.display().to_string();
    fs::create_dir_all(folder.parent().unwrap_or(folder)).with_context(show)?;
    fs::create_dir(folder).with_context(show)?;
    for (kind, bytes) in components {
        let path = folder.join(format!("{kind}.wasm"));
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// See [`hash`].
pub fn sha256(components: &Components) -> String {
    hash(
        components
            .iter()
            .map(|(kind, bytes)| (kind.as_str(), bytes.as_slice())),
    )
}

/// What is wrong with a version's components, one line each: a world has none,
/// or one that wasn't built against this version.
pub fn problems(contract: &Contract, version: &Version, components: &Components) -> Vec<String> {
    let mut found = Vec::new();
    for world in contract.worlds() {
        let kind = kind(world);
        match components.get(kind) {
            None => found.push(format!(
                "{kind}.wasm: missing; world {world} has no component"
            )),
            Some(bytes) => {
                if let Err(error) = serves(contract, world, version, bytes) {
                    found.push(format!("{kind}.wasm: {error:#}"));
                }
            }
        }
    }
    for kind in components.keys() {
        if !contract.worlds().any(|world| self::kind(world) == kind) {
            found.push(format!("{kind}.wasm: no world {kind}-plugin"));
        }
    }
    found
}

/// Whether a component exports what the world does, and meets the contract in
/// no other version than this one.
fn serves(contract: &Contract, world: &str, version: &Version, bytes: &[u8]) -> Result<()> {
    let decoded = decode(bytes).context("expected a component")?;
    let DecodedWasm::Component(resolve, id) = &decoded else {
        bail!("expected a component, found a WIT package");
    };
    let component = &resolve.worlds[*id];
    let names = |keys: &mut dyn Iterator<Item = &wit_parser::WorldKey>| -> Vec<String> {
        keys.map(|key| resolve.name_world_key(key)).collect()
    };
    let imports = names(&mut component.imports.keys());
    let exports = names(&mut component.exports.keys());
    for name in imports.iter().chain(&exports) {
        let ours = name.starts_with(&format!("{PACKAGE}/"));
        if ours && !name.ends_with(&format!("@{version}")) {
            bail!(
                "expected {PACKAGE} {version}, found `{name}`\n\
                 hint: sdk/src/bindings.rs says which version the SDK is built against"
            );
        }
    }
    let id = contract.resolve.packages[contract.package].worlds[world];
    for key in contract.resolve.worlds[id].exports.keys() {
        let name = contract.resolve.name_world_key(key);
        if !exports.contains(&name) {
            bail!("expected the export `{name}`, found {exports:?}");
        }
    }
    Ok(())
}
