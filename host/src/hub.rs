//! From a model's name to a folder: a path, or a name on the Hugging Face hub.
//!
//! The hub's own variables are honoured: `HF_HOME`, `HF_HUB_CACHE`,
//! `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo};

/// Files of a model that we read: by name, or any with this ending.
const FILES: [&str; 4] = [".json", ".safetensors", ".txt", ".jinja"];
/// Weights in the older form, wanted only where there are no safetensors.
const PICKLE: &str = "pytorch_model.bin";

/// Why there is no folder for a name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "model `{name}` is not a folder\nhint: a model is a folder with config.json and weights, a hub name such as `owner/name`, or `builtin:tiny-code`"
    )]
    NotAFolder { name: String },
    #[error(
        "model `{name}` is not in the cache, and HF_HUB_OFFLINE is set\nhint: unset it, or give --model-name a local folder"
    )]
    Offline { name: String },
    #[error(
        "model `{name}` is not in the cache and can't be fetched from the hub: {reason}\nhint: check the name and the network, or give --model-name a local folder or `builtin:tiny-code`"
    )]
    Fetch { name: String, reason: String },
}

/// The folder of a model.
///
/// # Errors
/// There is no such folder and no such model on the hub, or the hub can't be reached.
pub fn resolve(name: &str) -> Result<PathBuf, Error> {
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if !is_hub_name(name) {
        return Err(Error::NotAFolder {
            name: name.to_owned(),
        });
    }
    let cache = match variable("HF_HUB_CACHE") {
        Some(folder) => Cache::new(folder.into()),
        None => Cache::from_env(),
    };
    let cached = cache.repo(Repo::model(name.to_owned()));
    let config = cached.get("config.json");
    if let Some(folder) = config.as_deref().and_then(Path::parent)
        && has_weights(folder)
    {
        return Ok(folder.to_owned());
    }
    if offline() {
        return Err(Error::Offline {
            name: name.to_owned(),
        });
    }
    fetch(name, cache).map_err(|error| Error::Fetch {
        name: name.to_owned(),
        reason: error.to_string(),
    })
}

fn fetch(name: &str, cache: Cache) -> Result<PathBuf, ApiError> {
    let token = variable("HF_TOKEN").or_else(|| cache.token());
    let mut builder = ApiBuilder::from_cache(cache)
        .with_token(token)
        .with_retries(2)
        .with_progress(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    if let Some(endpoint) = variable("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint);
    }
    let repository = builder.build()?.model(name.to_owned());
    let files: Vec<String> = repository
        .info()?
        .siblings
        .into_iter()
        .map(|file| file.rfilename)
        .collect();
    let safetensors = files.iter().any(|file| file.ends_with(".safetensors"));
    for file in &files {
        let wanted = FILES.iter().any(|ending| file.ends_with(ending)) && !file.contains('/');
        if wanted || (file == PICKLE && !safetensors) {
            repository.get(file)?;
        }
    }
    let config = repository.get("config.json")?;
    Ok(config.parent().expect("a file lies in a folder").to_owned())
}

/// Whether a cached snapshot was fetched to its end, as far as the folder tells.
fn has_weights(folder: &Path) -> bool {
    let complete = |index: &Path| {
        let text = std::fs::read_to_string(index).unwrap_or_default();
        let index: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        index["weight_map"].as_object().is_some_and(|map| {
            map.values()
                .filter_map(|file| file.as_str())
                .all(|file| folder.join(file).is_file())
        })
    };
    folder.join("model.safetensors").is_file()
        || folder.join(PICKLE).is_file()
        || complete(&folder.join("model.safetensors.index.json"))
}

/// `owner/name`, and nothing that looks like a path.
fn is_hub_name(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    name.split_once('/')
        .is_some_and(|(owner, model)| plain(owner) && plain(model))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn offline() -> bool {
    variable("HF_HUB_OFFLINE")
        .is_some_and(|value| !matches!(value.to_lowercase().as_str(), "0" | "false" | "no" | "off"))
}
