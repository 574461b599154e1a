//! Data adapters: bytes in, records out.
//!
//! An adapter never sees a path. It gets a [`Source`], reads it in pieces and
//! yields rows one by one, so that a file larger than memory is no trouble.
//! A row that can't be read is a [`RowError`] and reading goes on behind it.
//!
//! [`records`](crate::records) has what tabular formats share: which columns
//! make which record, and the option that maps column names.

use std::fmt;
use std::io::{self, BufReader, Read};

use serde::de::DeserializeOwned;

use crate::bindings::data_adapter::exports::rlhf::plugin::data_adapter as wit;
use crate::bindings::host::rlhf::plugin::{source, types};
use crate::component::Holder;
use crate::options;
use crate::types::Error;

/// Reads a data format.
pub trait DataAdapter: Sized + 'static {
    /// Parsed from the run's configuration; [`NoOptions`](options::NoOptions) if there are none.
    type Options: DeserializeOwned + Default;

    /// Name and file name extensions.
    fn describe() -> AdapterDescriptor;

    /// Starts reading.
    ///
    /// # Errors
    /// The source isn't of this format, or an option's value is out of range.
    fn open(source: Source, options: Self::Options) -> Result<Self, Error>;

    /// The next row; `None` at the end, and from then on.
    ///
    /// # Errors
    /// [`ReadError::Row`]: this row can't be read, the next call reads the one
    /// behind it. [`ReadError::End`]: nothing behind this point can be read.
    fn next(&mut self) -> Result<Option<Row>, ReadError>;
}

/// What a data adapter says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterDescriptor {
    /// Lower case, kebab-case: `csv`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// File name extensions it reads, without the dot.
    pub extensions: Vec<String>,
    /// For keys that a later version of the contract adds.
    pub extra: Vec<(String, String)>,
}

impl AdapterDescriptor {
    /// An adapter without extensions. Pass `env!("CARGO_PKG_VERSION")` as the version.
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            extensions: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// File name extensions it reads, without the dot.
    #[must_use]
    pub fn extensions<N: Into<String>>(mut self, extensions: impl IntoIterator<Item = N>) -> Self {
        self.extensions = extensions.into_iter().map(Into::into).collect();
        self
    }
}

/// Bytes that the host opened.
///
/// It is a [`Read`]; every read is a call of the host, so put a
/// [`buffered`](Self::buffered) reader around it.
#[derive(Debug)]
pub struct Source(Backing);

#[derive(Debug)]
enum Backing {
    Host(source::Source),
    Memory { bytes: Vec<u8>, position: usize },
}

/// Large enough that calls of the host don't count, small against a
/// component's memory. Chosen.
const BUFFER_BYTES: usize = 256 * 1024;

impl Source {
    pub(crate) fn from_host(source: source::Source) -> Self {
        Self(Backing::Host(source))
    }

    /// A source in memory, for tests.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Backing::Memory {
            bytes: bytes.into(),
            position: 0,
        })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match &self.0 {
            Backing::Host(source) => source.size(),
            Backing::Memory { bytes, .. } => bytes.len() as u64,
        }
    }

    /// Up to `length` bytes at `offset`, fewer only at the end; doesn't move
    /// the position. For formats with an index: Parquet, zip.
    ///
    /// # Errors
    /// The host can't read its file.
    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match &self.0 {
            Backing::Host(source) => {
                let mut read = Vec::with_capacity(length);
                // The host gives at most 1 MiB a call.
                while read.len() < length {
                    let wanted = u32::try_from(length - read.len()).unwrap_or(u32::MAX);
                    let piece = source
                        .read_at(offset + read.len() as u64, wanted)
                        .map_err(io::Error::other)?;
                    if piece.is_empty() {
                        break;
                    }
                    read.extend_from_slice(&piece);
                }
                Ok(read)
            }
            Backing::Memory { bytes, .. } => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let end = start.saturating_add(length).min(bytes.len());
                Ok(bytes[start..end].to_vec())
            }
        }
    }

    /// A reader that asks the host for larger pieces.
    pub fn buffered(self) -> BufReader<Self> {
        BufReader::with_capacity(BUFFER_BYTES, self)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Backing::Host(source) => {
                let wanted = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
                let piece = source.read(wanted).map_err(io::Error::other)?;
                let length = piece.len().min(buffer.len());
                buffer[..length].copy_from_slice(&piece[..length]);
                Ok(length)
            }
            Backing::Memory { bytes, position } => {
                let length = buffer.len().min(bytes.len() - *position);
                buffer[..length].copy_from_slice(&bytes[*position..*position + length]);
                *position += length;
                Ok(length)
            }
        }
    }
}

/// Where in its source a record stands, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Line on which the record starts; 0 for formats without lines.
    pub line: u64,
    /// Ordinal of the record among the data (a header doesn't count).
    pub row: u64,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub origin: Origin,
    /// What it says.
    pub content: Content,
    /// Columns that fill no field, as text.
    pub extra: Vec<(String, String)>,
}

