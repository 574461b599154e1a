//! A component on disk: what it is, what it asks for, its compiled code.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::bindings::Line;
use super::limits::STACK_BYTES_MAX;
use super::outline::{Outline, outline};
use super::{Error, Runtime, Spec};

/// The package of our interfaces.
const PACKAGE: &str = "rlhf:plugin/";
/// Components larger than this are refused before they are read.
const COMPONENT_BYTES_MAX: u64 = 512 << 20;
/// Items of a component, each as often as it is instantiated: a component of
/// Rust has some hundred. Compiling takes about a microsecond for each.
const PARTS_MAX: u64 = 1_000_000;

/// What a component does, by the interface it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Metric,
    RewardShaper,
    DataAdapter,
    CodeRunner,
}

impl Kind {
    pub const ALL: [Kind; 4] = [
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
    /// The bindings that serve this version.
    pub(super) line: Line,
    /// Imported interfaces as they are written, `wasi:*` included.
    pub imports: Vec<String>,
    pub(super) compiled: wasmtime::component::Component,
    /// The stack of the engine that `compiled` belongs to.
    stack_bytes: usize,
    pub(super) runtime: Arc<Runtime>,
}

/// A component for another process of this binary, which neither checks nor compiles it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    pub path: PathBuf,
    pub size: u64,
    pub sha256: String,
    pub kind: Kind,
    pub wit_version: String,
    pub imports: Vec<String>,
    /// File with its compiled code.
    pub compiled: PathBuf,
}

impl Component {
    /// Reads, checks and compiles a component. Nothing of it is run.
    ///
    /// # Errors
    /// The file can't be read, is no component, or exports none of our interfaces.
    pub fn load(runtime: &Arc<Runtime>, path: &Path) -> Result<Self, Error> {
        Self::called(runtime, None, path)
    }

    /// Finds, reads, checks and compiles what a user means.
    ///
    /// # Errors
    /// There is no such file, and those of [`Component::load`].
    pub fn find(runtime: &Arc<Runtime>, spec: &Spec) -> Result<Self, Error> {
        Self::called(runtime, Some(&spec.path), &spec.resolve()?)
    }

