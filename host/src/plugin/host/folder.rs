//! `rlhf:plugin/folder`: a folder that the run granted a data adapter, read-only.
//!
//! It is a capability of cap-std: paths are resolved inside it, and neither
//! `..` nor a symbolic link leads out.

use cap_std::fs::Dir;
use wasmtime::component::Resource;

use super::source::Source;
use crate::plugin::bindings::v0_1::{folder, types};
use crate::plugin::instance::State;

/// Entries of a folder that are listed.
const ENTRIES_MAX: usize = 100_000;

impl State {
    fn in_folder<T>(
        &mut self,
        path: &str,
        call: impl FnOnce(&Dir, &str) -> std::io::Result<T>,
    ) -> Result<T, types::Error> {
        let refused = |code: &str, message: String| types::Error {
            code: code.to_owned(),
            message,
        };
        let Some(folder) = self.granted.folder.clone() else {
            return Err(refused("not-granted", "the run granted no folder".into()));
        };
        let inside = if path.is_empty() { "." } else { path };
        self.in_host(|_| call(&folder, inside))
            .map_err(|error| refused("cannot-read", format!("`{path}`: {error}")))
    }
}

impl folder::Host for State {
    fn entries(
        &mut self,
        path: String,
    ) -> wasmtime::Result<Result<Vec<folder::Entry>, types::Error>> {
        Ok(self.in_folder(&path, |folder, path| {
            let mut entries = Vec::new();
            for entry in folder.read_dir(path)?.take(ENTRIES_MAX) {
                let entry = entry?;
                // A name that is no text can't be opened by one either.
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let is_folder = entry.file_type()?.is_dir();
                entries.push(folder::Entry { name, is_folder });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        }))
    }

    fn open(&mut self, path: String) -> wasmtime::Result<Result<Resource<Source>, types::Error>> {
        let opened = self.in_folder(&path, |folder, path| {
            // Asked first: opening a pipe would wait for somebody to write to it.
            if !folder.metadata(path)?.is_file() {
                return Err(std::io::Error::other("is not a file"));
            }
            Source::new(folder.open(path)?)
        });
        match opened {
            Ok(source) => Ok(Ok(self.table.push(source)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}
