//! Versions of the contract between `rlhf` and its plugins.
//!
//! `wit/VERSION` holds a version, `wit/releases.toml` says which are released,
//! `tests/sdk/kept/VERSION` holds components built against a released one. A
//! released version never changes, a later one of its line is a superset of it,
//! and its components stay. [`check`] proves all of that; [`freeze`] turns a
//! draft into a release, [`new`] opens the next draft.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use semver::Version;

pub mod contract;
pub mod kept;
pub mod releases;
pub mod superset;

use contract::{Contract, Files, Line, version};
use kept::Components;
use releases::{Promise, Release};

/// Where versions, releases and kept components lie.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of the repository with this root.
    pub fn of(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn version(&self, version: &Version) -> PathBuf {
        self.root.join("wit").join(version.to_string())
    }

    fn releases(&self) -> PathBuf {
        self.root.join("wit/releases.toml")
    }

    fn readme(&self) -> PathBuf {
        self.root.join("wit/README.md")
    }

    /// Where the sources of kept components lie, and a folder a version.
    pub fn kept(&self) -> PathBuf {
        self.root.join("tests/sdk/kept")
    }

    fn kept_of(&self, version: &Version) -> PathBuf {
        self.kept().join(version.to_string())
    }

    fn read(&self) -> Result<(String, Vec<Release>)> {
        let path = self.releases();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let releases = releases::parse(&text).with_context(|| path.display().to_string())?;
        Ok((text, releases))
    }
}

/// Proves the rules for all versions.
///
/// # Errors
/// Everything that breaks a rule, one line each.
pub fn check(layout: &Layout) -> Result<Vec<Release>> {
    let (_, releases) = layout.read()?;
    let mut found = listing(layout, &releases)?;
    let mut contracts = BTreeMap::new();
    for release in &releases {
        let folder = layout.version(&release.version);
        if !folder.is_dir() {
            continue;
        }
        match contract(layout, release, &mut found) {
            Ok(contract) => {
                contracts.insert(release.version.clone(), contract);
            }
            Err(error) => found.push(format!("wit/{}: {error:#}", release.version)),
        }
    }
    let mut sorted: Vec<&Release> = releases.iter().collect();
    sorted.sort_by(|a, b| a.version.cmp(&b.version));
    // Neighbours are enough: a superset of a superset is one.
    for pair in sorted.windows(2) {
        let (old, new) = (&pair[0].version, &pair[1].version);
        if Line::of(old) != Line::of(new) {
            continue;
        }
        if pair[0].released.is_none() {
            found.push(format!(
                "wit/{old}: expected a released version before {new}, found a draft"
            ));
        }
        if let (Some(before), Some(after)) = (contracts.get(old), contracts.get(new)) {
            for difference in superset::differences(before, after) {
                found.push(format!("wit/{new}, against {old}: {difference}"));
            }
        }
    }
    if found.is_empty() {
        Ok(releases)
    } else {
        bail!("{}", found.join("\n"))
    }
}

/// Folders without an entry, entries without a folder, and versions about which
/// the README says something else.
fn listing(layout: &Layout, releases: &[Release]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let listed = |name: &str| {
        releases
            .iter()
            .any(|release| release.version.to_string() == name)
    };
    for (folder, shown) in [
        (layout.root.join("wit"), "wit"),
        (layout.kept(), "tests/sdk/kept"),
    ] {
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            if path.is_dir() {
                names.push(path.file_name().unwrap_or_default().to_owned());
            }
        }
        names.sort();
        for name in names {
            let name = name.to_string_lossy();
            if !listed(&name) {
                found.push(format!(
                    "{shown}/{name}: expected an entry in wit/releases.toml, found none"
                ));
            }
        }
    }
    let path = layout.readme();
    let readme = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for release in releases {
        let (version, status) = (&release.version, release.status());
        if !layout.version(version).is_dir() {
            found.push(format!(
                "wit/releases.toml: version {version} has no folder wit/{version}"
            ));
        }
        let start = format!("| {version} |");
        match readme.lines().find(|line| line.starts_with(&start)) {
            Some(row) if row.contains(status) => {}
            Some(row) => found.push(format!(
                "wit/README.md: expected version {version} as {status}, found `{row}`"
            )),
            None => found.push(format!(
                "wit/README.md: expected a row `{start} …` in its table, found none"
            )),
        }
    }
    Ok(found)
}

