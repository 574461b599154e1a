//! What a file says about itself: its footer, and the headers of its pages.
//!
//! Field numbers are those of `parquet.thrift`,
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use crate::fault::{Fault, broken};
use crate::thrift::{Reader, kind};

/// A file's footer.
#[derive(Debug)]
pub struct Metadata {
    /// The schema's tree, parents before their children.
    pub elements: Vec<Element>,
    pub groups: Vec<Group>,
}

/// A node of the schema.
#[derive(Clone, Debug)]
pub struct Element {
    pub name: String,
    /// `None` for groups.
    pub physical: Option<Physical>,
    pub repetition: Repetition,
    pub children: u64,
    pub annotation: Annotation,
}

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Physical {
    Boolean,
    Int32,
    Int64,
    /// Twelve bytes: timestamps of old writers.
    Int96,
    Float,
    Double,
    ByteArray,
    /// So many bytes each.
    FixedLengthByteArray(usize),
}

/// How often a node stands in its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    Required,
    Optional,
    Repeated,
}

/// What values mean, as far as it makes a difference here: text is told by
/// being UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// Maps as well: lists of keys with values.
    List,
    /// Digits behind the point.
    Decimal(u32),
    Unsigned,
    Other,
}

/// A row group.
#[derive(Debug)]
pub struct Group {
    pub rows: u64,
    /// One a leaf of the schema, in order.
    pub chunks: Vec<Chunk>,
}

/// Where a column of a row group lies.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// A code of `CompressionCodec`.
    pub codec: i64,
    /// Nulls and empty lists included.
    pub values: u64,
    pub start: u64,
    pub length: u64,
}

/// A page's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    pub content: PageContent,
    /// Bytes behind the header, as they lie in the file.
    pub compressed: u64,
    /// The same when decompressed.
    pub uncompressed: u64,
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageContent {
    Dictionary {
        values: u64,
    },
    /// Levels stand in the compressed part, each with its length.
    Data {
        values: u64,
        encoding: i64,
        /// Encoding of definition and repetition levels.
        levels: [i64; 2],
    },
    /// Levels stand before the compressed part; their lengths are here.
    DataV2 {
        values: u64,
        encoding: i64,
        definition_bytes: u64,
        repetition_bytes: u64,
        is_compressed: bool,
    },
    /// Indices and what later versions add: skipped.
    Other,
}

const ENCRYPTED: &str =
    "found encryption, which can't be read\nhint: write the file without encryption";

/// `Fault::Unsupported` for an encrypted file or column.
pub fn encrypted() -> Fault {
    Fault::Unsupported(ENCRYPTED.to_owned())
}

fn needed<T>(value: Option<T>, what: &str) -> Result<T, Fault> {
    value.ok_or_else(|| Fault::Broken(format!("expected {what}, found none")))
}

impl Metadata {
    /// Parses a footer.
    ///
    /// # Errors
    /// It isn't one, or data are encrypted or lie in another file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut metadata = Self {
            elements: Vec::new(),
            groups: Vec::new(),
        };
        Reader::new(bytes).fields(|reader, id, kind| match (id, kind) {
            (2, kind::LIST) => reader.structs(|reader| {
                metadata.elements.push(element(reader)?);
                Ok(())
            }),
            (4, kind::LIST) => reader.structs(|reader| {
                metadata.groups.push(group(reader)?);
                Ok(())
            }),
            (8, kind::STRUCT) => Err(encrypted()),
            _ => reader.skip(kind),
        })?;
        Ok(metadata)
    }
}

