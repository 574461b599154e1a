//! Reads data files through data-adapter plugins.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Dataset, Demonstration, Origin, PreferencePair, Rating, Task};
use crate::config::data::OnBadRow;
use crate::plugin::data_adapter::{Content, OpenError, Row, RowError};
use crate::plugin::{self, DataAdapter, Failure, Runtime, Sample, Spec};
use crate::tokenizer::Tokenizer;

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
    #[error(
        "options for the adapter `{name}`, which is not among {known}\nhint: as csv.escapes=true"
    )]
    Options { name: String, known: String },
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
pub struct Adapters {
    adapters: Vec<DataAdapter>,
    /// Options by the names of adapters, as `data.options` has them.
    options: AdapterOptions,
    /// Whose chat template conversations are put into; asked once, and only where there are some.
    chat: Option<Chat>,
    chat_model: OnceCell<Result<Option<Tokenizer>, String>>,
}

/// Options of adapters, by their names.
pub type AdapterOptions = BTreeMap<String, serde_json::Map<String, serde_json::Value>>;

/// Finds the tokenizer of the model that is trained.
pub type Chat = Box<dyn Fn() -> Result<Tokenizer, String>>;

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
        Ok(Self {
            adapters,
            options: AdapterOptions::new(),
            chat: None,
            chat_model: OnceCell::new(),
        })
    }

    /// With options for files by what reads them.
    ///
    /// # Errors
    /// There is no adapter of a name.
    pub fn with_options(mut self, options: AdapterOptions) -> Result<Self, Error> {
        let names = || self.iter().map(|adapter| &adapter.descriptor().name);
        let unknown = options
            .keys()
            .find(|name| !names().any(|known| known == *name));
        if let Some(name) = unknown {
            let known: Vec<&str> = names().map(String::as_str).collect();
            return Err(Error::Options {
                name: name.clone(),
                known: known.join(", "),
            });
        }
        self.options = options;
        Ok(self)
    }

    /// With a model that conversations are for.
    #[must_use]
    pub fn with_chat(mut self, chat: Chat) -> Self {
        self.chat = Some(chat);
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = &DataAdapter> {
        self.adapters.iter()
    }

    fn chat_model(&self) -> Result<Option<Tokenizer>, String> {
        let find = || self.chat.as_ref().map(|find| find()).transpose();
        self.chat_model.get_or_init(find).clone()
    }

    fn for_file(&self, path: &Path) -> Result<&DataAdapter, Error> {
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        self.adapters
            .iter()
            .find(|adapter| adapter.descriptor().extensions.contains(&extension))
            .ok_or_else(|| {
                let known: Vec<String> = self
                    .adapters
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

    /// Reads a file of examples whole.
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
        let mut data = Dataset::default();
        let options = with_columns(serde_json::Map::new(), columns);
        let skipped = self.rows(path, options, on_bad_row, |mut row| match row.content {
            Content::Prediction(_) => Err(RowError {
                origin: row.origin,
                field: String::new(),
                message: "expected something to learn from, found a prediction".into(),
            }),
            content => {
                let told =
                    super::conversations::render(content, &mut row.extra, || self.chat_model());
                row.content = told.map_err(|(field, message)| RowError {
                    origin: row.origin,
                    field: field.to_owned(),
                    message,
                })?;
                data.add(row, path);
                Ok(())
            }
        })?;
        (data.rows_skipped, data.skipped_first) = skipped;
        if data.is_empty() {
            return Err(Error::Empty {
                path: path.display().to_string(),
            });
        }
        super::feedback::check_logits(&data.ratings)?;
        Ok(data)
    }

    /// Hands the predictions of a file to `take`, at most `rows` at once. Rows without an id are
    /// numbered from 1, those without a language get `language`.
    ///
    /// # Errors
    /// As for [`Adapters::read`], and what `take` returns; it sees nothing behind a bad row that
    /// is an error.
    pub fn predictions<E: From<Error>>(
        &self,
        path: &Path,
        columns: &[(String, String)],
        on_bad_row: OnBadRow,
        language: &str,
        rows: usize,
        mut take: impl FnMut(Vec<Sample>) -> Result<(), E>,
    ) -> Result<(usize, Vec<String>), E> {
        let mut samples = Vec::new();
        let mut any = false;
        let mut taken = Ok(());
        let kind = serde_json::Map::from_iter([("kind".to_owned(), "prediction".into())]);
        let options = with_columns(kind, columns);
        let skipped = self.rows(path, options, on_bad_row, |row| {
            let Content::Prediction(mut sample) = row.content else {
                return Err(RowError {
                    origin: row.origin,
                    field: String::new(),
                    message: "expected a prediction, found another record: the adapter does not know the option `kind`".into(),
                });
            };
            if sample.id.is_empty() {
                sample.id = row.origin.row.to_string();
            }
            if sample.language.is_empty() {
                language.clone_into(&mut sample.language);
            }
            samples.push(*sample);
            any = true;
            if samples.len() >= rows && taken.is_ok() {
                taken = take(std::mem::take(&mut samples));
            }
            Ok(())
        })?;
        taken?;
        if !any {
            return Err(E::from(Error::Empty {
                path: path.display().to_string(),
            }));
        }
        if !samples.is_empty() {
            take(samples)?;
        }
        Ok(skipped)
    }

    /// Hands each row of a file to `take`; how many bad ones were skipped, and the first of them.
    fn rows(
        &self,
        path: &Path,
        options: serde_json::Map<String, serde_json::Value>,
        on_bad_row: OnBadRow,
        mut take: impl FnMut(Row) -> Result<(), RowError>,
    ) -> Result<(usize, Vec<String>), Error> {
        let name = path.display().to_string();
        let open = |source| Error::Open {
            path: name.clone(),
            source,
        };
        // Before an adapter is chosen, so that a missing file is called that.
        let metadata = path.metadata().map_err(open)?;
        if !metadata.is_file() {
            let message = match metadata.is_dir() {
                true => "is a folder\nhint: name a file in it",
                // Data are read from any place, and more than once.
                false => {
                    "is no regular file\nhint: write the data into a file; `rlhf eval --predictions -` reads JSON Lines from stdin"
                }
            };
            return Err(Error::File {
                path: name,
                message: message.into(),
            });
        }
        let adapter = self.for_file(path)?;
        let given = self.options.get(&adapter.descriptor().name);
        let mut all = given.cloned().unwrap_or_default();
        all.extend(options);
        let rows = adapter.open(path, all).map_err(|error| match error {
            OpenError::File(source) => open(source),
            OpenError::Plugin(failure) => Error::File {
                path: name.clone(),
                message: from_plugin(failure),
            },
        })?;
        let mut bad: Vec<RowError> = Vec::new();
        let mut bad_count = 0;
        for row in rows {
            let row = row.map_err(|failure| Error::File {
                path: name.clone(),
                message: from_plugin(failure),
            })?;
            let row = match bad_count {
                0 => row.and_then(&mut take),
                // The file is at fault already: only what else is wrong with it counts.
                _ if on_bad_row == OnBadRow::Error => row.map(drop),
                _ => row.and_then(&mut take),
            };
            if let Err(error) = row {
                bad_count += 1;
                if bad.len() < ROWS_SHOWN {
                    bad.push(error);
                }
            }
        }
        if bad_count > 0 && on_bad_row == OnBadRow::Error {
            return Err(bad_rows(&name, &bad, bad_count));
        }
        Ok((bad_count, bad.iter().map(one_line).collect()))
    }
}

/// A bad row without its hint.
fn one_line(row: &RowError) -> String {
    let message = row.message.lines().next().unwrap_or_default();
    format!(
        "{}: {}{message}",
        place(row.origin.line, row.origin.row),
        field_prefix(&row.field)
    )
}

/// The option `columns`, by which all shipped adapters map names.
fn with_columns(
    mut options: serde_json::Map<String, serde_json::Value>,
    columns: &[(String, String)],
) -> serde_json::Map<String, serde_json::Value> {
    if !columns.is_empty() {
        let columns: serde_json::Map<_, _> = columns
            .iter()
            .map(|(field, column)| (field.clone(), column.clone().into()))
            .collect();
        options.insert("columns".into(), columns.into());
    }
    options
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
            origin,
            content,
            extra,
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
                id: task_id(&extra).unwrap_or_else(|| format!("row-{}", origin.row)),
                prompt,
                references,
                tests,
            }),
            Content::Prediction(_) => unreachable!("`read` refuses it"),
        }
    }
}

/// What a data set calls a task. Records of evaluations have no field for it.
fn task_id(extra: &[(String, String)]) -> Option<String> {
    let column = |name: &str| {
        let mut columns = extra.iter();
        let (_, text) = columns.find(|(column, _)| column.eq_ignore_ascii_case(name))?;
        (!text.trim().is_empty()).then(|| text.clone())
    };
    ["id", "task_id", "problem_id"].into_iter().find_map(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch tasks that lose their name, by which samples are found.
    #[test]
    fn tasks_keep_their_id() {
        let check = |extra: &[(&str, &str)], expected: Option<&str>| {
            let extra: Vec<(String, String)> = extra
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect();
            assert_eq!(task_id(&extra).as_deref(), expected);
        };
        check(&[("task_id", "HumanEval/0")], Some("HumanEval/0"));
        check(&[("Task_ID", "11"), ("id", "a")], Some("a"));
        check(&[("id", " "), ("problem_id", "7")], Some("7"));
        check(&[("level", "easy")], None);
    }
}
