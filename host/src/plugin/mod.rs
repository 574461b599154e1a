//! The plugin runtime: WebAssembly components against the WIT worlds in `wit/`.
//!
//! A plugin gets values and returns values, and can do nothing else: WASI is
//! linked empty, and every `rlhf:*` interface it imports must be granted. It
//! costs a sample at worst, never a run: failures are values ([`Failure`]).
//!
//! On the way of a plugin: [`discovery`] finds the file a user names,
//! [`component`] checks and compiles it (or takes the compiled code from the
//! cache), [`lock`] and [`grants`] decide about it, and [`metric`],
//! [`reward_shaper`], [`data_adapter`] and [`code_runner`] are the typed fronts
//! through which the rest of the host calls it. What they have in common is in
//! `world`; [`instance`] holds what one instance may use, and [`host`] what the
//! run puts behind the interfaces a plugin imports. This module knows no tensors.

pub mod bindings;
pub mod code_runner;
pub mod component;
pub mod conformance;
pub mod data_adapter;
pub mod discovery;
pub mod engine;
pub mod failure;
pub mod grants;
pub mod host;
pub mod instance;
pub mod limits;
pub mod lock;
pub mod metric;
mod outline;
pub mod reward_shaper;
pub mod value;
mod world;

pub use code_runner::CodeRunner;
pub use component::{Component, Kind};
pub use data_adapter::DataAdapter;
pub use discovery::{OnFailure, Spec};
pub use engine::Runtime;
pub use failure::Failure;
pub use host::Services;
pub use limits::Limits;
pub use metric::Metric;
pub use reward_shaper::RewardShaper;
pub use world::{Timed, Used};

use std::path::PathBuf;

/// One response to be judged, with all that a metric may want to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Unique within the run.
    pub id: String,
    pub prompt: String,
    pub response: String,
    pub references: Vec<String>,
    /// Lower case (`python`); empty if unknown.
    pub language: String,
    pub tests: Vec<String>,
}

/// Why a plugin can't be used at all. Found before any model is loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("plugin `{name}` not found\nhint: {hint}")]
    NotFound { name: String, hint: String },
    #[error("plugin `{plugin}`: cannot read it: {source}")]
    Read {
        plugin: String,
        source: std::io::Error,
    },
    #[error("plugin `{plugin}` {problem}\nhint: {hint}")]
    NotAPlugin {
        plugin: String,
        problem: String,
        hint: String,
    },
    #[error(
        "plugin `{plugin}` asks for `{interface}`, which was not granted\nhint: grant it with `--plugin {plugin},grant={flag}` if you trust the plugin with it"
    )]
    NotGranted {
        plugin: String,
        interface: String,
        flag: String,
    },
    #[error("plugin `{plugin}` was granted `{grant}`, but this run has none\nhint: {hint}")]
    NotOffered {
        plugin: String,
        grant: String,
        hint: String,
    },
    #[error(
        "plugin `{plugin}` has changed: expected sha256 {expected}, found {found}\nhint: if the change is wanted, pin it anew with `rlhf plugin lock {plugin}`"
    )]
    Changed {
        plugin: String,
        expected: String,
        found: String,
    },
    #[error("lock `{}`: {problem}\nhint: mend it, or delete it and pin anew with `rlhf plugin lock PLUGIN…`", path.display())]
    Lock { path: PathBuf, problem: String },
    #[error(
        "plugin `{plugin}` asks for `{interface}`, which this host does not offer\nhint: {hint}"
    )]
    UnknownInterface {
        plugin: String,
        interface: String,
        hint: String,
    },
    #[error("plugin `{plugin}` is a {found}, where a {expected} was expected\nhint: {hint}")]
    WrongKind {
        plugin: String,
        found: Kind,
        expected: Kind,
        hint: String,
    },
    #[error("plugin option `{text}`: {problem}\nhint: {hint}")]
    Spec {
        text: String,
        problem: String,
        hint: String,
    },
    #[error("plugin `{plugin}`: `{call}` failed: {failure}")]
    Call {
        plugin: String,
        call: &'static str,
        failure: Failure,
    },
    #[error(
        "two plugins are named `{name}`: {first} and {second}\nhint: give one another name with `--plugin PATH,name=NAME`"
    )]
    SameName {
        name: String,
        first: PathBuf,
        second: PathBuf,
    },
    #[error("encoder `{model}`: {problem}")]
    Encoder { model: String, problem: String },
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
}

/// Accepts a name in kebab-case, of a length that fits into a table.
pub(crate) fn plain_name(name: &str) -> Result<String, String> {
    let plain = !name.is_empty()
        && name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if plain {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "the name `{}` is not in kebab-case, or longer than 64 letters",
            name.chars().take(80).collect::<String>().escape_debug()
        ))
    }
}