    fn called(runtime: &Arc<Runtime>, called: Option<&str>, path: &Path) -> Result<Self, Error> {
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
        let sha256 = hash(&bytes);
        let pinned = runtime.lock().map(|lock| lock.expects(called, path));
        if let Some(expected) = pinned.into_iter().flatten().find(|hash| *hash != sha256) {
            return Err(Error::Changed {
                plugin: plugin.clone(),
                expected: expected.to_owned(),
                found: sha256,
            });
        }
        let damaged = |problem: String| {
            refuse(
                format!("is not a valid component: {problem}"),
                "it may be damaged, or made by a newer tool than this host knows",
            )
        };
        let Outline {
            imports,
            exports,
            instantiates_unknown,
            parts,
        } = outline(&bytes).map_err(|error| damaged(error.to_string()))?;
        // A few hundred bytes can ask for more instances than there are atoms,
        // and compiling takes time for each.
        if instantiates_unknown {
            return Err(refuse(
                "instantiates a component that it imports".into(),
                "compose components so that each contains what it instantiates",
            ));
        }
        if parts > PARTS_MAX {
            return Err(refuse(
                format!("would have more than {PARTS_MAX} parts"),
                "its components instantiate each other too often",
            ));
        }
        if let Some(import) = imports.iter().find(|name| is_wasi_0_3(name)) {
            return Err(refuse(
                format!("is a component for WASI 0.3: it imports `{import}`"),
                "plugins use WASI 0.2: build it for the target wasm32-wasip2",
            ));
        }
        let mut kinds = exports.iter().filter_map(|name| kind_of(name));
        let Some((kind, wit_version)) = kinds.next() else {
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
        if let Some((other, _)) = kinds.find(|(other, _)| *other != kind) {
            return Err(refuse(
                format!("exports both {kind} and {other}"),
                "a plugin is one of them; make two components of it",
            ));
        }
        let Some(line) = Line::of(&wit_version) else {
            return Err(refuse(
                format!("was built against rlhf:plugin@{wit_version}"),
                &format!(
                    "this host knows {}; update rlhf, or rebuild the plugin",
                    Line::KNOWN.join(", ")
                ),
            ));
        };
        let engine = runtime.engine(STACK_BYTES_MAX)?;
        let compiled = runtime
            .compile(&engine, &bytes, &sha256)
            .map_err(|error| damaged(error.root_cause().to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            sha256,
            size,
            kind,
            wit_version,
            line,
            imports,
            compiled,
            stack_bytes: STACK_BYTES_MAX,
            runtime: Arc::clone(runtime),
        })
    }

    /// For a process of its own. Code that no cache holds is put into `folder`, which is made for it.
    ///
    /// # Errors
    /// The code can't be written.
    pub fn hand_over(&self, folder: &mut Option<tempfile::TempDir>) -> Result<Handover, Error> {
        let engine = self.runtime.engine(self.stack_bytes)?;
        let compiled = self
            .runtime
            .compiled_file(&engine, &self.compiled, &self.sha256, folder)
            .map_err(|error| {
                Error::Engine(format!("compiled code of {}: {error:#}", self.label()))
            })?;
        Ok(Handover {
            path: self.path.clone(),
            size: self.size,
            sha256: self.sha256.clone(),
            kind: self.kind,
            wit_version: self.wit_version.clone(),
            imports: self.imports.clone(),
            // The other process has another working directory.
            compiled: std::path::absolute(&compiled).unwrap_or(compiled),
        })
    }

    /// What another process handed over, for calls that may use this much stack.
    ///
    /// # Errors
    /// Its code can't be read by this binary.
    pub fn handed_over(
        runtime: &Arc<Runtime>,
        from: &Handover,
        stack_bytes: usize,
    ) -> Result<Self, Error> {
        let engine = runtime.engine(stack_bytes)?;
        let unusable = |problem: String| Error::NotAPlugin {
            plugin: from.path.display().to_string(),
            problem,
            hint: "was the binary replaced while it ran? start it again".into(),
        };
        let line = Line::of(&from.wit_version)
            .ok_or_else(|| unusable(format!("is of version {}", from.wit_version)))?;
        let compiled = runtime
            .compiled_elsewhere(&engine, &from.compiled)
            .map_err(|error| unusable(format!("has no code: {error:#}")))?;
        Ok(Self {
            path: from.path.clone(),
            sha256: from.sha256.clone(),
            size: from.size,
            kind: from.kind,
            wit_version: from.wit_version.clone(),
            line,
            imports: from.imports.clone(),
            compiled,
            stack_bytes,
            runtime: Arc::clone(runtime),
        })
    }

    /// Its code for calls that may use this much stack, and the engine it runs on.
    ///
    /// # Errors
    /// The file has changed since it was loaded.
    pub(super) fn for_stack(
        &self,
        stack_bytes: usize,
    ) -> Result<(Engine, wasmtime::component::Component), Error> {
        let engine = self.runtime.engine(stack_bytes)?;
        if stack_bytes == self.stack_bytes {
            return Ok((engine, self.compiled.clone()));
        }
        let bytes = std::fs::read(&self.path).map_err(|source| Error::Read {
            plugin: self.label(),
            source,
        })?;
        let found = hash(&bytes);
        if found != self.sha256 {
            return Err(Error::Changed {
                plugin: self.label(),
                expected: self.sha256.clone(),
                found,
            });
        }
        let compiled = self.runtime.compile(&engine, &bytes, &self.sha256);
        let compiled = compiled.map_err(|error| Error::Engine(format!("{error:#}")))?;
        Ok((engine, compiled))
    }

    /// How messages name it.
    pub fn label(&self) -> String {
        self.path.display().to_string()
    }

    /// Its file's name without the ending: what it is called before it has told its own name.
    pub fn stem(&self) -> String {
        self.path
            .file_stem()
            .map_or_else(|| self.label(), |stem| stem.to_string_lossy().into_owned())
    }

    /// # Errors
    /// It is of another kind.
    pub fn expect(&self, expected: Kind) -> Result<(), Error> {
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

/// Hexadecimal.
fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn is_wasi_0_3(import: &str) -> bool {
    import.starts_with("wasi:") && import.contains("@0.3.")
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
