//! One version of the contract: its folder's files, their hash, their meaning.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use semver::Version;
use sha2::{Digest, Sha256};
use wit_parser::{PackageId, Resolve, SourceMap};

/// Name of the package that every version declares.
pub const PACKAGE: &str = "rlhf:plugin";

/// Versions that promise compatibility among themselves: `0.1.x`, `1.x`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line(u64, u64, u64);

impl Line {
    /// Semantic versioning's lines: the first number that isn't 0 breaks.
    pub fn of(version: &Version) -> Self {
        match (version.major, version.minor) {
            (0, 0) => Self(0, 0, version.patch),
            (0, minor) => Self(0, minor, 0),
            (major, _) => Self(major, 0, 0),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(0, 0, patch) => write!(formatter, "0.0.{patch}"),
            Self(0, minor, _) => write!(formatter, "0.{minor}.x"),
            Self(major, ..) => write!(formatter, "{major}.x"),
        }
    }
}

/// A version as folders and commands spell it.
///
/// # Errors
/// It isn't three numbers with dots between them.
pub fn version(text: &str) -> Result<Version> {
    match Version::parse(text) {
        Ok(version) if version.pre.is_empty() && version.build.is_empty() => Ok(version),
        _ => bail!("version `{text}`: expected three numbers, such as 0.1.1"),
    }
}

/// The files of a version's folder, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files(Vec<(String, String)>);

impl Files {
    /// Of texts in memory.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut files: Vec<(String, String)> = files.into_iter().collect();
        files.sort();
        Self(files)
    }

    /// Reads a folder. Lines end with a line feed, whatever a checkout made of
    /// them: the hash must be the same on every system.
    ///
    /// # Errors
    /// The folder can't be read, holds no `.wit` file, or holds anything else:
    /// the hash would have to say whether that belongs to the contract, and the
    /// contract depends on no other package.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            if !path.is_file() || path.extension().is_none_or(|extension| extension != "wit") {
                bail!("{}: expected nothing but .wit files", path.display());
            }
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.push((name.into_owned(), text.replace("\r\n", "\n")));
        }
        if files.is_empty() {
            bail!(
                "{}: expected .wit files, found an empty folder",
                folder.display()
            );
        }
        Ok(Self::new(files))
    }

    /// Names and texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// See [`hash`].
    pub fn sha256(&self) -> String {
        hash(self.iter().map(|(name, text)| (name, text.as_bytes())))
    }

    /// Where a file doesn't declare the package with this version, one line each.
    /// Every file declares it, though one would do: files are read alone, too.
    pub fn wrong_packages(&self, version: &Version) -> Vec<String> {
        let expected = format!("package {PACKAGE}@{version};");
        let mut wrong = Vec::new();
        for (name, text) in self.iter() {
            let mut declared = false;
            for (at, line) in text.lines().enumerate() {
                if line.starts_with("package ") {
                    declared = true;
                    if line.trim_end() != expected {
                        wrong.push(format!(
                            "{name}, line {}: expected `{expected}`, found `{}`",
                            at + 1,
                            line.trim_end()
                        ));
                    }
                }
            }
            if !declared {
                wrong.push(format!("{name}: expected `{expected}`, found no package"));
            }
        }
        wrong
    }

    /// The same files declared as another version.
    #[must_use]
    pub fn renumbered(&self, old: &Version, new: &Version) -> Self {
        let old = format!("package {PACKAGE}@{old};");
        let new = format!("package {PACKAGE}@{new};");
        Self::new(
            self.iter()
                .map(|(name, text)| (name.to_owned(), text.replace(&old, &new))),
        )
    }
}

/// SHA-256 over named contents, lower case hexadecimal: of each, in order of
/// names, the name's length and bytes, the content's length and bytes, lengths
/// as 8 bytes with the lowest first. Lengths keep a byte from moving between a
/// name, its content and the next file unseen.
pub fn hash<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut files: Vec<(&str, &[u8])> = files.into_iter().collect();
    files.sort();
    let mut hasher = Sha256::new();
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a version's files mean.
#[derive(Debug)]
pub struct Contract {
    pub(super) resolve: Resolve,
    pub(super) package: PackageId,
}

