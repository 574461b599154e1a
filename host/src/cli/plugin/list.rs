//! `rlhf plugin list`: what a run would find, and from where.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::plugin::{Component, Kind, Runtime, discovery, engine};

/// One line a component: name, kind, version of the contract, grants it asks
/// for, place. A component that another one hides is marked, a broken one too.
pub fn run() -> Result<()> {
    let runtime = Runtime::new(engine::cache_folder(), 1)?;
    let mut out = std::io::stdout().lock();
    let mut seen = HashSet::new();
    for folder in discovery::plugin_folders() {
        for kind in Kind::ALL {
            for file in components(&folder.join(kind.folder())) {
                let name = file.file_stem().unwrap_or_default().to_string_lossy();
                let hidden = !seen.insert((kind.folder(), name.to_string()));
                let state = match Component::load(&runtime, &file) {
                    _ if hidden => "hidden".to_owned(),
                    Ok(component) if component.kind == kind => {
                        format!("wit {}", component.wit_version)
                    }
                    Ok(component) => format!("is a {}", component.kind),
                    Err(_) => "broken".to_owned(),
                };
                writeln!(
                    out,
                    "{name:16} {:14} {state:10} {}",
                    kind.to_string(),
                    file.display()
                )?;
            }
        }
    }
    Ok(())
}

fn components(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    files.sort();
    files
}
