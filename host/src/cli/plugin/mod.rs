//! `rlhf plugin`: what a plugin is, and which ones there are.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::plugin::{Component, DataAdapter, Kind, Metric, Runtime, Spec, discovery, engine};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Show what a component is, what it asks for and what it says about itself
    Inspect {
        /// Path of a component, or name of a shipped one
        plugin: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the components a run would find
    List,
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Inspect { plugin, json } => inspect(plugin, *json),
        Command::List => list(),
    }
}

fn inspect(plugin: &str, as_json: bool) -> Result<()> {
    let runtime = Runtime::new(engine::cache_folder(), 1)?;
    let spec = Spec::of(plugin);
    let component = Component::load(&runtime, &spec.resolve()?)?;
    let mut facts = vec![
        ("path", json!(component.path)),
        ("kind", json!(component.kind.to_string())),
        (
            "wit",
            json!(format!("rlhf:plugin@{}", component.wit_version)),
        ),
        ("size", json!(component.size)),
        ("sha256", json!(component.sha256)),
        ("imports", json!(requests(&component.imports))),
    ];
    // Describing runs the guest, under its limits; a failure is worth showing, too.
    match describe(&runtime, &spec, component.kind) {
        Ok(description) => facts.extend(description),
        Err(error) => facts.push(("error", json!(format!("{error:#}")))),
    }
    let mut out = std::io::stdout().lock();
    if as_json {
        let object: serde_json::Map<_, _> = facts
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
        return Ok(());
    }
    for (key, value) in facts {
        let text = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Array(items) if items.is_empty() => "none".into(),
            serde_json::Value::Array(items) => items
                .iter()
                .map(|item| {
                    item.as_str()
                        .map_or_else(|| item.to_string(), str::to_owned)
                })
                .collect::<Vec<_>>()
                .join(", "),
            other => other.to_string(),
        };
        // What a guest says about itself could hold control characters.
        writeln!(out, "{key:14} {}", text.escape_debug())?;
    }
    Ok(())
}

/// Imports that need a grant or mean something; the empty WASI is summed up.
fn requests(imports: &[String]) -> Vec<String> {
    let (wasi, ours): (Vec<&String>, Vec<&String>) =
        imports.iter().partition(|name| name.starts_with("wasi:"));
    let mut shown: Vec<String> = ours.into_iter().cloned().collect();
    if !wasi.is_empty() {
        shown.push(format!("{} of WASI (linked empty)", wasi.len()));
    }
    shown
}

type Facts = Vec<(&'static str, serde_json::Value)>;

fn describe(runtime: &std::sync::Arc<Runtime>, spec: &Spec, kind: Kind) -> Result<Facts> {
    match kind {
        Kind::Metric => {
            let metric = Metric::load(runtime, spec)?;
            let about = metric.descriptor();
            Ok(vec![
                ("name", json!(about.name)),
                ("version", json!(about.version)),
                ("summary", json!(about.summary)),
                (
                    "range",
                    json!(format!("{} to {}", about.minimum, about.maximum)),
                ),
                (
                    "better",
                    json!(if about.higher_is_better {
                        "higher"
                    } else {
                        "lower"
                    }),
                ),
                ("components", json!(about.components)),
                ("signature", json!(metric.signature())),
                ("needs", json!(about.needs)),
                ("citation", json!(about.citation)),
            ])
        }
        Kind::DataAdapter => {
            let adapter = DataAdapter::load(runtime, spec)?;
            let about = adapter.descriptor();
            Ok(vec![
                ("name", json!(about.name)),
                ("version", json!(about.version)),
                ("summary", json!(about.summary)),
                ("extensions", json!(about.extensions)),
            ])
        }
        Kind::RewardShaper | Kind::CodeRunner => Ok(Vec::new()),
    }
}

fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for folder in discovery::plugin_folders() {
        for kind in [
            Kind::Metric,
            Kind::RewardShaper,
            Kind::DataAdapter,
            Kind::CodeRunner,
        ] {
            for file in components(&folder.join(kind.folder())) {
                let name = file.file_stem().unwrap_or_default().to_string_lossy();
                writeln!(out, "{name:16} {:14} {}", kind.to_string(), file.display())?;
            }
        }
    }
    Ok(())
}

fn components(folder: &Path) -> Vec<std::path::PathBuf> {
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