fn element(reader: &mut Reader) -> Result<Element, Fault> {
    let mut name = None;
    let mut physical = None;
    let mut length = None;
    // The root has none.
    let mut repetition = Repetition::Required;
    let mut children = 0;
    let mut scale = 0;
    let mut annotation = Annotation::Other;
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, kind::I32) => physical = Some(reader.int()?),
            (2, kind::I32) => length = usize::try_from(reader.unsigned()?).ok(),
            (3, kind::I32) => {
                repetition = match reader.int()? {
                    0 => Repetition::Required,
                    1 => Repetition::Optional,
                    2 => Repetition::Repeated,
                    other => {
                        return broken(format!("expected a repetition from 0 to 2, found {other}"));
                    }
                }
            }
            (4, kind::BINARY) => {
                name = Some(String::from_utf8_lossy(reader.binary()?).into_owned())
            }
            (5, kind::I32) => children = reader.unsigned()?,
            (6, kind::I32) => {
                annotation = match reader.int()? {
                    1..=3 => Annotation::List,
                    5 => Annotation::Decimal(0),
                    11..=14 => Annotation::Unsigned,
                    _ => annotation,
                }
            }
            (7, kind::I32) => scale = u32::try_from(reader.unsigned()?).unwrap_or(u32::MAX),
            (10, kind::STRUCT) => {
                if let Some(found) = logical_type(reader)? {
                    annotation = found;
                }
            }
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    let physical = match physical {
        None => None,
        Some(0) => Some(Physical::Boolean),
        Some(1) => Some(Physical::Int32),
        Some(2) => Some(Physical::Int64),
        Some(3) => Some(Physical::Int96),
        Some(4) => Some(Physical::Float),
        Some(5) => Some(Physical::Double),
        Some(6) => Some(Physical::ByteArray),
        Some(7) => Some(Physical::FixedLengthByteArray(needed(
            length,
            "a type's length",
        )?)),
        Some(other) => {
            return broken(format!(
                "expected a physical type from 0 to 7, found {other}"
            ));
        }
    };
    if let Annotation::Decimal(digits) = &mut annotation {
        *digits = (*digits).max(scale);
    }
    Ok(Element {
        name: needed(name, "a column's name")?,
        physical,
        repetition,
        children,
        annotation,
    })
}

fn logical_type(reader: &mut Reader) -> Result<Option<Annotation>, Fault> {
    let mut annotation = None;
    reader.fields(|reader, id, kind| match (id, kind) {
        (2 | 3, kind::STRUCT) => {
            annotation = Some(Annotation::List);
            reader.skip(kind)
        }
        (5, kind::STRUCT) => reader.fields(|reader, id, kind| match (id, kind) {
            (1, kind::I32) => {
                let scale = u32::try_from(reader.unsigned()?).unwrap_or(u32::MAX);
                annotation = Some(Annotation::Decimal(scale));
                Ok(())
            }
            _ => reader.skip(kind),
        }),
        (10, kind::STRUCT) => reader.fields(|reader, id, kind| {
            if (id, kind) == (2, kind::FALSE) {
                annotation = Some(Annotation::Unsigned);
            }
            reader.skip(kind)
        }),
        _ => reader.skip(kind),
    })?;
    Ok(annotation)
}

fn group(reader: &mut Reader) -> Result<Group, Fault> {
    let mut rows = None;
    let mut chunks = Vec::new();
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, kind::LIST) => reader.structs(|reader| {
                chunks.push(chunk(reader)?);
                Ok(())
            })?,
            (3, kind::I64) => rows = Some(reader.unsigned()?),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(Group {
        rows: needed(rows, "a row group's number of rows")?,
        chunks,
    })
}

fn chunk(reader: &mut Reader) -> Result<Chunk, Fault> {
    let mut chunk = None;
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, kind::BINARY) if !reader.binary()?.is_empty() => {
                return Err(Fault::Unsupported(
                    "found data in another file, which can't be read\n\
                     hint: write data and metadata into one file"
                        .to_owned(),
                ));
            }
            (1, kind::BINARY) => {}
            (3, kind::STRUCT) => chunk = Some(column_metadata(reader)?),
            (8, kind::STRUCT) => return Err(encrypted()),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    needed(chunk, "a column's metadata")
}

