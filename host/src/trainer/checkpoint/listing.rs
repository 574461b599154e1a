//! What a checkpoint is made of, so that one that is not whole is known for it.
//!
//! A checkpoint is written beside its place and renamed, so a run that is ended leaves whole ones.
//! Disks, copies and people do not: `checkpoint.json`, written last, lists every file with its
//! size and SHA-256, and what differs from it is named before anything is loaded.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Error, STATE};
use crate::models::weights;

/// The list, in a checkpoint's folder.
const LISTING: &str = "checkpoint.json";

/// Lists the files of a folder that has everything else.
///
/// # Errors
/// A file can't be read, or the list not be written.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    let mut files = Map::new();
    for name in names(folder)? {
        let path = folder.join(&name);
        let bytes = path.metadata()?.len();
        files.insert(name, json!({ "bytes": bytes, "sha256": hash(&path)? }));
    }
    weights::write_json(&folder.join(LISTING), &json!({ "files": files }))
}

/// Compares a checkpoint with its list.
///
/// # Errors
/// [`Error::BrokenCheckpoint`], with the first file that is missing or changed.
pub fn check(folder: &Path) -> Result<(), Error> {
    let broken = |message: String| Error::BrokenCheckpoint {
        folder: folder.into(),
        message,
    };
    let text = fs::read_to_string(folder.join(LISTING)).map_err(|error| {
        broken(format!(
            "it was not written to its end: `{LISTING}`: {error}"
        ))
    })?;
    let list: Value = serde_json::from_str(&text)
        .map_err(|error| broken(format!("`{LISTING}` is not JSON: {error}")))?;
    let files = list.get("files").and_then(Value::as_object);
    let files = files
        .filter(|files| files.contains_key(STATE))
        .ok_or_else(|| broken(format!("`{LISTING}` does not list `{STATE}`")))?;
    for (name, expected) in files {
        let path = folder.join(name);
        let bytes = path
            .metadata()
            .map_err(|error| broken(format!("`{name}`: {error}")))?
            .len();
        let listed = expected.get("bytes").and_then(Value::as_u64);
        if listed != Some(bytes) {
            let listed = listed.map_or("no size".to_owned(), |bytes| bytes.to_string());
            return Err(broken(format!(
                "`{name}` has {bytes} bytes, and {listed} when it was written"
            )));
        }
        let found = hash(&path).map_err(|error| broken(format!("`{name}`: {error}")))?;
        if expected.get("sha256").and_then(Value::as_str) != Some(&found) {
            return Err(broken(format!(
                "`{name}` is not as it was written: its SHA-256 differs"
            )));
        }
    }
    Ok(())
}

/// The checkpoints of an output folder, whole or not, with their steps, oldest first.
pub fn all(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbered: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?;
            // Other people's folders may have such names as well.
            let ours = [STATE, LISTING].map(|file| entry.path().join(file).is_file());
            ours.contains(&true).then(|| (number, entry.path()))
        })
        .collect();
    numbered.sort();
    numbered
}

/// The newest whole checkpoint of an output folder, and what is wrong with each that is newer.
pub fn newest(folder: &Path) -> (Option<PathBuf>, Vec<Error>) {
    let mut broken = Vec::new();
    for (_, checkpoint) in all(folder).into_iter().rev() {
        match check(&checkpoint) {
            Ok(()) => return (Some(checkpoint), broken),
            Err(error) => broken.push(error),
        }
    }
    (None, broken)
}

/// Files below a folder, as paths with `/`, sorted.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.file_type()?.is_dir() {
                true => folders.push((entry.path(), format!("{name}/"))),
                false => found.push(name),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// SHA-256 of a file, hexadecimal.
fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => hash.update(&block[..read]),
        }
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint of two files, changed; what is then said of it.
    fn check_changed(change: impl Fn(&Path), expected: &str) {
        let root = tempfile::tempdir().expect("temporary folder");
        let folder = root.path().join("checkpoint-3");
        fs::create_dir_all(folder.join("value")).expect("made");
        fs::write(folder.join(STATE), "{}").expect("written");
        fs::write(folder.join("value/model.safetensors"), [1, 2, 3]).expect("written");
        write(&folder).expect("written");
        check(&folder).expect("it is whole");
        change(&folder);
        let found = check(&folder).expect_err("it is not whole").to_string();
        assert!(
            found.contains("checkpoint-3`: ") && found.contains(expected),
            "{found}"
        );
        let (whole, broken) = newest(root.path());
        assert_eq!((whole, broken.len()), (None, 1));
    }

    // Would catch damage that is loaded, or that nobody can find.
    #[test]
    fn damage_is_named() {
        let file = "value/model.safetensors";
        check_changed(
            |folder| fs::write(folder.join(file), [1, 2]).expect("written"),
            "`value/model.safetensors` has 2 bytes, and 3 when it was written",
        );
        check_changed(
            |folder| fs::write(folder.join(file), [1, 2, 4]).expect("written"),
            "`value/model.safetensors` is not as it was written",
        );
        check_changed(
            |folder| fs::remove_file(folder.join(file)).expect("removed"),
            "`value/model.safetensors`: No such file",
        );
        check_changed(
            |folder| fs::remove_file(folder.join(LISTING)).expect("removed"),
            "it was not written to its end: `checkpoint.json`",
        );
        check_changed(
            |folder| fs::write(folder.join(LISTING), "{\"files\": {").expect("written"),
            "`checkpoint.json` is not JSON",
        );
        check_changed(
            |folder| fs::write(folder.join(LISTING), "{\"files\": {}}").expect("written"),
            "`checkpoint.json` does not list `trainer_state.json`",
        );
    }

    // Would catch an order by text, in which 9 comes after 10, and a folder of somebody else's.
    #[test]
    fn the_newest_has_the_most_steps() {
        let root = tempfile::tempdir().expect("temporary folder");
        for step in [9, 10, 11] {
            let folder = root.path().join(format!("checkpoint-{step}"));
            fs::create_dir(&folder).expect("made");
            fs::write(folder.join(STATE), "{}").expect("written");
            if step < 11 {
                write(&folder).expect("written");
            }
        }
        fs::create_dir(root.path().join("checkpoint-12")).expect("made");
        let steps: Vec<u64> = all(root.path()).iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [9, 10, 11]);
        let (whole, broken) = newest(root.path());
        assert_eq!(whole, Some(root.path().join("checkpoint-10")));
        assert!(broken[0].to_string().contains("checkpoint-11"));
    }
}