impl Contract {
    /// Parses a version's files.
    ///
    /// # Errors
    /// They are no valid WIT; the message points at the place.
    pub fn parse(files: &Files) -> Result<Self> {
        let mut sources = SourceMap::new();
        for (name, text) in files.iter() {
            sources.push_str(name, text);
        }
        let group = sources
            .parse()
            .map_err(|(sources, error)| anyhow::anyhow!("{}", error.render(&sources)))?;
        let mut resolve = Resolve::new();
        let package = resolve
            .push_group(group)
            .map_err(|error| anyhow::anyhow!("{}", resolve.render_error(&error.into())))?;
        Ok(Self { resolve, package })
    }

    /// Names of its worlds.
    pub fn worlds(&self) -> impl Iterator<Item = &str> {
        self.resolve.packages[self.package]
            .worlds
            .keys()
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Files {
        Files::new(
            files
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned())),
        )
    }

    // Catches lines of compatibility that differ from semantic versioning's.
    #[test]
    fn versions_have_lines() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Line::of(&version(text).unwrap()).to_string(), expected);
        };
        check("0.1.0", "0.1.x");
        check("0.1.7", "0.1.x");
        check("0.2.0", "0.2.x");
        check("1.4.2", "1.x");
        check("0.0.3", "0.0.3");
        for wrong in ["0.1", "v0.1.0", "0.1.0-rc.1", ""] {
            let error = version(wrong).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("version `{wrong}`: expected three numbers, such as 0.1.1")
            );
        }
    }

    // Catches a hash that depends on the order of a directory's entries, one that
    // other systems don't reproduce, and one that bytes can move under.
    #[test]
    fn the_hash_is_of_names_lengths_and_contents() {
        let hashed = files(&[("b.wit", "two\n"), ("a.wit", "one\n")]).sha256();
        assert_eq!(
            hashed,
            files(&[("a.wit", "one\n"), ("b.wit", "two\n")]).sha256()
        );
        // printf '\5\0\0\0\0\0\0\0a.wit\4\0\0\0\0\0\0\0one\n\5\0\0\0\0\0\0\0b.wit\4\0\0\0\0\0\0\0two\n' | sha256sum
        assert_eq!(
            hashed,
            "2cf31ecb542c3b1909ab94fadc450f2ab43ec005f6742b60d2a0d1b423f5a0c2"
        );
        let others: [&[(&str, &str)]; 4] = [
            &[("a.wit", "one\nb.wit"), ("b.wit", "two\n")],
            &[("a.wit", "one\n"), ("c.wit", "two\n")],
            &[("a.wit", "one\n")],
            &[("a.wit", "one"), ("b.wit", "\ntwo\n")],
        ];
        for other in others {
            assert_ne!(files(other).sha256(), hashed, "{other:?}");
        }
    }

    // Catches a folder whose files were copied and not renumbered.
    #[test]
    fn every_file_carries_the_version() {
        let check = |text: &str, expected: &[&str]| {
            let version = version("0.1.1").unwrap();
            assert_eq!(
                files(&[("a.wit", text)]).wrong_packages(&version),
                expected,
                "{text}"
            );
        };
        check("/// package docs\npackage rlhf:plugin@0.1.1;\n", &[]);
        check(
            "package rlhf:plugin@0.1.0;\n",
            &[
                "a.wit, line 1: expected `package rlhf:plugin@0.1.1;`, found `package rlhf:plugin@0.1.0;`",
            ],
        );
        check(
            "\npackage rlhf:other@0.1.1;\n",
            &[
                "a.wit, line 2: expected `package rlhf:plugin@0.1.1;`, found `package rlhf:other@0.1.1;`",
            ],
        );
        check(
            "interface log {}\n",
            &["a.wit: expected `package rlhf:plugin@0.1.1;`, found no package"],
        );
    }
}
