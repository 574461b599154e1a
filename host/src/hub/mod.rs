//! From a model's name to a folder: a path, or a name on the Hugging Face hub.
//!
//! What is fetched lies in the hub's own cache, in its own layout, so that Python programs find
//! it, too, and we find what they fetched. Its variables are honoured: `HF_HOME`, `HF_HUB_CACHE`,
//! `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH` and `HF_HUB_OFFLINE`.

mod cache;
mod client;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use cache::Cache;
use client::{Client, Failure};
use settings::Settings;

/// Small files of a model that we read, where it has them.
const FILES: &[&str] = &[
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "chat_template.jinja",
];
/// Forms of the weights, the best first: one file, or the index of several.
const WEIGHTS: &[(&str, &str)] = &[
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    // PEFT's, which are never in parts.
    ("adapter_model.safetensors", ""),
    ("adapter_model.bin", ""),
];

/// Why there is no folder for a name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "model `{name}` is not a folder\nhint: a model is a folder with config.json and weights, a GGUF file, a hub name such as `owner/name`, or (for --model-name) `builtin:tiny-code`"
    )]
    NotAFolder { name: String },
    #[error(
        "model `{name}` is not in the cache `{}`, and HF_HUB_OFFLINE is set\nhint: unset it, or name a local folder", .cache.display()
    )]
    Offline { name: String, cache: PathBuf },
    #[error(
        "model `{name}` is not on the hub, or is private (status {status} from {endpoint})\nhint: check the spelling; for a private or gated model set HF_TOKEN to a token that may read it"
    )]
    Missing {
        name: String,
        status: u16,
        endpoint: String,
    },
    #[error(
        "model `{name}` may not be read with this token (status {status} from {endpoint})\nhint: accept the model's conditions on its page, or set HF_TOKEN to a token that may read it"
    )]
    Forbidden {
        name: String,
        status: u16,
        endpoint: String,
    },
    #[error(
        "model `{name}` has no weights that are read: found {found}\nhint: wanted is model.safetensors or pytorch_model.bin, whole or in parts with an index"
    )]
    NoWeights { name: String, found: String },
    #[error(
        "model `{name}` is not in the cache and can't be fetched from the hub: {reason}\nhint: check the name and the network, or name a local folder; what was fetched so far is kept and a next try goes on from there"
    )]
    Fetch { name: String, reason: String },
}

/// The folder of a model.
///
/// # Errors
/// There is no such folder and no such model on the hub, or the hub can't be reached.
pub fn resolve(name: &str) -> Result<PathBuf, Error> {
    resolve_with(name, Settings::from_environment)
}

fn resolve_with(name: &str, settings: impl FnOnce() -> Settings) -> Result<PathBuf, Error> {
    let path = Path::new(name);
    // A GGUF file is a whole model.
    if path.is_dir() || (path.is_file() && path.extension().is_some_and(|e| e == "gguf")) {
        return Ok(path.to_owned());
    }
    if !is_hub_name(name) {
        return Err(Error::NotAFolder {
            name: name.to_owned(),
        });
    }
    let settings = settings();
    let cache = Cache::of(&settings.cache, name);
    if let Some(folder) = cache.snapshot()
        && is_complete(&folder)
    {
        return Ok(folder);
    }
    if settings.offline {
        return Err(Error::Offline {
            name: name.to_owned(),
            cache: settings.cache,
        });
    }
    let endpoint = settings.endpoint.clone();
    let named = |failure: Failure| match failure {
        Failure::Status(status @ 403) => Error::Forbidden {
            name: name.to_owned(),
            status,
            endpoint: endpoint.clone(),
        },
        Failure::Status(status @ (401 | 404)) => Error::Missing {
            name: name.to_owned(),
            status,
            endpoint: endpoint.clone(),
        },
        other => Error::Fetch {
            name: name.to_owned(),
            reason: other.to_string(),
        },
    };
    let client = Client::new(&settings);
    let (commit, files) = client.list(name).map_err(named)?;
    let get = |file: &str| client.get(&cache, name, &commit, file).map_err(named);
    // The weights come last: where they are, everything is.
    for file in FILES {
        if files.iter().any(|f| f == file) {
            get(file)?;
        }
    }
    for (single, index) in WEIGHTS {
        let has = |name: &str| files.iter().any(|f| f == name);
        if has(single) {
            get(single)?;
        } else if has(index) {
            let path = get(index)?;
            for part in parts(&path) {
                get(&part)?;
            }
        } else {
            continue;
        }
        cache
            .set_main(&commit)
            .map_err(|e| named(Failure::Disk(e)))?;
        return Ok(cache.folder(&commit));
    }
    let found: Vec<&str> = files.iter().take(12).map(String::as_str).collect();
    Err(Error::NoWeights {
        name: name.to_owned(),
        found: found.join(", "),
    })
}

/// Files that an index names, those that lie in its folder.
fn parts(index: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(index).unwrap_or_default();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let map = index["weight_map"].as_object();
    let mut names: Vec<String> = map
        .into_iter()
        .flat_map(|map| map.values())
        .filter_map(|name| name.as_str())
        .filter(|name| client::is_plain(name))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a cached snapshot was fetched to its end, as far as the folder tells.
fn is_complete(folder: &Path) -> bool {
    let there = |name: &str| folder.join(name).is_file();
    let whole = |(single, index): &(&str, &str)| {
        let parts = parts(&folder.join(index));
        there(single) || (!parts.is_empty() && parts.iter().all(|part| there(part)))
    };
    (there("config.json") || there("adapter_config.json")) && WEIGHTS.iter().any(whole)
}

/// `owner/name`, and nothing that looks like a path.
fn is_hub_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let plain = |part: Option<&str>| part.is_some_and(client::is_plain);
    plain(parts.next()) && plain(parts.next()) && parts.next().is_none()
}