/// What a row can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A prompt and a response to imitate.
    Demonstration {
        /// What is asked.
        prompt: String,
        /// What to answer.
        response: String,
    },
    /// Two responses to a prompt, of which people prefer the first.
    Comparison {
        /// What is asked.
        prompt: String,
        /// The preferred response.
        chosen: String,
        /// The other one.
        rejected: String,
    },
    /// A response with a rating people gave.
    Rating {
        /// What is asked.
        prompt: String,
        /// What was answered.
        response: String,
        /// As it stands in the data; the host normalises.
        rating: f64,
        /// Raw scores people gave, the same number in every row; empty if there are none.
        logits: Vec<f64>,
    },
    /// A held-out task.
    Evaluation {
        /// What is asked.
        prompt: String,
        /// Accepted answers.
        references: Vec<String>,
        /// Test code or input/output cases.
        tests: Vec<String>,
    },
    /// A model's answer that is to be scored; only where the option `kind` asks for it.
    Prediction {
        /// Empty if the data have none.
        id: String,
        /// Empty if the data have none.
        prompt: String,
        /// What the model answered.
        response: String,
        /// Accepted answers.
        references: Vec<String>,
        /// Test code or input/output cases.
        tests: Vec<String>,
        /// Lower case; empty if the data have none.
        language: String,
    },
}

/// A row that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Where it stands.
    pub origin: Origin,
    /// Column or key at fault; empty if it is the row itself.
    pub field: String,
    /// What was expected and found, and a hint.
    pub message: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin.line > 0 {
            write!(formatter, "line {}, ", self.origin.line)?;
        }
        write!(formatter, "row {}: ", self.origin.row)?;
        if !self.field.is_empty() {
            write!(formatter, "`{}`: ", self.field)?;
        }
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for RowError {}

/// Why there is no next row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// This row can't be read; reading goes on behind it.
    Row(RowError),
    /// Nothing behind this point can be read.
    End(Error),
}

impl From<RowError> for ReadError {
    fn from(error: RowError) -> Self {
        Self::Row(error)
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::End(error)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::End(read_failed(&error))
    }
}

