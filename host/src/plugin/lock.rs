//! `rlhf.lock`: hashes that a user's plugins must have.
//!
//! Keeping one is the user's choice: `rlhf plugin lock` writes it, and where it
//! lies in the folder that `rlhf` is started from, a listed plugin that has
//! changed is refused. Plugins that it doesn't list are not its business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;

/// The file's name, in the folder a run is started from.
pub const FILE: &str = "rlhf.lock";

/// Plugins by where they lie, with the hash each must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lock {
    plugins: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    #[serde(default)]
    plugin: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    sha256: String,
}

impl Lock {
    /// The lock of this folder; `None` if the user keeps none.
    ///
    /// # Errors
    /// The file can't be read, or is no lock.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(FILE);
        let problem = |problem: String| Error::Lock {
            path: path.clone(),
            problem,
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(problem(format!("cannot read it: {error}"))),
        };
        let format: Format =
            toml::from_str(&text).map_err(|error| problem(error.message().to_owned()))?;
        let mut plugins = BTreeMap::new();
        for entry in format.plugin {
            let is_hash = entry.sha256.len() == 64
                && entry.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_hash {
                return Err(problem(format!(
                    "`{}`: expected a sha256 of 64 hexadecimal digits, found `{}`",
                    entry.path, entry.sha256
                )));
            }
            plugins.insert(entry.path, entry.sha256.to_ascii_lowercase());
        }
        Ok(Some(Self { plugins }))
    }

    /// Pins a plugin to these bytes.
    pub fn pin(&mut self, path: &Path, sha256: &str) {
        self.plugins.insert(key(path), sha256.to_owned());
    }

    /// The hash that the plugin must have; `None` if it isn't listed.
    pub fn expects(&self, path: &Path) -> Option<&str> {
        self.plugins.get(&key(path)).map(String::as_str)
    }

    /// Writes the lock into a folder, beside and renamed.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        let path = folder.join(FILE);
        let plugin = self.plugins.iter().map(|(path, sha256)| Entry {
            path: path.clone(),
            sha256: sha256.clone(),
        });
        let format = Format {
            plugin: plugin.collect(),
        };
        let text = format!(
            "# Written by `rlhf plugin lock`: plugins whose bytes differ are refused.\n\n{}",
            toml::to_string(&format).expect("text and hashes are TOML")
        );
        let beside = folder.join(format!("{FILE}.{}.tmp", std::process::id()));
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(|error| Error::Lock {
                path: path.clone(),
                problem: format!("cannot write it: {error}"),
            })?;
        Ok(path)
    }
}

/// A shipped component goes by its place in the plugin folder, wherever that
/// is installed; any other by its path as seen from the lock.
fn key(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let shipped = super::discovery::plugin_folders()
        .into_iter()
        .filter_map(|folder| folder.canonicalize().ok());
    let here = std::env::current_dir()
        .and_then(|here| here.canonicalize())
        .ok();
    shipped
        .chain(here)
        .find_map(|folder| real.strip_prefix(folder).ok().map(Path::to_owned))
        .unwrap_or(real)
        .display()
        .to_string()
}
