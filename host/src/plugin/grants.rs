//! What a run allows a plugin. A component's imports are its request.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::host::{Granted, Services};
use super::{Component, Error, Kind};

/// A capability that a plugin has only if the run grants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Token embeddings of the run's encoder model.
    Encoder,
    /// Execution of code in a sandbox of its own.
    Sandbox,
    /// The files of one folder, read-only.
    Folder(PathBuf),
}

/// For messages: what can be granted.
pub const GRANTS: &str = "grants are encoder, sandbox and folder:PATH";

impl Grant {
    /// The grant as it is written: `encoder`, `sandbox`, `folder:PATH`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "encoder" => Some(Grant::Encoder),
            "sandbox" => Some(Grant::Sandbox),
            _ => text
                .strip_prefix("folder:")
                .filter(|path| !path.is_empty())
                .map(|path| Grant::Folder(PathBuf::from(path))),
        }
    }

    /// Name of the interface it opens.
    fn interface(&self) -> &'static str {
        match self {
            Grant::Encoder => "encoder",
            Grant::Sandbox => "sandbox",
            Grant::Folder(_) => "folder",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Folder(path) => write!(f, "folder:{}", path.display()),
            other => f.write_str(other.interface()),
        }
    }
}

/// What the user has to write to grant an interface.
fn flag(interface: &str) -> &str {
    if interface == "folder" {
        "folder:PATH"
    } else {
        interface
    }
}

/// What a component gets without asking the user, since it was built with this
/// binary. The list is made at build time and holds the bytes' hash, so that
/// nothing else can take a shipped plugin's place and have its grants.
pub fn first_party(component: &Component) -> BTreeSet<Grant> {
    first_party_in(
        include_str!(concat!(env!("OUT_DIR"), "/first-party.txt")),
        &component.sha256,
    )
}

fn first_party_in(list: &str, sha256: &str) -> BTreeSet<Grant> {
    list.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(hash, _)| *hash == sha256)
        .flat_map(|(_, grants)| grants.split(','))
        .filter_map(Grant::parse)
        .collect()
}

/// Interfaces that a component asks for and that have to be granted.
pub fn requests(component: &Component) -> Vec<&'static str> {
    let asks = |name: &&str| {
        component
            .imports
            .iter()
            .any(|import| interface_of(import) == Some(name))
    };
    ["encoder", "sandbox", "folder"]
        .into_iter()
        .filter(asks)
        .collect()
}

fn interface_of(import: &str) -> Option<&str> {
    let rest = import.strip_prefix("rlhf:plugin/")?;
    Some(rest.split('@').next().unwrap_or(rest))
}

/// Refuses a component that asks for more than it may have, and puts together
/// what it gets.
///
/// # Errors
/// The first import that is neither always there nor granted, by name; a grant
/// behind which the run has nothing.
pub fn check(
    component: &Component,
    granted: &BTreeSet<Grant>,
    services: &Services,
) -> Result<Granted, Error> {
    for import in &component.imports {
        let unknown = |hint: &str| Error::UnknownInterface {
            plugin: component.label(),
            interface: import.clone(),
            hint: hint.to_owned(),
        };
        if let Some(wasi) = import.strip_prefix("wasi:") {
            // Linked, and empty.
            let version = wasi.split_once('@').map(|(_, version)| version);
            if version.is_some_and(|version| version.starts_with("0.2.")) {
                continue;
            }
            return Err(unknown("plugins use WASI 0.2; build for wasm32-wasip2"));
        }
        let offered: &[&str] = match component.kind {
            Kind::Metric | Kind::RewardShaper => &["encoder", "sandbox"],
            Kind::DataAdapter => &["source", "folder"],
            Kind::CodeRunner => &["candidate"],
        };
        match interface_of(import) {
            // Types only, or harmless.
            Some("types" | "log" | "values") => {}
            Some(interface) if offered.contains(&interface) => {
                let needs_grant = !matches!(interface, "source" | "candidate");
                let has = granted.iter().any(|grant| grant.interface() == interface);
                if needs_grant && !has && !services.refuses() {
                    return Err(Error::NotGranted {
                        plugin: component.label(),
                        interface: import.clone(),
                        flag: flag(interface).to_owned(),
                    });
                }
            }
            _ => {
                return Err(unknown(&format!(
                    "a {} may import log, {} and WASI 0.2",
                    component.kind,
                    offered.join(", ")
                )));
            }
        }
    }
    let asked = requests(component);
    let mut put = Granted::default();
    if services.refuses() {
        put.encoder = services.encoder()?;
        put.sandbox = services.sandbox()?;
        return Ok(put);
    }
    for grant in granted {
        if !asked.contains(&grant.interface()) {
            continue;
        }
        let nothing = |hint: &str| Error::NotOffered {
            plugin: component.label(),
            grant: grant.to_string(),
            hint: hint.to_owned(),
        };
        match grant {
            Grant::Encoder => {
                let hint =
                    "name a BERT or RoBERTa with `--encoder MODEL`: a folder, or a name on the hub";
                put.encoder = Some(services.encoder()?.ok_or_else(|| nothing(hint))?);
            }
            Grant::Sandbox => {
                let hint = "add a code runner with `--plugin RUNNER.wasm`";
                put.sandbox = Some(services.sandbox()?.ok_or_else(|| nothing(hint))?);
            }
            Grant::Folder(path) => {
                let folder = cap_std::fs::Dir::open_ambient_dir(path, cap_std::ambient_authority());
                let folder = folder.map_err(|error| {
                    nothing(&format!("`{}` can't be opened: {error}", path.display()))
                })?;
                put.folder = Some(folder.into());
            }
        }
    }
    Ok(put)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch grants that go to a name, or to the wrong bytes.
    #[test]
    fn first_party_grants_belong_to_bytes() {
        let list = "aa encoder\nbb sandbox,encoder\n";
        assert_eq!(
            first_party_in(list, "bb"),
            BTreeSet::from([Grant::Sandbox, Grant::Encoder])
        );
        assert_eq!(first_party_in(list, "b"), BTreeSet::new());
        assert_eq!(first_party_in(list, "cc"), BTreeSet::new());
    }

    // Would catch a grant that is written in one way and read in another.
    #[test]
    fn grants_are_read_as_they_are_written() {
        for text in ["encoder", "sandbox", "folder:data/shards"] {
            assert_eq!(
                Grant::parse(text).map(|grant| grant.to_string()).as_deref(),
                Some(text)
            );
        }
        for text in ["", "files", "folder", "folder:"] {
            assert_eq!(Grant::parse(text), None, "{text}");
        }
    }
}
