//! A component on disk: what it is, what it asks for, its compiled code.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Error, Runtime};

/// The package of our interfaces.
const PACKAGE: &str = "rlhf:plugin/";
/// WIT lines that this host loads.
const SUPPORTED_LINE: &str = "0.1.";
/// Components larger than this are refused before they are read.
const COMPONENT_BYTES_MAX: u64 = 512 << 20;

/// What a component does, by the interface it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Metric,
    RewardShaper,
    DataAdapter,
    CodeRunner,
}

impl Kind {
    const ALL: [Kind; 4] = [
        Kind::Metric,
        Kind::RewardShaper,
        Kind::DataAdapter,
        Kind::CodeRunner,
    ];

    /// Name of the exported interface.
    pub fn interface(self) -> &'static str {
        match self {
            Kind::Metric => "metric",
            Kind::RewardShaper => "reward-shaper",
            Kind::DataAdapter => "data-adapter",
            Kind::CodeRunner => "code-runner",
        }
    }

    /// Folder of shipped components of this kind.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Metric => "metrics",
            Kind::RewardShaper => "rewards",
            Kind::DataAdapter => "adapters",
            Kind::CodeRunner => "runners",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.interface())
    }
}

/// A checked, compiled component.
#[derive(Clone)]
pub struct Component {
    pub path: PathBuf,
    /// Hexadecimal, of the file's bytes.
    pub sha256: String,
    pub size: u64,
    pub kind: Kind,
    /// Version of the WIT package it was built against.
    pub wit_version: String,
    /// Imported interfaces as they are written, `wasi:*` included.
    pub imports: Vec<String>,
    pub(super) compiled: wasmtime::component::Component,
    pub(super) runtime: Arc<Runtime>,
}

impl Component {
    /// Reads, checks and compiles a component. Nothing of it is run.
    ///
    /// # Errors
    /// The file can't be read, is no component, or exports none of our interfaces.
    pub fn load(runtime: &Arc<Runtime>, path: &Path) -> Result<Self, Error> {
        let plugin = path.display().to_string();
        let read = |source| Error::Read {
            plugin: plugin.clone(),
            source,
        };
        let size = path.metadata().map_err(read)?.len();
        let refuse = |problem: String, hint: &str| Error::NotAPlugin {
            plugin: plugin.clone(),
            problem,
            hint: hint.to_owned(),
        };
        if size > COMPONENT_BYTES_MAX {
            return Err(refuse(
                format!("has {size} bytes; at most {COMPONENT_BYTES_MAX} are read"),
                "strip debugging information, or build it with the `plugin` profile",
            ));
        }
        let bytes = std::fs::read(path).map_err(read)?;
        match preamble(&bytes) {
            Preamble::Component => {}
            Preamble::CoreModule => {
                return Err(refuse(
                    "is a core WebAssembly module, not a component".into(),
                    "build it for the target wasm32-wasip2, or turn it into a component with `wasm-tools component new`",
                ));
            }
            Preamble::Other => {
                return Err(refuse(
                    "is not a WebAssembly component".into(),
                    "a plugin is a `.wasm` component; see `rlhf plugin --help`",
                ));
            }
        }
        let sha256: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let compiled = runtime.compile(&bytes, &sha256).map_err(|error| {
            refuse(
                format!("is not a valid component: {}", error.root_cause()),
                "it may be damaged, or made by a newer tool than this host knows",
            )
        })?;
        let ty = compiled.component_type();
        let engine = runtime.engine();
        let imports: Vec<String> = ty
            .imports(engine)
            .map(|(name, _)| name.to_owned())
            .collect();
        let exports: Vec<String> = ty
            .exports(engine)
            .map(|(name, _)| name.to_owned())
            .collect();
        let Some((kind, wit_version)) = exports.iter().find_map(|name| kind_of(name)) else {
            let found = if exports.is_empty() {
                "nothing".to_owned()
            } else {
                exports.join(", ")
            };
            return Err(refuse(
                format!("is a component, but exports {found}"),
                "a plugin exports one of rlhf:plugin/metric, reward-shaper, data-adapter, code-runner; build it with the rlhf-sdk",
            ));
        };
        if !wit_version.starts_with(SUPPORTED_LINE) {
            return Err(refuse(
                format!("was built against rlhf:plugin@{wit_version}"),
                &format!(
                    "this host knows the line {SUPPORTED_LINE}x; update rlhf, or rebuild the plugin"
                ),
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            sha256,
            size,
            kind,
            wit_version,
            imports,
            compiled,
            runtime: Arc::clone(runtime),
        })
    }

    /// How messages name it.
    pub fn label(&self) -> String {
        self.path.display().to_string()
    }

    /// # Errors
    /// It is of another kind.
    pub(super) fn expect(&self, expected: Kind) -> Result<(), Error> {
        if self.kind == expected {
            return Ok(());
        }
        Err(Error::WrongKind {
            plugin: self.label(),
            found: self.kind,
            expected,
            hint: format!("`rlhf plugin inspect {}` shows what it is", self.label()),
        })
    }
}

/// `rlhf:plugin/metric@0.1.0` gives the kind and the version.
fn kind_of(export: &str) -> Option<(Kind, String)> {
    let (interface, version) = export.strip_prefix(PACKAGE)?.split_once('@')?;
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| kind.interface() == interface)?;
    Some((kind, version.to_owned()))
}

enum Preamble {
    Component,
    CoreModule,
    Other,
}

/// Bytes 4 to 7 are version and layer: `01 00 00 00` for core modules,
/// `0d 00 01 00` for components.
fn preamble(bytes: &[u8]) -> Preamble {
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Preamble::Component,
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => Preamble::CoreModule,
        _ => Preamble::Other,
    }
}
