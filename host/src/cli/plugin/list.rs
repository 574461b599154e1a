//! `rlhf plugin list`: what a run would find, and from where.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::plugin::{Component, Kind, Runtime, discovery, engine, grants};

/// One line a component: name, kind, version of the contract and the grants it
/// asks for, place. Those that an earlier one hides are marked, and broken ones
/// say why.
pub fn run() -> Result<()> {
    let runtime = Runtime::new(engine::cache_folder(), 1)?;
    let mut out = std::io::stdout().lock();
    let mut seen = HashSet::new();
    let folders = discovery::plugin_folders();
    for folder in &folders {
        // In the order in which a name is looked up.
        let places = [None].into_iter().chain(Kind::ALL.map(Some));
        for kind in places {
            let inside = kind.map_or(folder.clone(), |kind| folder.join(kind.folder()));
            for file in components(&inside) {
                let name = file.file_stem().unwrap_or_default().to_string_lossy();
                let hidden = !seen.insert(name.to_string());
                let (kind, state) = match Component::load(&runtime, &file) {
                    Ok(component) => (component.kind.to_string(), state(&component)),
                    Err(error) => {
                        let kind = kind.map_or("?".into(), |kind| kind.to_string());
                        let text = error.to_string();
                        let reason = text.lines().next().unwrap_or_default().to_owned();
                        (kind, format!("broken: {reason}"))
                    }
                };
                let state = if hidden { "hidden".into() } else { state };
                writeln!(out, "{name:16} {kind:14} {state:10} {}", file.display())?;
            }
        }
    }
    if seen.is_empty() {
        let folders: Vec<String> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        eprintln!(
            "no plugins in {}\nhint: RLHF_PLUGIN_PATH names further folders",
            folders.join(", ")
        );
    }
    Ok(())
}

fn state(component: &Component) -> String {
    let mut state = format!("wit {}", component.wit_version);
    let asks = grants::requests(component);
    if !asks.is_empty() {
        state.push_str(&format!(", asks for {}", asks.join(", ")));
    }
    state
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
