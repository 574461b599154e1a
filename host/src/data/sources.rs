//! Reads data files through data-adapter plugins.

use std::path::Path;
use std::sync::Arc;

use super::{Dataset, Demonstration, Origin, PreferencePair, Rating, Task};
use crate::config::data::OnBadRow;
use crate::plugin::data_adapter::{Content, OpenError, Row, RowError};
use crate::plugin::{self, DataAdapter, Failure, Runtime, Spec};

/// Rows at fault that a message shows.
const ROWS_SHOWN: usize = 3;
/// Adapters that ship, tried in this order.
const SHIPPED: [&str; 3] = [
    "adapters/csv.wasm",
    "adapters/json.wasm",
    "adapters/parquet.wasm",
];

/// What is wrong with a data file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("data file `{path}`: cannot open it: {source}\nhint: check the path")]
    Open {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "data file `{path}`: no adapter reads `.{extension}` files\nhint: known are {known}; rename the file, or add an adapter with --plugin"
    )]
    Format {
        path: String,
        extension: String,
        known: String,
    },
    #[error("`{path}`, {at}: {field}{message}{more}", field = field_prefix(field))]
    Row {
        path: String,
        /// `line 4`, or `row 3` where there are no lines.
        at: String,
        field: String,
        message: String,
        /// Further rows and the hint.
        more: String,
    },
    #[error("data file `{path}`: {message}")]
    File { path: String, message: String },
    #[error("data file `{path}` has no rows\nhint: at least one is needed")]
    Empty { path: String },
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
}

fn field_prefix(field: &str) -> String {
    if field.is_empty() {
        String::new()
    } else {
        format!("`{field}`: ")
    }
}

/// `line 4`, or `row 3` for formats without lines.
pub(super) fn place(line: u64, row: u64) -> String {
    if line > 0 {
        format!("line {line}")
    } else {
        format!("row {row}")
    }
}

/// The adapters of a run, by extension.
pub struct Adapters(Vec<DataAdapter>);

impl Adapters {
    /// The adapters `given`, and behind them the shipped ones that they don't replace.
    ///
    /// # Errors
    /// A shipped one can't be used.
    pub fn load(runtime: &Arc<Runtime>, given: Vec<DataAdapter>) -> Result<Self, plugin::Error> {
        let mut adapters = given;
        for spec in SHIPPED.map(Spec::of) {
            adapters.push(DataAdapter::load(runtime, &spec)?);
        }
        Ok(Self(adapters))
    }

    pub fn iter(&self) -> impl Iterator<Item = &DataAdapter> {
        self.0.iter()
    }

    fn for_file(&self, path: &Path) -> Result<&DataAdapter, Error> {
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        self.0
            .iter()
            .find(|adapter| adapter.descriptor().extensions.contains(&extension))
            .ok_or_else(|| {
                let known: Vec<String> = self
                    .0
                    .iter()
                    .flat_map(|adapter| &adapter.descriptor().extensions)
                    .map(|extension| format!(".{extension}"))
                    .collect();
                Error::Format {
                    path: path.display().to_string(),
                    extension,
                    known: known.join(", "),
                }
            })
    }

    /// Reads a file whole.
    ///
    /// # Errors
    /// The file can't be opened or has no rows; a row is bad and `on_bad_row`
    /// says that this is an error.
    pub fn read(
        &self,
        path: &Path,
        columns: &[(String, String)],
        on_bad_row: OnBadRow,
    ) -> Result<Dataset, Error> {
        let name = path.display().to_string();
        let open = |source| Error::Open {
            path: name.clone(),
            source,
        };
        // Before an adapter is chosen, so that a missing file is called that.
        let metadata = path.metadata().map_err(open)?;
        if metadata.is_dir() {
            return Err(Error::File {
                path: name,
                message: "is a folder\nhint: name a file in it".into(),
            });
        }
        let adapter = self.for_file(path)?;
        let mut options = serde_json::Map::new();
        if !columns.is_empty() {
            let columns: serde_json::Map<_, _> = columns
                .iter()
                .map(|(field, column)| (field.clone(), column.clone().into()))
                .collect();
            options.insert("columns".into(), columns.into());
        }
        let rows = adapter.open(path, options).map_err(|error| match error {
            OpenError::File(source) => open(source),
            OpenError::Plugin(failure) => Error::File {
                path: name.clone(),
                message: from_plugin(failure),
            },
        })?;
        let mut data = Dataset::default();
        let mut bad: Vec<RowError> = Vec::new();
        let mut bad_count = 0;
        for row in rows {
            let row = row.map_err(|failure| Error::File {
                path: name.clone(),
                message: from_plugin(failure),
            })?;
            let row = row.and_then(|row| match row.content {
                Content::Prediction(_) => Err(RowError {
                    origin: row.origin,
                    field: String::new(),
                    message: "expected something to learn from, found a prediction".into(),
                }),
                _ => Ok(row),
            });
            match row {
                Ok(row) => data.add(row, path),
                Err(error) => {
                    bad_count += 1;
                    if bad.len() < ROWS_SHOWN {
                        bad.push(error);
                    }
                }
            }
        }
        if bad_count > 0 && on_bad_row == OnBadRow::Error {
            return Err(bad_rows(&name, &bad, bad_count));
        }
        data.rows_skipped = bad_count;
        if data.is_empty() {
            return Err(Error::Empty { path: name });
        }
        super::feedback::check_logits(&data.ratings)?;
        Ok(data)
    }
}

/// A plugin's own words without its code, other failures as they are.
fn from_plugin(failure: Failure) -> String {
    match failure {
        Failure::Plugin { message, .. } => message,
        other => format!("the adapter failed: {other}"),
    }
}

/// One message for all bad rows: the first in full, some more by line.
fn bad_rows(path: &str, bad: &[RowError], count: usize) -> Error {
    let first = &bad[0];
    let mut more = String::new();
    for row in &bad[1..] {
        more.push_str(&format!(
            "\n  {}: {}{}",
            place(row.origin.line, row.origin.row),
            field_prefix(&row.field),
            row.message
        ));
    }
    if count > bad.len() {
        more.push_str(&format!("\n  and {} more", count - bad.len()));
    }
    more.push_str("\nhint: mend the file, or leave such rows out with `--on-bad-row skip`");
    Error::Row {
        path: path.to_owned(),
        at: place(first.origin.line, first.origin.row),
        field: first.field.clone(),
        message: first.message.clone(),
        more,
    }
}

impl Dataset {
    fn add(&mut self, row: Row, path: &Path) {
        let Row {
            origin, content, ..
        } = row;
        match content {
            Content::Demonstration { prompt, response } => {
                self.demonstrations.push(Demonstration { prompt, response });
            }
            Content::Comparison {
                prompt,
                chosen,
                rejected,
            } => self.preferences.push(PreferencePair {
                prompt,
                chosen,
                rejected,
            }),
            Content::Rating {
                prompt,
                response,
                rating,
                logits,
            } => self.ratings.push(Rating {
                prompt,
                response,
                rating,
                logits,
                origin: Origin {
                    path: path.to_owned(),
                    line: origin.line,
                    row: origin.row,
                },
            }),
            Content::Evaluation {
                prompt,
                references,
                tests,
            } => self.tasks.push(Task {
                id: format!("row-{}", origin.row),
                prompt,
                references,
                tests,
            }),
            Content::Prediction(_) => unreachable!("refused where the rows are read"),
        }
    }
}