/// `read-failed`: the host couldn't read its file.
pub(crate) fn read_failed(error: &io::Error) -> Error {
    Error::new("read-failed", format!("source: {error}"))
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(error) => error.fmt(formatter),
            Self::End(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ReadError {}

/// An adapter that is reading, as the host calls it.
#[derive(Debug)]
pub struct Reading<A> {
    adapter: A,
    /// An error met behind rows that had to be returned first.
    pending: Option<Error>,
}

/// What the export macro and [`testing`](crate::testing) work on.
pub trait Implementation: Sized + 'static {
    /// What the author wrote.
    fn describe() -> AdapterDescriptor;
    /// Options as one JSON object.
    fn open(source: Source, options: &str) -> Result<Self, Error>;
    /// Up to `max` rows; none at the end.
    fn batch(&mut self, max: usize) -> Result<Vec<Result<Row, RowError>>, Error>;
}

/// A batch ends early when its texts reach this size, whatever `max` allows:
/// the host limits results, and rows may be large. Chosen.
const BATCH_BYTES: usize = 1024 * 1024;

impl<A: DataAdapter> Implementation for Reading<A> {
    fn describe() -> AdapterDescriptor {
        A::describe()
    }

    fn open(source: Source, options: &str) -> Result<Self, Error> {
        let adapter = A::open(source, options::parse(options)?)?;
        Ok(Self {
            adapter,
            pending: None,
        })
    }

    fn batch(&mut self, max: usize) -> Result<Vec<Result<Row, RowError>>, Error> {
        if let Some(error) = &self.pending {
            return Err(error.clone());
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        while rows.len() < max && bytes < BATCH_BYTES {
            match self.adapter.next() {
                Ok(Some(row)) => {
                    bytes += size(&row);
                    rows.push(Ok(row));
                }
                Ok(None) => break,
                Err(ReadError::Row(error)) => {
                    bytes += error.field.len() + error.message.len();
                    rows.push(Err(error));
                }
                Err(ReadError::End(error)) => {
                    self.pending = Some(error.clone());
                    if rows.is_empty() {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        Ok(rows)
    }
}

fn size(row: &Row) -> usize {
    let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let content = match &row.content {
        Content::Demonstration { prompt, response } => prompt.len() + response.len(),
        Content::Comparison {
            prompt,
            chosen,
            rejected,
        } => prompt.len() + chosen.len() + rejected.len(),
        Content::Rating {
            prompt,
            response,
            logits,
            ..
        } => prompt.len() + response.len() + 8 * (logits.len() + 1),
        Content::Evaluation {
            prompt,
            references,
            tests,
        } => prompt.len() + texts(references) + texts(tests),
        Content::Prediction {
            id,
            prompt,
            response,
            references,
            tests,
            language,
        } => {
            let single = id.len() + prompt.len() + response.len() + language.len();
            single + texts(references) + texts(tests)
        }
    };
    content
        + row
            .extra
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
}

fn origin_out(origin: Origin) -> wit::Origin {
    wit::Origin {
        line: origin.line,
        row: origin.row,
    }
}

fn row_out(row: Row) -> wit::Row {
    let content = match row.content {
        Content::Demonstration { prompt, response } => {
            wit::Content::Demonstration(wit::Demonstration { prompt, response })
        }
        Content::Comparison {
            prompt,
            chosen,
            rejected,
        } => wit::Content::Comparison(wit::Comparison {
            prompt,
            chosen,
            rejected,
        }),
        Content::Rating {
            prompt,
            response,
            rating,
            logits,
        } => wit::Content::Rating(wit::Rating {
            prompt,
            response,
            rating,
            logits,
        }),
        Content::Evaluation {
            prompt,
            references,
            tests,
        } => wit::Content::Evaluation(wit::Evaluation {
            prompt,
            references,
            tests,
        }),
        Content::Prediction {
            id,
            prompt,
            response,
            references,
            tests,
            language,
        } => wit::Content::Prediction(wit::Prediction {
            id,
            prompt,
            response,
            references,
            tests,
            language,
        }),
    };
    wit::Row {
        origin: origin_out(row.origin),
        content,
        extra: row.extra,
    }
}

impl<H: Holder> wit::Guest for H
where
    H::Plugin: Implementation,
{
    fn describe() -> wit::Descriptor {
        let AdapterDescriptor {
            name,
            version,
            summary,
            extensions,
            extra,
        } = H::Plugin::describe();
        wit::Descriptor {
            name,
            version,
            summary,
            extensions,
            extra,
        }
    }

    fn open(source: wit::Source, options: String) -> Result<(), types::Error> {
        let adapter = H::Plugin::open(Source::from_host(source), &options)?;
        H::slot(|slot| slot.set(adapter));
        Ok(())
    }

    fn next(max: u32) -> Result<Vec<Result<wit::Row, wit::RowError>>, types::Error> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let rows = H::slot(|slot| {
            slot.get(|adapter| match adapter {
                Some(adapter) => adapter.batch(max),
                None => Err(Error::new("not-open", "`next` was called before `open`")),
            })
        })?;
        Ok(rows
            .into_iter()
            .map(|row| match row {
                Ok(row) => Ok(row_out(row)),
                Err(RowError {
                    origin,
                    field,
                    message,
                }) => Err(wit::RowError {
                    origin: origin_out(origin),
                    field,
                    message,
                }),
            })
            .collect())
    }
}

/// Makes the crate a component whose data adapter is this [`DataAdapter`].
#[macro_export]
macro_rules! export_data_adapter {
    ($adapter:ty) => {
        $crate::__export!(
            data_adapter,
            $crate::__private::Reading<$adapter>,
            $crate::__private::AdapterImplementation
        );
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoOptions;

    /// Yields a row per byte; `!` is a bad row, `#` the end of what can be read.
    struct Bytes(Source);

    impl DataAdapter for Bytes {
        type Options = NoOptions;

        fn describe() -> AdapterDescriptor {
            AdapterDescriptor::new("bytes", "0.0.0", "A row per byte")
        }

        fn open(source: Source, _: NoOptions) -> Result<Self, Error> {
            Ok(Self(source))
        }

        fn next(&mut self) -> Result<Option<Row>, ReadError> {
            let mut byte = [0];
            if self.0.read(&mut byte)? == 0 {
                return Ok(None);
            }
            let origin = Origin::default();
            match byte[0] {
                b'!' => Err(RowError {
                    origin,
                    field: String::new(),
                    message: "bad".into(),
                })?,
                b'#' => Err(Error::new("broken", "broken"))?,
                b'L' => Ok(Some(Row {
                    origin,
                    content: Content::Demonstration {
                        prompt: "x".repeat(BATCH_BYTES),
                        response: String::new(),
                    },
                    extra: Vec::new(),
                })),
                other => Ok(Some(Row {
                    origin,
                    content: Content::Demonstration {
                        prompt: char::from(other).into(),
                        response: String::new(),
                    },
                    extra: Vec::new(),
                })),
            }
        }
    }

    /// Lengths of the batches; `E` is an error.
    fn check(bytes: &str, max: usize, expected: &str) {
        let mut reading = Reading::<Bytes>::open(Source::from_bytes(bytes), "").unwrap();
        let mut batches = String::new();
        for _ in 0..4 {
            match reading.batch(max) {
                Ok(rows) => batches.push_str(&rows.len().to_string()),
                Err(_) => batches.push('E'),
            }
        }
        assert_eq!(batches, expected, "{bytes:?} by {max}");
    }

    // Catches rows lost before an error, an error lost behind rows, an end
    // that isn't one, and batches that a host must refuse for their size.
    #[test]
    fn batches() {
        check("abc", 2, "2100");
        check("a!c", 2, "2100");
        check("ab#", 8, "2EEE");
        check("#ab", 8, "EEEE");
        check("aLbb", 8, "2200");
        check("", 8, "0000");
    }

    // Catches a range that runs past the end.
    #[test]
    fn reading_at_an_offset_stops_at_the_end() {
        let source = Source::from_bytes("abcdef");
        assert_eq!(source.size(), 6);
        assert_eq!(source.read_at(4, 10).unwrap(), b"ef");
        assert_eq!(source.read_at(40, 10).unwrap(), b"");
    }
}
