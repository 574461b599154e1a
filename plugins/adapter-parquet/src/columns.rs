//! Columns of a row group: pages one by one, and values put together from
//! their levels.

use std::ops::Range;

use crate::codec::{PAGE_BYTES_MAX, decompress};
use crate::encodings::{Dictionary, Values};
use crate::fault::{Fault, broken};
use crate::file::ReadAt;
use crate::integers::{Hybrid, length_of_four};
use crate::metadata::{Chunk, PageContent, PageHeader};
use crate::schema::{Leaf, Node, Shape};
use crate::value::Value;

/// What pages and dictionaries of all columns may take together; chosen, well
/// below a component's memory. With a writer's pages of 1 MiB it is enough for
/// about fifty columns.
pub const HELD_BYTES_MAX: usize = 96 * 1024 * 1024;
/// A row's largest size, as in the other adapters; chosen.
pub const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Enough for most headers, whose statistics may hold texts.
const HEADER_BYTES: usize = 4 * 1024;
/// A header's largest size; chosen.
const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// A leaf of a row group that is being read.
#[derive(Debug)]
pub struct Cursor {
    leaf: Leaf,
    codec: i64,
    /// Bytes of the file that were not read yet.
    rest: Range<u64>,
    /// Values behind the current page.
    left: u64,
    dictionary: Option<Dictionary>,
    page: Page,
    /// Repetition and definition level of the value that comes next.
    next: Option<(u16, u16)>,
}

/// A page that is being read. All empty before the first one.
#[derive(Debug, Default)]
struct Page {
    bytes: Vec<u8>,
    left: u64,
    /// `None` where every level is 0.
    repetition: Option<Hybrid>,
    definition: Option<Hybrid>,
    values: Option<Values>,
}

/// What reading a row needs beside its columns.
#[derive(Debug)]
pub struct Reading<'a, S> {
    pub source: &'a S,
    /// Bytes that pages and dictionaries take.
    pub held: &'a mut usize,
    /// Bytes that the row may still take.
    pub row_bytes: usize,
}

impl Cursor {
    /// At the beginning of a column.
    ///
    /// # Errors
    /// It lies outside of the file.
    pub fn new(leaf: Leaf, chunk: &Chunk, file_bytes: u64) -> Result<Self, Fault> {
        match chunk.start.checked_add(chunk.length) {
            Some(end) if end <= file_bytes => Ok(Self {
                leaf,
                codec: chunk.codec,
                rest: chunk.start..end,
                left: chunk.values,
                dictionary: None,
                page: Page::default(),
                next: None,
            }),
            _ => broken(format!(
                "expected {} bytes from byte {} on, found a file of {file_bytes}",
                chunk.length, chunk.start
            )),
        }
    }

    /// Names from below the root, with points between them.
    pub fn path(&self) -> &str {
        &self.leaf.path
    }

    /// Levels of the value that comes next; `None` at the column's end.
    ///
    /// # Errors
    /// The next page can't be read.
    pub fn peek<S: ReadAt>(
        &mut self,
        reading: &mut Reading<S>,
    ) -> Result<Option<(u16, u16)>, Fault> {
        if self.next.is_some() {
            return Ok(self.next);
        }
        while self.page.left == 0 {
            if self.left == 0 {
                return Ok(None);
            }
            self.next_page(reading)?;
        }
        self.page.left -= 1;
        let level = |levels: &mut Option<Hybrid>, max: u16| match levels {
            None => Ok(0),
            Some(levels) => match levels.next(&self.page.bytes)? {
                level if level <= u32::from(max) => Ok(level as u16),
                level => broken(format!("expected a level of at most {max}, found {level}")),
            },
        };
        let repetition = level(&mut self.page.repetition, self.leaf.repetition_max)?;
        let definition = level(&mut self.page.definition, self.leaf.definition_max)?;
        self.next = Some((repetition, definition));
        Ok(self.next)
    }

    fn next_value<S: ReadAt>(&mut self, reading: &mut Reading<S>) -> Result<Value, Fault> {
        let Some((_, definition)) = self.peek(reading)? else {
            return Err(too_few());
        };
        self.next = None;
        let value = if definition < self.leaf.definition_max {
            Value::Null
        } else {
            let Some(values) = &mut self.page.values else {
                return broken("expected values, found none");
            };
            let bytes = values.next(
                &self.page.bytes,
                self.leaf.physical,
                self.dictionary.as_ref(),
            )?;
            Value::new(&bytes, self.leaf.physical, self.leaf.annotation)
        };
        reading.row_bytes = reading.row_bytes.checked_sub(value.size()).ok_or_else(|| {
            let mib = ROW_BYTES_MAX / (1024 * 1024);
            Fault::TooLarge(format!(
                "expected a row of at most {mib} MiB, found a longer one"
            ))
        })?;
        Ok(value)
    }

