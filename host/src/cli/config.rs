//! `rlhf config`: the effective configuration, with where each value comes from.

use std::io::Write;

use anyhow::Result;
use serde_json::{Map, Value};

use super::train;
use crate::config::layers::Source;
use crate::config::{Method, Origin, Resolved, reasons, schema};

/// How the configuration is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// With the source of each value behind it; a configuration file as it stands
    Toml,
    /// The values alone, as a run's `config.json` has them
    Json,
}

// The flags of a training are a group of that name already.
#[derive(clap::Args)]
#[group(id = "ConfigArgs")]
pub struct Args {
    #[command(flatten)]
    train: train::Args,
    /// Print the JSON Schema of configuration files instead, for editors
    #[arg(long)]
    schema: bool,
    #[arg(long, value_enum, default_value = "toml")]
    output: Output,
}

/// Prints what was asked for.
///
/// # Errors
/// The configuration is wrong.
pub fn run(args: &Args) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if args.schema {
        writeln!(out, "{}", serde_json::to_string_pretty(&schema::schema())?)?;
        return Ok(());
    }
    let resolved = train::Given::of(&args.train)?.resolved()?;
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&resolved.config)?)?,
        Output::Toml => write!(out, "{}", commented(&resolved)?)?,
    }
    Ok(())
}

/// Column in which sources stand, where the values leave it free.
const COMMENTS_AT: usize = 44;

fn commented(resolved: &Resolved) -> Result<String> {
    let mut text = String::new();
    if let Value::Object(sections) = serde_json::to_value(&resolved.config)? {
        table(resolved, "", &sections, &mut text)?;
    }
    Ok(text)
}

/// Values first, then the tables in it: that is what TOML asks for.
fn table(
    resolved: &Resolved,
    name: &str,
    entries: &Map<String, Value>,
    text: &mut String,
) -> Result<()> {
    let full = |key: &str| match name {
        "" => key.to_owned(),
        name => format!("{name}.{key}"),
    };
    let is_table = |value: &Value| value.as_object().is_some_and(|inner| !inner.is_empty());
    if !name.is_empty() {
        text.push_str(&format!("\n[{name}]\n"));
    }
    for (key, value) in entries.iter().filter(|(_, value)| !is_table(value)) {
        let line = match value {
            Value::Null => format!("# {key} ="),
            value => format!("{} = {}", toml_key(key), toml_value(value)?),
        };
        let source = comment(resolved, &full(key));
        text.push_str(&format!("{line:<COMMENTS_AT$} # {source}\n"));
    }
    for (key, value) in entries {
        if let Value::Object(inner) = value
            && !inner.is_empty()
        {
            table(resolved, &full(key), inner, text)?;
        }
    }
    Ok(())
}

fn comment(resolved: &Resolved, key: &str) -> String {
    let source = resolved.source(key);
    let config = &resolved.config;
    let reason = match source {
        Source::Preset(mode) => {
            let model = Origin::of(&config.model.base_model_name);
            let method = config.training.method;
            let rewards = method.is_some_and(Method::learns_from_rewards);
            reasons::of(*mode, model, rewards, key)
        }
        _ => None,
    };
    match reason {
        Some(reason) => format!("{source}: {reason}"),
        None => source.to_string(),
    }
}

fn toml_key(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !key.is_empty() && key.chars().all(is_bare) {
        true => key.to_owned(),
        false => toml::Value::from(key).to_string(),
    }
}

/// TOML has no null: what is unset in a plugin's entry is left out.
fn toml_value(value: &Value) -> Result<String> {
    fn without_nulls(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(without_nulls).collect(),
            Value::Object(entries) => {
                let entries = entries.iter().filter(|(_, value)| !value.is_null());
                Value::Object(
                    entries
                        .map(|(key, value)| (key.clone(), without_nulls(value)))
                        .collect(),
                )
            }
            other => other.clone(),
        }
    }
    Ok(toml::Value::try_from(without_nulls(value))?.to_string())
}
