//! `rlhf plugin inspect`: what a component is, asks for and says about itself.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use crate::plugin::{
    CodeRunner, Component, DataAdapter, Kind, Metric, RewardShaper, Runtime, Services, Spec,
    engine, grants,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Path of a component, or name of a shipped one
    plugin: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

type Facts = Vec<(&'static str, Value)>;

pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = Runtime::new(engine::cache_folder(), 1)?;
    let spec = Spec::of(&arguments.plugin);
    let component = Component::find(&runtime, &spec)?;
    let mut facts = about_file(&component);
    // Describing runs the guest, under its limits; a failure is worth showing, too.
    match describe(&component, &spec) {
        Ok(description) => facts.extend(description),
        Err(error) => facts.push(("error", json!(format!("{error:#}")))),
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let object: serde_json::Map<_, _> = facts
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
        return Ok(());
    }
    for (key, value) in facts {
        // What a guest says about itself could hold control characters.
        writeln!(out, "{key:14} {}", shown(&value).escape_debug())?;
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn about_file(component: &Component) -> Facts {
    let (wasi, ours): (Vec<&String>, Vec<&String>) = component
        .imports
        .iter()
        .partition(|name| name.starts_with("wasi:"));
    let mut imports: Vec<String> = ours.into_iter().cloned().collect();
    if !wasi.is_empty() {
        imports.push(format!("{} of WASI (linked empty)", wasi.len()));
    }
    let first_party: Vec<String> = grants::first_party(component)
        .iter()
        .map(ToString::to_string)
        .collect();
    vec![
        ("path", json!(component.path)),
        ("kind", json!(component.kind.to_string())),
        (
            "wit",
            json!(format!("rlhf:plugin@{}", component.wit_version)),
        ),
        ("size", json!(component.size)),
        ("sha256", json!(component.sha256)),
        ("imports", json!(imports)),
        ("asks for", json!(grants::requests(component))),
        ("granted", json!(first_party)),
    ]
}

fn describe(component: &Component, spec: &Spec) -> Result<Facts> {
    let services = Services::refusing();
    let component = component.clone();
    let (name, version, summary, more): (_, _, _, Facts) = match component.kind {
        Kind::Metric => {
            let metric = Metric::of(component, spec, &services)?;
            let about = metric.descriptor().clone();
            let better = if about.higher_is_better {
                "higher"
            } else {
                "lower"
            };
            let more = vec![
                (
                    "range",
                    json!(format!("{} to {}", about.minimum, about.maximum)),
                ),
                ("better", json!(better)),
                ("components", json!(about.components)),
                ("signature", json!(metric.signature())),
                ("needs", json!(about.needs)),
                ("citation", json!(about.citation)),
            ];
            (about.name, about.version, about.summary, more)
        }
        Kind::RewardShaper => {
            let about = RewardShaper::of(component, spec, &services)?;
            let about = about.descriptor().clone();
            let more = vec![
                ("parts", json!(about.parts)),
                ("needs", json!(about.needs_metrics)),
            ];
            (about.name, about.version, about.summary, more)
        }
        Kind::DataAdapter => {
            let about = DataAdapter::of(component, spec, &services)?;
            let about = about.descriptor().clone();
            let more = vec![("extensions", json!(about.extensions))];
            (about.name, about.version, about.summary, more)
        }
        Kind::CodeRunner => {
            let about = CodeRunner::of(component, spec, &services)?;
            let about = about.descriptor().clone();
            let languages: Vec<String> = about
                .languages
                .iter()
                .map(|(language, version)| format!("{language} {version}"))
                .collect();
            let more = vec![("languages", json!(languages))];
            (about.name, about.version, about.summary, more)
        }
    };
    let mut facts = vec![
        ("name", json!(name)),
        ("version", json!(version)),
        ("summary", json!(summary)),
    ];
    facts.extend(more);
    Ok(facts)
}