    fn next_page<S: ReadAt>(&mut self, reading: &mut Reading<S>) -> Result<(), Fault> {
        let place = self.rest.start;
        let (header, mut body) = self.header(reading.source)?;
        self.release(reading);
        let (compressed, uncompressed) = (size(header.compressed)?, size(header.uncompressed)?);
        if header.compressed > self.rest.end - self.rest.start {
            return broken(format!(
                "expected a page of at most {} bytes at byte {place}, found one of {compressed}",
                self.rest.end - self.rest.start
            ));
        }
        let data = self.rest.start..self.rest.start + header.compressed;
        self.rest.start = data.end;
        if header.content == PageContent::Other {
            return Ok(());
        }
        for bytes in [compressed, uncompressed] {
            if bytes > PAGE_BYTES_MAX || *reading.held + bytes > HELD_BYTES_MAX {
                return Err(Fault::TooLarge(format!(
                    "expected pages that take at most {} MiB each and {} MiB together, \
                     found one of {} KiB at byte {place}\n\
                     hint: write smaller pages (pyarrow's `data_page_size`) or smaller row groups",
                    PAGE_BYTES_MAX / (1024 * 1024),
                    HELD_BYTES_MAX / (1024 * 1024),
                    bytes / 1024
                )));
            }
        }
        body.truncate(compressed);
        if body.len() < compressed {
            let missing = compressed - body.len();
            let more = reading
                .source
                .read_at(data.start + body.len() as u64, missing)?;
            body.extend_from_slice(&more);
        }
        if body.len() < compressed {
            return Err(Fault::Truncated);
        }
        match header.content {
            PageContent::Dictionary { values } => {
                let mut bytes = Vec::new();
                decompress(self.codec, &body, uncompressed, &mut bytes)?;
                let dictionary = Dictionary::new(bytes, values, self.leaf.physical)?;
                *reading.held += dictionary.size();
                self.dictionary = Some(dictionary);
            }
            PageContent::Data {
                values,
                encoding,
                levels,
            } => {
                decompress(self.codec, &body, uncompressed, &mut self.page.bytes)?;
                let mut position = 0;
                let repetition = self.leaf.repetition_max;
                self.page.repetition = self.levels(repetition, levels[1], &mut position)?;
                let definition = self.leaf.definition_max;
                self.page.definition = self.levels(definition, levels[0], &mut position)?;
                self.begin(values, encoding, position)?;
            }
            PageContent::DataV2 {
                values,
                encoding,
                definition_bytes,
                repetition_bytes,
                is_compressed,
            } => {
                let repetition_end = size(repetition_bytes)?;
                let position = repetition_end.saturating_add(size(definition_bytes)?);
                let codec = if is_compressed { self.codec } else { 0 };
                let (Some((levels, body)), Some(length)) = (
                    body.split_at_checked(position),
                    uncompressed.checked_sub(position),
                ) else {
                    return broken(format!(
                        "expected a page with {position} bytes of levels at byte {place}, found fewer"
                    ));
                };
                self.page.bytes.extend_from_slice(levels);
                // No values, no bytes: an empty text is not what codecs make of it.
                if length > 0 {
                    decompress(codec, body, length, &mut self.page.bytes)?;
                }
                let hybrid = |range, max| (max > 0).then(|| Hybrid::levels(range, max)).transpose();
                self.page.repetition = hybrid(0..repetition_end, self.leaf.repetition_max)?;
                self.page.definition = hybrid(repetition_end..position, self.leaf.definition_max)?;
                self.begin(values, encoding, position)?;
            }
            PageContent::Other => {}
        }
        *reading.held += self.page.bytes.capacity();
        Ok(())
    }

