//! `config.json`: a model's shape and kind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{CONFIG, Error, gguf, gguf_file};
use crate::ops::gelu::Gelu;

/// What can be wrong with a `config.json`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("not a JSON object: {0}")]
    Json(String),
    #[error("key `{0}` is missing")]
    Missing(String),
    #[error("key `{key}` is {found}, which makes no sense")]
    Invalid { key: String, found: String },
    #[error("`{key}` is `{found}`, which is not supported")]
    Unsupported {
        key: String,
        found: String,
        supported: String,
    },
}

impl ConfigError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { key, supported, .. } => {
                Some(format!("supported `{key}`: {supported}"))
            }
            _ => None,
        }
    }
}

/// Reads keys of a `config.json`.
pub(in crate::models) struct ConfigReader<'a>(pub &'a Value);

impl ConfigReader<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    /// A positive integer.
    pub(in crate::models) fn size(&self, key: &str) -> Result<usize, ConfigError> {
        let value = self
            .get(key)
            .ok_or_else(|| ConfigError::Missing(key.into()))?;
        value
            .as_u64()
            .filter(|n| *n > 0)
            .map(|n| n as usize)
            .ok_or_else(|| ConfigError::Invalid {
                key: key.into(),
                found: value.to_string(),
            })
    }

    pub(in crate::models) fn size_or(
        &self,
        key: &str,
        default: usize,
    ) -> Result<usize, ConfigError> {
        if self.get(key).is_some() {
            self.size(key)
        } else {
            Ok(default)
        }
    }

    pub(in crate::models) fn number_or(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| ConfigError::Invalid {
                key: key.into(),
                found: value.to_string(),
            }),
        }
    }

    pub(in crate::models) fn flag_or(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| ConfigError::Invalid {
                key: key.into(),
                found: value.to_string(),
            }),
        }
    }

    /// A GELU by transformers' name.
    pub(in crate::models) fn gelu(&self, key: &str, default: &str) -> Result<Gelu, ConfigError> {
        let name = match self.get(key) {
            None => Some(default),
            Some(value) => value.as_str(),
        };
        match name {
            Some("gelu") => Ok(Gelu::Exact),
            Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Gelu::Tanh),
            other => Err(ConfigError::Unsupported {
                key: key.into(),
                found: other.unwrap_or("no name").into(),
                supported: "gelu, gelu_new, gelu_pytorch_tanh".into(),
            }),
        }
    }

    /// One token id, several, or none.
    pub(in crate::models) fn ids(&self, key: &str) -> Vec<u32> {
        match self.get(key) {
            Some(Value::Array(ids)) => ids
                .iter()
                .filter_map(Value::as_u64)
                .map(|id| id as u32)
                .collect(),
            Some(id) => id.as_u64().map(|id| id as u32).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The key is absent or has the one value that is supported.
    pub(in crate::models) fn require(
        &self,
        key: &str,
        supported: &Value,
    ) -> Result<(), ConfigError> {
        match self.get(key) {
            Some(found) if found != supported => Err(ConfigError::Unsupported {
                key: key.into(),
                found: found
                    .as_str()
                    .map_or_else(|| found.to_string(), str::to_owned),
                supported: supported
                    .as_str()
                    .map_or_else(|| supported.to_string(), str::to_owned),
            }),
            _ => Ok(()),
        }
    }
}

/// Reads a folder's `config.json`, or what a GGUF file has in its place.
///
/// # Errors
/// No folder, no configuration, or not JSON.
pub fn read_config(folder: &Path) -> Result<Value, Error> {
    if folder.is_file() {
        return gguf::config(folder);
    }
    if !folder.is_dir() {
        return Err(Error::NoFolder(folder.into()));
    }
    let file = folder.join(CONFIG);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // A GGUF file says itself what it is.
            return match gguf_file(folder)? {
                Some(file) => gguf::config(&file),
                None => Err(Error::NoConfig(folder.into())),
            };
        }
        Err(source) => return Err(Error::Read { file, source }),
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(Error::Config {
            file,
            source: ConfigError::Json("found another value".into()),
        }),
        Err(e) => Err(Error::Config {
            file,
            source: ConfigError::Json(e.to_string()),
        }),
    }
}

/// The file that [`read_config`] reads.
pub fn config_file(folder: &Path) -> PathBuf {
    folder.join(CONFIG)
}
