//! What a run allows a plugin. A component's imports are its request.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Component, Error, Kind};

/// A capability that a plugin has only if the run grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    /// Token embeddings of the run's encoder model.
    Encoder,
    /// Execution of code in a sandbox of its own.
    Sandbox,
}

impl Grant {
    pub const ALL: [Grant; 2] = [Grant::Encoder, Grant::Sandbox];

    /// The grant of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Grant::Encoder => "encoder",
            Grant::Sandbox => "sandbox",
        }
    }
}

/// Refuses a component that asks for more than it may have.
///
/// # Errors
/// The first import that is neither always there nor granted, by name.
pub fn check(component: &Component, granted: &BTreeSet<Grant>) -> Result<(), Error> {
    for import in &component.imports {
        let unknown = |hint: &str| Error::UnknownInterface {
            plugin: component.label(),
            interface: import.clone(),
            hint: hint.to_owned(),
        };
        if let Some(wasi) = import.strip_prefix("wasi:") {
            // Linked, and empty. 0.3 is another ABI.
            if wasi
                .split_once('@')
                .is_some_and(|(_, version)| version.starts_with("0.2."))
            {
                continue;
            }
            return Err(unknown("plugins use WASI 0.2; build for wasm32-wasip2"));
        }
        let interface = import
            .strip_prefix("rlhf:plugin/")
            .map(|rest| rest.split('@').next().unwrap_or(rest));
        match interface {
            // Types only, or harmless.
            Some("types" | "log" | "values") => continue,
            Some("source") if component.kind == Kind::DataAdapter => continue,
            _ => {}
        }
        let grant = interface.and_then(Grant::named);
        match grant {
            Some(grant) if granted.contains(&grant) => {
                return Err(unknown("this version of rlhf has no such service yet"));
            }
            Some(grant) => {
                return Err(Error::NotGranted {
                    plugin: component.label(),
                    interface: import.clone(),
                    short: grant.name().to_owned(),
                });
            }
            None => {
                return Err(unknown(
                    "plugins may import rlhf:plugin interfaces and WASI 0.2",
                ));
            }
        }
    }
    Ok(())
}