    /// The next page's header, and what was read behind it.
    fn header<S: ReadAt>(&mut self, source: &S) -> Result<(PageHeader, Vec<u8>), Fault> {
        let mut wanted = HEADER_BYTES;
        loop {
            let rest = size(self.rest.end - self.rest.start)?;
            let mut bytes = source.read_at(self.rest.start, wanted.min(rest))?;
            match PageHeader::parse(&bytes) {
                Ok((header, length)) => {
                    self.rest.start += length as u64;
                    bytes.drain(..length);
                    return Ok((header, bytes));
                }
                Err(Fault::Truncated) if wanted < rest.min(HEADER_BYTES_MAX) => wanted *= 4,
                Err(fault) => return Err(fault),
            }
        }
    }

    fn release<S>(&mut self, reading: &mut Reading<S>) {
        *reading.held = reading.held.saturating_sub(self.page.bytes.capacity());
        self.page = Page::default();
    }

    /// Gives back what the cursor holds.
    pub fn close<S>(mut self, reading: &mut Reading<S>) {
        self.release(reading);
        let dictionary = self.dictionary.as_ref().map_or(0, Dictionary::size);
        *reading.held = reading.held.saturating_sub(dictionary);
    }

    /// Levels of a page of the first version, with their length before them.
    fn levels(
        &self,
        max: u16,
        encoding: i64,
        position: &mut usize,
    ) -> Result<Option<Hybrid>, Fault> {
        if max == 0 {
            return Ok(None);
        }
        if encoding != 3 {
            return Err(Fault::Unsupported(format!(
                "found levels of the encoding number {encoding}, which can't be read\n\
                 hint: write the file with a writer that is not older than 2014"
            )));
        }
        let length = length_of_four(&self.page.bytes, position)?;
        let start = *position;
        let end = start
            .checked_add(length)
            .filter(|end| *end <= self.page.bytes.len());
        *position = end.ok_or(Fault::Truncated)?;
        Hybrid::levels(start..*position, max).map(Some)
    }

    fn begin(&mut self, values: u64, encoding: i64, position: usize) -> Result<(), Fault> {
        let Some(left) = self.left.checked_sub(values) else {
            return broken(format!(
                "expected a page of at most {} values, found one of {values}",
                self.left
            ));
        };
        self.left = left;
        self.page.left = values;
        // Nulls only: writers may leave out even what belongs to the encoding.
        if position < self.page.bytes.len() {
            let bytes = &self.page.bytes;
            self.page.values = Some(Values::new(
                encoding,
                self.leaf.physical,
                bytes,
                position,
                values,
            )?);
        }
        Ok(())
    }
}

fn too_few() -> Fault {
    Fault::Broken("expected a value in every row, found fewer".to_owned())
}

fn size(bytes: u64) -> Result<usize, Fault> {
    usize::try_from(bytes).map_err(|_| Fault::Truncated)
}

/// The next row's value of `node`, whose leaves are among `cursors`.
///
/// # Errors
/// A page can't be read, or the leaves' levels contradict each other. The leaf
/// at fault is told by its position.
pub fn read<S: ReadAt>(
    node: &Node,
    cursors: &mut [Cursor],
    reading: &mut Reading<S>,
) -> Result<Value, (usize, Fault)> {
    let first = node.leaves.start;
    let at_first = |fault| (first, fault);
    let levels = |cursors: &mut [Cursor], reading: &mut Reading<S>| {
        cursors[first].peek(reading).map_err(at_first)
    };
    let Some((_, definition)) = levels(cursors, reading)? else {
        return Err(at_first(too_few()));
    };
    // A value that isn't there stands in every leaf below.
    let nothing = |cursors: &mut [Cursor], reading: &mut Reading<S>| {
        node.leaves.clone().try_for_each(|leaf| {
            let value = cursors[leaf].next_value(reading);
            value.map(drop).map_err(|fault| (leaf, fault))
        })
    };
    match &node.shape {
        Shape::Leaf => cursors[first].next_value(reading).map_err(at_first),
        _ if definition < node.defined => {
            nothing(cursors, reading)?;
            Ok(Value::Null)
        }
        Shape::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| Ok((field.name.clone(), read(field, cursors, reading)?)));
            Ok(Value::Struct(fields.collect::<Result<_, _>>()?))
        }
        Shape::List { filled, .. } if definition < *filled => {
            nothing(cursors, reading)?;
            Ok(Value::List(Vec::new()))
        }
        Shape::List {
            item, repetition, ..
        } => {
            let mut items = Vec::new();
            loop {
                items.push(read(item, cursors, reading)?);
                match levels(cursors, reading)? {
                    Some((found, _)) if found >= *repetition => {}
                    _ => return Ok(Value::List(items)),
                }
            }
        }
    }
}
