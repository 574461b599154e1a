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
            let path = if is_name(&entry.path) || entry.path.starts_with(SHIPPED) {
                entry.path
            } else {
                key(&folder.join(&entry.path))
            };
            plugins.insert(path, entry.sha256.to_ascii_lowercase());
        }
        Ok(Some(Self { plugins }))
    }

    /// Pins a plugin to these bytes, by its path and by what the user called it:
    /// another file that comes to be found under that name is refused as well.
    pub fn pin(&mut self, called: &str, path: &Path, sha256: &str) {
        self.plugins.insert(key(path), sha256.to_owned());
        if is_name(called) {
            self.plugins.insert(called.to_owned(), sha256.to_owned());
        }
    }

    /// The hashes that a plugin must have: none if it isn't listed. It is looked
    /// up by its path, by the file that a link leads to, and by what the user called it.
    pub fn expects(&self, called: Option<&str>, path: &Path) -> impl Iterator<Item = &str> {
        let real = path.canonicalize().ok();
        [
            Some(key(path)),
            real.map(|real| key(&real)),
            called.filter(|called| is_name(called)).map(str::to_owned),
        ]
        .into_iter()
        .flatten()
        .filter_map(|key| self.plugins.get(&key))
        .map(String::as_str)
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
        crate::files::replace(&path, text.as_bytes()).map_err(|error| Error::Lock {
            path: path.clone(),
            problem: format!("cannot write it: {error}"),
        })?;
        Ok(path)
    }
}

/// What begins the entry of a shipped component.
const SHIPPED: &str = "shipped:";

/// A shipped component goes by its place in the plugin folder, wherever that
/// is installed; any other by its path as seen from the lock. Only the folder
/// is resolved: a link that is put in a plugin's place has its entry.
fn key(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return path.display().to_string(),
    };
    let real = parent.canonicalize().unwrap_or_else(|_| parent.to_owned());
    let shipped = super::discovery::plugin_folders()
        .into_iter()
        .filter_map(|folder| folder.canonicalize().ok())
        .find_map(|folder| Some(real.strip_prefix(folder).ok()?.join(name)));
    if let Some(inside) = shipped {
        return format!("{SHIPPED}{}", inside.display());
    }
    let here = std::env::current_dir()
        .and_then(|here| here.canonicalize())
        .ok();
    let inside = here.and_then(|here| Some(real.strip_prefix(here).ok()?.join(name)));
    inside
        .unwrap_or_else(|| real.join(name))
        .display()
        .to_string()
}

/// Whether an entry is what a user calls a shipped plugin: `codebleu`.
fn is_name(entry: &str) -> bool {
    Path::new(entry).components().count() == 1 && Path::new(entry).extension().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches entries that never match since they are spelt otherwise.
    #[test]
    fn spellings_of_a_path_are_one_entry() {
        assert_eq!(key(Path::new("src/lib.rs")), "src/lib.rs");
        assert_eq!(key(Path::new("./src/../src/lib.rs")), "src/lib.rs");
        let absolute = std::env::current_dir().expect("there is one");
        assert_eq!(key(&absolute.join("src/lib.rs")), "src/lib.rs");
        assert!(is_name("codebleu"));
        assert!(!is_name("codebleu.wasm") && !is_name("metrics/codebleu"));
    }
}