/// A version by itself: package, hash, kept components.
fn contract(layout: &Layout, release: &Release, found: &mut Vec<String>) -> Result<Contract> {
    let version = &release.version;
    let files = Files::read(&layout.version(version))?;
    for wrong in files.wrong_packages(version) {
        found.push(format!("wit/{version}/{wrong}"));
    }
    let kept_at = format!("tests/sdk/kept/{version}");
    if let Some(promise) = &release.released {
        let hash = files.sha256();
        if hash != promise.sha256 {
            found.push(format!(
                "wit/{version}: expected sha256 {}, found {hash}: a released version never changes\n\
                 hint: put it back, and open a new folder for the change: `cargo xtask wit new`",
                promise.sha256
            ));
        }
    }
    let contract = Contract::parse(&files)?;
    let folder = layout.kept_of(version);
    match (&release.released, folder.is_dir()) {
        (Some(promise), true) => {
            let components = kept::read(&folder)?;
            for problem in kept::problems(&contract, version, &components) {
                found.push(format!("{kept_at}/{problem}"));
            }
            let hash = kept::sha256(&components);
            if hash != promise.kept_sha256 {
                found.push(format!(
                    "{kept_at}: expected sha256 {}, found {hash}: kept components are never built again\n\
                     hint: put them back",
                    promise.kept_sha256
                ));
            }
        }
        (Some(_), false) => found.push(format!(
            "{kept_at}: expected components built when {version} was released, found no folder"
        )),
        (None, true) => found.push(format!(
            "{kept_at}: expected nothing for a draft, found a folder\n\
             hint: remove it; freezing the version makes it"
        )),
        (None, false) => {}
    }
    Ok(contract)
}

/// Turns a draft into a release. `build` makes components of the kinds it is
/// given, as [`kept::build`] does. Returns what is left to do by hand.
///
/// # Errors
/// There is no such draft, a rule is broken (see [`check`]), or a component
/// can't be built. Nothing is released then.
pub fn freeze(
    layout: &Layout,
    name: &str,
    date: toml::value::Datetime,
    build: impl FnOnce(&[String]) -> Result<Components>,
) -> Result<String> {
    let version = version(name)?;
    let releases = check(layout)?;
    let Some(release) = releases.iter().find(|release| release.version == version) else {
        bail!("version {version}: expected one of wit/releases.toml, found no such entry");
    };
    if let Some(promise) = &release.released {
        bail!(
            "version {version}: expected a draft, found a version released on {}\n\
             hint: changes go into a new folder: `cargo xtask wit new`",
            promise.date
        );
    }
    let files = Files::read(&layout.version(&version))?;
    let contract = Contract::parse(&files)?;
    let kinds: Vec<String> = contract
        .worlds()
        .map(|world| kept::kind(world).to_owned())
        .collect();
    let components = build(&kinds)?;
    let problems = kept::problems(&contract, &version, &components);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let promise = Promise {
        date,
        sha256: files.sha256(),
        kept_sha256: kept::sha256(&components),
    };
    let (text, _) = layout.read()?;
    let text = releases::with_release(&text, &version, &promise)?;
    kept::write(&layout.kept_of(&version), &components)?;
    // Last: without it nothing has been released.
    let path = layout.releases();
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(format!(
        "{version} is released and never changes again\n\
         say so in wit/README.md: its row in the table becomes `released`\n\
         commit together: wit/{version}, wit/releases.toml, wit/README.md, tests/sdk/kept/{version}"
    ))
}

/// Opens a draft: a copy of the last version before it, renumbered. Returns
/// what is left to do by hand.
///
/// # Errors
/// The version exists, isn't the last of its line, or follows a draft; a draft
/// can still be changed itself.
pub fn new(layout: &Layout, name: &str) -> Result<String> {
    let version = version(name)?;
    let (text, mut releases) = layout.read()?;
    releases.sort_by(|a, b| a.version.cmp(&b.version));
    if let Some(present) = (releases.iter().rev()).find(|release| {
        release.version >= version && Line::of(&release.version) == Line::of(&version)
    }) {
        bail!(
            "version {version}: expected one after {}, the last of its line",
            present.version
        );
    }
    let Some(last) = releases.iter().rfind(|release| release.version < version) else {
        bail!("version {version}: expected a version before it, found none");
    };
    if last.released.is_none() {
        bail!(
            "version {version}: expected a released version before it, found the draft {}\n\
             hint: a draft may change: edit wit/{}",
            last.version,
            last.version
        );
    }
    let files = Files::read(&layout.version(&last.version))?.renumbered(&last.version, &version);
    // What refers to its own package by number wouldn't be found any more.
    Contract::parse(&files)
        .with_context(|| format!("wit/{}, renumbered to {version}", last.version))?;
    let folder = layout.version(&version);
    fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    for (name, text) in files.iter() {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    let path = layout.releases();
    fs::write(&path, releases::with_draft(&text, &version))
        .with_context(|| path.display().to_string())?;
    Ok(format!(
        "wit/{version} is a copy of {}, to be changed\n\
         give it a row in the table of wit/README.md: `| {version} | … | draft |`",
        last.version
    ))
}
