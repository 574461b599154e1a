//! Rows of columns into rows of data.

use rlhf_sdk::records::{Columns, Draft, Kind, Layout};
use rlhf_sdk::{Error, Origin, ReadError, Row, RowError, log};
use serde::Deserialize;

use crate::file::{File, ReadAt};
use crate::value::{Value, fill};

/// Options of the adapter, see its README.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Where a field is found if not under its own name.
    pub columns: Columns,
    /// What rows are read as; from the columns if absent.
    pub kind: Option<Kind>,
}

/// Reads rows.
#[derive(Debug)]
pub struct Rows<S> {
    file: File<S>,
    names: Vec<String>,
    layout: Layout,
    row: u64,
}

impl<S: ReadAt> Rows<S> {
    /// Reads the footer.
    ///
    /// # Errors
    /// Those of [`File::open`], or the columns make no record.
    pub fn open(source: S, options: &Options) -> Result<Self, Error> {
        let file = File::open(source)?;
        let names: Vec<String> = file.columns().map(ToOwned::to_owned).collect();
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        let layout = Layout::recognise(&borrowed, &options.columns, options.kind)?;
        layout.warning().into_iter().for_each(log::warning);
        Ok(Self {
            file,
            names,
            layout,
            row: 0,
        })
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// [`ReadError::Row`] for a row whose values don't fit; the next call
    /// reads the one behind it. [`ReadError::End`] for those of [`File::read`].
    pub fn read(&mut self) -> Result<Option<Row>, ReadError> {
        let Some(values) = self.file.read()? else {
            return Ok(None);
        };
        self.row += 1;
        let origin = Origin {
            line: 0,
            row: self.row,
        };
        Ok(Some(self.row(values, origin)?))
    }

    fn row(&self, values: Vec<Value>, origin: Origin) -> Result<Row, RowError> {
        let kind = self.layout.kind();
        let mut draft = Draft::default();
        let mut extra = Vec::new();
        for (index, (name, value)) in self.names.iter().zip(values).enumerate() {
            match self.layout.field(index) {
                Some(field) if value == Value::Null && field.is_optional(Some(kind)) => {}
                Some(field) => {
                    let value = fill(field, value).map_err(|message| RowError {
                        origin,
                        field: name.clone(),
                        message,
                    })?;
                    draft.set(field, value);
                }
                None => extra.extend(value.into_extra().map(|text| (name.clone(), text))),
            }
        }
        draft.row(kind, origin, extra)
    }
}