fn column_metadata(reader: &mut Reader) -> Result<Chunk, Fault> {
    let mut codec = None;
    let mut values = None;
    let mut length = None;
    let mut data = None;
    let mut dictionary = None;
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (4, kind::I32) => codec = Some(reader.int()?),
            (5, kind::I64) => values = Some(reader.unsigned()?),
            (7, kind::I64) => length = Some(reader.unsigned()?),
            (9, kind::I64) => data = Some(reader.unsigned()?),
            (11, kind::I64) => dictionary = Some(reader.unsigned()?),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    let data = needed(data, "a column's offset")?;
    Ok(Chunk {
        codec: needed(codec, "a column's codec")?,
        values: needed(values, "a column's number of values")?,
        // Writers without a dictionary leave it out or write 0.
        start: dictionary
            .filter(|offset| *offset > 0)
            .map_or(data, |offset| offset.min(data)),
        length: needed(length, "a column's size")?,
    })
}

impl PageHeader {
    /// Parses a header at the beginning of `bytes`, and says how long it is.
    ///
    /// # Errors
    /// [`Fault::Truncated`] if more bytes are needed, others if it is none.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), Fault> {
        let mut reader = Reader::new(bytes);
        let mut page_type = None;
        let mut compressed = None;
        let mut uncompressed = None;
        let mut content = None;
        reader.fields(|reader, id, kind| {
            match (id, kind) {
                (1, kind::I32) => page_type = Some(reader.int()?),
                (2, kind::I32) => uncompressed = Some(reader.unsigned()?),
                (3, kind::I32) => compressed = Some(reader.unsigned()?),
                (5, kind::STRUCT) => content = Some(data_page(reader)?),
                (7, kind::STRUCT) => content = Some(dictionary_page(reader)?),
                (8, kind::STRUCT) => content = Some(data_page_v2(reader)?),
                _ => reader.skip(kind)?,
            }
            Ok(())
        })?;
        let content = match (needed(page_type, "a page's type")?, content) {
            (0, Some(content @ PageContent::Data { .. }))
            | (2, Some(content @ PageContent::Dictionary { .. }))
            | (3, Some(content @ PageContent::DataV2 { .. })) => content,
            (page_type @ (0 | 2 | 3), _) => {
                return broken(format!(
                    "expected a header for a page of type {page_type}, found none"
                ));
            }
            _ => PageContent::Other,
        };
        let header = Self {
            content,
            compressed: needed(compressed, "a page's size")?,
            uncompressed: needed(uncompressed, "a page's uncompressed size")?,
        };
        Ok((header, reader.position()))
    }
}

fn data_page(reader: &mut Reader) -> Result<PageContent, Fault> {
    let mut values = None;
    let mut encoding = None;
    let mut levels = [0; 2];
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, kind::I32) => values = Some(reader.unsigned()?),
            (2, kind::I32) => encoding = Some(reader.int()?),
            (3, kind::I32) => levels[0] = reader.int()?,
            (4, kind::I32) => levels[1] = reader.int()?,
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(PageContent::Data {
        values: needed(values, "a page's number of values")?,
        encoding: needed(encoding, "a page's encoding")?,
        levels,
    })
}

fn dictionary_page(reader: &mut Reader) -> Result<PageContent, Fault> {
    let mut values = None;
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, kind::I32) => values = Some(reader.unsigned()?),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(PageContent::Dictionary {
        values: needed(values, "a dictionary's number of values")?,
    })
}

fn data_page_v2(reader: &mut Reader) -> Result<PageContent, Fault> {
    let mut values = None;
    let mut encoding = None;
    let mut definition_bytes = 0;
    let mut repetition_bytes = 0;
    let mut is_compressed = true;
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, kind::I32) => values = Some(reader.unsigned()?),
            (4, kind::I32) => encoding = Some(reader.int()?),
            (5, kind::I32) => definition_bytes = reader.unsigned()?,
            (6, kind::I32) => repetition_bytes = reader.unsigned()?,
            (7, kind::TRUE) => is_compressed = true,
            (7, kind::FALSE) => is_compressed = false,
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(PageContent::DataV2 {
        values: needed(values, "a page's number of values")?,
        encoding: needed(encoding, "a page's encoding")?,
        definition_bytes,
        repetition_bytes,
        is_compressed,
    })
}
