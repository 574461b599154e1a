//! The hub's cache: `models--owner--name/{blobs,refs,snapshots}`, a snapshot's files being links
//! to blobs that are named by their hash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One model's part of the cache.
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(super) fn of(cache: &Path, name: &str) -> Self {
        Self {
            root: cache.join(format!("models--{}", name.replace('/', "--"))),
        }
    }

    /// The folder of the commit that `main` was when it was last fetched.
    pub(super) fn snapshot(&self) -> Option<PathBuf> {
        let commit = fs::read_to_string(self.root.join("refs/main")).ok()?;
        let commit = commit.trim();
        let plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
        plain.then(|| self.folder(commit)).filter(|f| f.is_dir())
    }

    pub(super) fn folder(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Where a file's bytes lie.
    pub(super) fn blob(&self, hash: &str) -> PathBuf {
        self.root.join("blobs").join(hash)
    }

    /// Notes that `main` is this commit.
    pub(super) fn set_main(&self, commit: &str) -> io::Result<()> {
        let refs = self.root.join("refs");
        fs::create_dir_all(&refs)?;
        fs::write(refs.join("main"), commit)
    }

    /// Gives a blob its name in a snapshot.
    pub(super) fn link(&self, hash: &str, commit: &str, file: &str) -> io::Result<PathBuf> {
        let folder = self.folder(commit);
        fs::create_dir_all(&folder)?;
        let path = folder.join(file);
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path)?;
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(Path::new("../../blobs").join(hash), &path)?;
        // Links need a privilege elsewhere; a second name for the same bytes does not.
        #[cfg(not(unix))]
        fs::hard_link(self.blob(hash), &path)?;
        Ok(path)
    }
}
