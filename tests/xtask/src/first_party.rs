//! What shipped components are granted without asking the user.
//!
//! The list is made when the components are built and goes into the binary that
//! is built after them, by the hash of their bytes: nothing else can take a
//! shipped plugin's name or place and have its grants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use wit_parser::decoding::{DecodedWasm, decode};

use crate::components::{plugin_dir, plugins};
use crate::workspace::target_dir;

/// Interfaces that have to be granted. (A folder is always the user's.)
const GRANTS: [&str; 2] = ["encoder", "sandbox"];

/// The list of this repository's components: a line `SHA256 GRANT[,GRANT…]`
/// for each that asks for something.
///
/// # Errors
/// A component is not built, or is none.
pub fn list() -> Result<String> {
    let folder = plugin_dir()?;
    let mut lines = String::new();
    for plugin in plugins()? {
        let path = folder.join(&plugin.component);
        lines.push_str(&line(&path).with_context(|| path.display().to_string())?);
    }
    Ok(lines)
}

fn line(component: &Path) -> Result<String> {
    let bytes = fs::read(component)?;
    let asked = asked(&bytes)?;
    if asked.is_empty() {
        return Ok(String::new());
    }
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("{hash} {}\n", asked.join(",")))
}

/// The grants that a component's imports ask for.
fn asked(bytes: &[u8]) -> Result<Vec<&'static str>> {
    let decoded = decode(bytes).context("expected a component")?;
    let DecodedWasm::Component(resolve, world) = &decoded else {
        bail!("expected a component, found a WIT package");
    };
    let imports: Vec<String> = resolve.worlds[*world]
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect();
    let asks = |grant: &&str| {
        let interface = format!("rlhf:plugin/{grant}@");
        imports.iter().any(|import| import.starts_with(&interface))
    };
    Ok(GRANTS.into_iter().filter(asks).collect())
}

/// Hands the list to a build of `rlhf`. An empty one is the default, which a
/// plain `cargo build` has as well: then nothing is compiled twice.
///
/// # Errors
/// A component is not built, or the list can't be written.
pub fn apply(command: &mut Command) -> Result<()> {
    let list = list()?;
    if list.is_empty() {
        return Ok(());
    }
    let path: PathBuf = target_dir()?.join("first-party.txt");
    if !fs::read_to_string(&path).is_ok_and(|present| present == list) {
        fs::write(&path, &list).with_context(|| path.display().to_string())?;
    }
    command.env("RLHF_FIRST_PARTY", path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches grants for what a component doesn't ask for, and requests that are overlooked.
    #[test]
    fn imports_are_the_request() {
        let component = |imports: &[&str]| {
            let imports: String = imports
                .iter()
                .map(|name| format!("(import {name:?} (instance))"))
                .collect();
            wat::parse_str(format!("(component {imports})")).unwrap()
        };
        let check = |imports: &[&str], expected: &[&str]| {
            assert_eq!(asked(&component(imports)).unwrap(), expected);
        };
        check(&[], &[]);
        check(&["rlhf:plugin/log@0.1.0", "wasi:io/error@0.2.6"], &[]);
        check(&["rlhf:plugin/encoder@0.1.0"], &["encoder"]);
        check(
            &["rlhf:plugin/sandbox@0.1.0", "rlhf:plugin/encoder@0.1.0"],
            &["encoder", "sandbox"],
        );
        check(&["other:plugin/encoder@0.1.0"], &[]);
    }
}
