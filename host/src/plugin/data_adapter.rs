//! The typed front of the data-adapter world: a file in, rows out, a few at a time.

use std::path::Path;
use std::sync::Arc;

use cap_std::fs::File;

use super::bindings::v0_1::{self, DataAdapterPlugin};
use super::discovery::Spec;
use super::failure::Failure;
use super::host::Services;
use super::host::source::Source;
use super::instance::Budget;
use super::world::{Instance, Loaded, Used};
use super::{Component, Error, Runtime, Sample};

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
    loaded: Loaded<DataAdapterPlugin>,
}

impl DataAdapter {
    /// Finds and loads an adapter.
    ///
    /// # Errors
    /// Those of [`DataAdapter::of`], or there is no such file.
    pub fn load(runtime: &Arc<Runtime>, spec: &Spec) -> Result<Self, Error> {
        let component = Component::find(runtime, spec)?;
        Self::of(component, spec, &Services::default())
    }

    /// Asks the adapter in a component to describe itself.
    ///
    /// # Errors
    /// It is no adapter, asks for what it was not granted, or fails in `describe`.
    pub fn of(component: Component, spec: &Spec, services: &Services) -> Result<Self, Error> {
        let (loaded, _, descriptor) =
            Loaded::<DataAdapterPlugin>::ready(component, spec, services)?;
        Ok(Self { descriptor, loaded })
    }

    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub fn component(&self) -> &Component {
        &self.loaded.component
    }

    /// What its calls have used so far.
    pub fn used(&self) -> Used {
        self.loaded.used()
    }

    /// Starts reading a file. `options` are put over the plugin's own.
    ///
    /// # Errors
    /// The file can't be opened, or the adapter refuses it.
    pub fn open(
        &self,
        path: &Path,
        options: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Rows<'_>, OpenError> {
        let file = File::open_ambient(path, cap_std::ambient_authority());
        let source = file.and_then(Source::new).map_err(OpenError::File)?;
        let mut all: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&self.loaded.options).expect("checked when the option was parsed");
        all.extend(options);
        let all = serde_json::Value::Object(all).to_string();
        let mut instance = self.loaded.start().map_err(OpenError::Plugin)?;
        let table = &mut instance.store.data_mut().table;
        let handle = table
            .push(source)
            .map_err(|error| OpenError::File(std::io::Error::other(error)))?;
        self.loaded
            .call(&mut instance, self.budget(), async |world, store| {
                world
                    .rlhf_plugin_data_adapter()
                    .call_open(store, handle, &all)
                    .await
            })
            .and_then(|opened| opened.map_err(v0_1::failure))
            .map_err(OpenError::Plugin)?;
        Ok(Rows {
            adapter: self,
            instance,
            rows_per_call: ROWS_PER_CALL,
            ready: Vec::new().into_iter(),
            ended: false,
        })
    }

    fn budget(&self) -> Budget {
        let limits = &self.loaded.limits;
        Budget {
            fuel: limits.fuel_per_call(),
            samples: 0,
            ..Budget::for_samples(limits, ROWS_PER_CALL as usize)
        }
    }
}

/// Why reading could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open the file: {0}")]
    File(std::io::Error),
    #[error(transparent)]
    Plugin(Failure),
}

/// The rows of an open file, fetched a few at a time.
pub struct Rows<'a> {
    adapter: &'a DataAdapter,
    instance: Instance<DataAdapterPlugin>,
    rows_per_call: u32,
    ready: std::vec::IntoIter<Result<Row, RowError>>,
    ended: bool,
}

impl Rows<'_> {
    /// Asks for this many rows at once, which must make no difference but in speed.
    #[must_use]
    pub fn in_batches_of(mut self, rows: u32) -> Self {
        self.rows_per_call = rows.clamp(1, ROWS_PER_CALL);
        self
    }
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
            instance,
            rows_per_call,
            ..
        } = self;
        let asked = *rows_per_call;
        let rows = adapter
            .loaded
            .call(instance, adapter.budget(), async |world, store| {
                world
                    .rlhf_plugin_data_adapter()
                    .call_next(store, asked)
                    .await
            })
            .and_then(|rows| rows.map_err(v0_1::failure))
            .and_then(|rows| {
                if rows.len() > asked as usize {
                    return Err(Failure::BadResult {
                        message: format!("{} rows, asked for {asked}", rows.len()),
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
