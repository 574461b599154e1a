//! Files that are whole: written beside their place, to the disk, and renamed there. Neither an
//! end of the process nor one of the machine leaves half a file under its name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Ending of a file that is not yet in its place.
const BESIDE: &str = "tmp";

/// Puts a file with this content in the place of what is there.
///
/// # Errors
/// The folder can't be written, or the disk is full; what was there before is then still there.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    // Two processes may write the same file of a cache.
    name.push(format!(".{}.{BESIDE}", std::process::id()));
    let beside = PathBuf::from(name);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Takes away what a process that was ended was writing into a folder. Nobody else may be at it.
///
/// # Errors
/// The folder can't be read, or a file not be removed.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut parts = name.rsplit('.');
        let ours = parts.next() == Some(BESIDE)
            && parts
                .next()
                .is_some_and(|process| process.parse::<u32>().is_ok());
        if ours && path.is_file() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a failure that loses what was there, and one that leaves something behind.
    #[test]
    fn a_file_is_the_old_one_or_the_new() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("summary.json");
        let names = || {
            let entries = fs::read_dir(folder.path()).expect("read");
            let mut names: Vec<String> = entries
                .map(|entry| {
                    entry
                        .expect("an entry")
                        .file_name()
                        .to_string_lossy()
                        .into()
                })
                .collect();
            names.sort();
            names
        };
        for content in ["one", "another"] {
            replace(&path, content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("read"), content);
        }
        assert_eq!(names(), ["summary.json"]);
        // A folder is no place for a file.
        fs::create_dir_all(folder.path().join("full/inside")).expect("made");
        replace(&folder.path().join("full"), b"x").expect_err("there is a folder");
        for name in ["a.json.77.tmp", "own.tmp"] {
            fs::write(folder.path().join(name), "half").expect("written");
        }
        remove_unfinished(folder.path()).expect("removed");
        assert_eq!(names(), ["full", "own.tmp", "summary.json"]);
    }
}
