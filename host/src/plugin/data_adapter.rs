//! The typed front of the data-adapter world: a file in, rows out, a few at a time.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::HasSelf;

use super::bindings::v0_1::{self, data_adapter_plugin, log, source};
use super::component::Kind;
use super::discovery::Spec;
use super::failure::Failure;
use super::host::source::Source;
use super::instance::{Budget, State, guarded, store};
use super::limits::FUEL_PER_CALL;
use super::{Component, Error, Limits, Runtime, Sample, grants};

/// Rows asked for at once: enough to hide the call, little enough to bound memory.
const ROWS_PER_CALL: u32 = 256;

/// What an adapter says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub extensions: Vec<String>,
}

/// Where a row stands in its file, counted from 1; line 0 where there are no lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub line: u64,
    pub row: u64,
}

/// One record of a data file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub origin: Origin,
    pub content: Content,
    /// Columns that fill no field.
    pub extra: Vec<(String, String)>,
}

/// What a row is good for.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Demonstration {
        prompt: String,
        response: String,
    },
    Comparison {
        prompt: String,
        chosen: String,
        rejected: String,
    },
    Rating {
        prompt: String,
        response: String,
        rating: f64,
        logits: Vec<f64>,
    },
    Evaluation {
        prompt: String,
        references: Vec<String>,
        tests: Vec<String>,
    },
    /// Only where the option `kind` asks for predictions.
    Prediction(Box<Sample>),
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    pub origin: Origin,
    /// Column or key at fault; empty for the row itself.
    pub field: String,
    pub message: String,
}

/// A loaded adapter. An instance reads one file.
pub struct DataAdapter {
    descriptor: Descriptor,
    component: Component,
    limits: Limits,
    options: String,
    pre: data_adapter_plugin::DataAdapterPluginPre<State>,
}

impl DataAdapter {
    /// Loads an adapter and asks it to describe itself.
    ///
    /// # Errors
    /// It is no adapter, asks for what it was not granted, or fails in `describe`.
    pub fn load(runtime: &Arc<Runtime>, spec: &Spec) -> Result<Self, Error> {
        let component = Component::load(runtime, &spec.resolve()?)?;
        component.expect(Kind::DataAdapter)?;
        grants::check(&component, &spec.grants)?;
        runtime.tick();
        let link = |error: wasmtime::Error| Error::NotAPlugin {
            plugin: component.label(),
            problem: format!("does not fit the data-adapter world: {error:#}"),
            hint: "rebuild it against the WIT in `wit/0.1.0`".into(),
        };
        let mut linker = runtime.linker().map_err(link)?;
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(link)?;
        source::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(link)?;
        let pre = linker
            .instantiate_pre(&component.compiled)
            .and_then(data_adapter_plugin::DataAdapterPluginPre::new)
            .map_err(link)?;
        let mut adapter = Self {
            descriptor: Descriptor {
                name: String::new(),
                version: String::new(),
                summary: String::new(),
                extensions: Vec::new(),
            },
            component,
            limits: spec.limits.clone(),
            options: spec.config.clone(),
            pre,
        };
        adapter.descriptor = adapter.describe().map_err(|failure| Error::Call {
            plugin: adapter.component.label(),
            call: "describe",
            failure,
        })?;
        Ok(adapter)
    }

    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub fn component(&self) -> &Component {
        &self.component
    }

    fn describe(&self) -> Result<Descriptor, Failure> {
        let (mut store, world) = self.start()?;
        guarded(&mut store, &self.limits, self.budget(), |store| {
            world.rlhf_plugin_data_adapter().call_describe(store)
        })
        .and_then(v0_1::adapter_descriptor)
    }

    /// Starts reading a file. `columns` maps field names to column names.
    ///
    /// # Errors
    /// The file can't be opened, or the adapter refuses it.
    pub fn open(&self, path: &Path, columns: &[(String, String)]) -> Result<Rows<'_>, OpenError> {
        let file = File::open(path).map_err(OpenError::File)?;
        let source = Source::new(file).map_err(OpenError::File)?;
        let mut options: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&self.options).expect("checked when the option was parsed");
        if !columns.is_empty() {
            let columns: serde_json::Map<_, _> = columns
                .iter()
                .map(|(field, column)| (field.clone(), column.clone().into()))
                .collect();
            options.insert("columns".into(), columns.into());
        }
        let options = serde_json::Value::Object(options).to_string();
        let (mut store, world) = self.start().map_err(OpenError::Plugin)?;
        let handle = store
            .data_mut()
            .table
            .push(source)
            .map_err(|error| OpenError::File(std::io::Error::other(error)))?;
        guarded(&mut store, &self.limits, self.budget(), |store| {
            world
                .rlhf_plugin_data_adapter()
                .call_open(store, handle, &options)
        })
        .and_then(|opened| opened.map_err(v0_1::failure))
        .map_err(OpenError::Plugin)?;
        Ok(Rows {
            adapter: self,
            store,
            world,
            ready: Vec::new().into_iter(),
            ended: false,
        })
    }

    fn budget(&self) -> Budget {
        Budget {
            fuel: self.limits.fuel_per_sample.max(FUEL_PER_CALL),
            ..Budget::for_samples(&self.limits, ROWS_PER_CALL as usize)
        }
    }

    fn start(&self) -> Result<(Store<State>, data_adapter_plugin::DataAdapterPlugin), Failure> {
        let engine = self.component.runtime.engine();
        let name = self.component.label();
        let mut store =
            store(engine, &name, &self.limits, self.budget()).map_err(|error| Failure::Trap {
                message: format!("{error:#}"),
            })?;
        match self.pre.instantiate(&mut store) {
            Ok(world) => Ok((store, world)),
            Err(error) => Err(Failure::classify(&error, store.data(), &self.limits)),
        }
    }
}

/// Why reading could not start.
#[derive(Debug)]
pub enum OpenError {
    File(std::io::Error),
    Plugin(Failure),
}

/// The rows of an open file, fetched a few at a time.
pub struct Rows<'a> {
    adapter: &'a DataAdapter,
    store: Store<State>,
    world: data_adapter_plugin::DataAdapterPlugin,
    ready: std::vec::IntoIter<Result<Row, RowError>>,
    ended: bool,
}

impl Iterator for Rows<'_> {
    /// A row or what is wrong with it; an outer error means that nothing behind it can be read.
    type Item = Result<Result<Row, RowError>, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.ready.next() {
            return Some(Ok(row));
        }
        if self.ended {
            return None;
        }
        let Self {
            adapter,
            store,
            world,
            ..
        } = self;
        let rows = guarded(store, &adapter.limits, adapter.budget(), |store| {
            world
                .rlhf_plugin_data_adapter()
                .call_next(store, ROWS_PER_CALL)
        })
        .and_then(|rows| rows.map_err(v0_1::failure))
        .and_then(|rows| {
            if rows.len() > ROWS_PER_CALL as usize {
                return Err(Failure::BadResult {
                    message: format!("{} rows, asked for {ROWS_PER_CALL}", rows.len()),
                });
            }
            Ok(rows)
        });
        match rows {
            Ok(rows) => {
                self.ended = rows.is_empty();
                self.ready = rows
                    .into_iter()
                    .map(v0_1::row)
                    .collect::<Vec<_>>()
                    .into_iter();
                self.ready.next().map(Ok)
            }
            Err(failure) => {
                self.ended = true;
                Some(Err(failure))
            }
        }
    }
}
