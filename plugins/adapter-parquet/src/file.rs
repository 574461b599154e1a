//! A file: its footer, then its rows.

use std::collections::VecDeque;
use std::io;

use rlhf_sdk::{Error, Source};

use crate::columns::{Cursor, ROW_BYTES_MAX, Reading, read};
use crate::fault::Fault;
use crate::metadata::{Group, Metadata, encrypted};
use crate::schema::Schema;
use crate::value::Value;

/// A footer's largest size; chosen. A column of a row group takes about 100
/// bytes of it.
const FOOTER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Stands at both ends of a file.
const MAGIC: &[u8] = b"PAR1";
/// Stands there if the footer is encrypted.
const MAGIC_ENCRYPTED: &[u8] = b"PARE";
/// The footer's length and the mark behind it.
const TAIL_BYTES: u64 = 8;

/// Bytes that can be read from anywhere.
pub trait ReadAt {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Up to `length` bytes at `offset`, fewer only at the end.
    ///
    /// # Errors
    /// They can't be read.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;
}

impl ReadAt for Source {
    fn size(&self) -> u64 {
        Source::size(self)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        Source::read_at(self, offset, length)
    }
}

/// Reads a file's rows in order.
#[derive(Debug)]
pub struct File<S> {
    source: S,
    schema: Schema,
    /// Row groups that were not begun yet.
    groups: VecDeque<Group>,
    /// Ordinal of the current one, from 1; 0 before the first.
    group: usize,
    rows_left: u64,
    cursors: Vec<Cursor>,
    held: usize,
}

impl<S: ReadAt> File<S> {
    /// Reads the footer.
    ///
    /// # Errors
    /// `bad-parquet`: the file isn't Parquet, or is cut off. `unsupported`: it
    /// is encrypted. `too-large`: its footer is. `read-failed`: the host can't
    /// read it.
    pub fn open(source: S) -> Result<Self, Error> {
        let footer = footer(&source)?;
        let in_footer = |fault: Fault| fault.at("footer");
        let metadata = Metadata::parse(&footer).map_err(in_footer)?;
        drop(footer);
        let schema = Schema::new(&metadata.elements).map_err(in_footer)?;
        Ok(Self {
            source,
            schema,
            groups: metadata.groups.into(),
            group: 0,
            rows_left: 0,
            cursors: Vec::new(),
            held: 0,
        })
    }

    /// Names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.schema
            .columns
            .iter()
            .map(|column| column.name.as_str())
    }

    /// The next row, a value a column; `None` at the end.
    ///
    /// # Errors
    /// Nothing behind this point can be read; the message names the row group
    /// and the column.
    pub fn read(&mut self) -> Result<Option<Vec<Value>>, Error> {
        while self.rows_left == 0 {
            if !self.next_group()? {
                return Ok(None);
            }
        }
        self.rows_left -= 1;
        let mut reading = Reading {
            source: &self.source,
            held: &mut self.held,
            row_bytes: ROW_BYTES_MAX,
        };
        let mut row = Vec::with_capacity(self.schema.columns.len());
        for column in &self.schema.columns {
            match read(column, &mut self.cursors, &mut reading) {
                Ok(value) => row.push(value),
                Err((leaf, fault)) => return Err(fault.at(&place(self.group, &self.cursors[leaf]))),
            }
        }
        Ok(Some(row))
    }

    /// Whether there is one.
    fn next_group(&mut self) -> Result<bool, Error> {
        let mut reading = Reading {
            source: &self.source,
            held: &mut self.held,
            row_bytes: 0,
        };
        for mut cursor in self.cursors.drain(..) {
            let place = place(self.group, &cursor);
            match cursor.peek(&mut reading) {
                Ok(None) => cursor.close(&mut reading),
                Ok(Some(_)) => {
                    let fault =
                        Fault::Broken("expected a value in every row, found more".to_owned());
                    return Err(fault.at(&place));
                }
                Err(fault) => return Err(fault.at(&place)),
            }
        }
        let Some(group) = self.groups.pop_front() else {
            return Ok(false);
        };
        self.group += 1;
        let leaves = &self.schema.leaves;
        if group.chunks.len() != leaves.len() {
            let message = format!(
                "expected {} columns, found {}",
                leaves.len(),
                group.chunks.len()
            );
            return Err(Fault::Broken(message).at(&format!("row group {}", self.group)));
        }
        for (leaf, chunk) in leaves.iter().zip(&group.chunks) {
            let cursor = Cursor::new(leaf.clone(), chunk, self.source.size()).map_err(|fault| {
                fault.at(&format!("row group {}, column `{}`", self.group, leaf.path))
            })?;
            self.cursors.push(cursor);
        }
        self.rows_left = group.rows;
        Ok(true)
    }
}

fn place(group: usize, cursor: &Cursor) -> String {
    format!("row group {group}, column `{}`", cursor.path())
}

fn footer(source: &impl ReadAt) -> Result<Vec<u8>, Error> {
    let failed = |error: io::Error| Fault::Read(error).at("");
    let not_parquet = |message: &str| Err(Error::new("not-parquet", message));
    let size = source.size();
    let head = source.read_at(0, MAGIC.len()).map_err(failed)?;
    if head == MAGIC_ENCRYPTED {
        return Err(encrypted().at("footer"));
    }
    if head != MAGIC {
        return not_parquet(
            "expected `PAR1` at the beginning, found something else: is this a Parquet file?",
        );
    }
    let tail = match size.checked_sub(TAIL_BYTES) {
        Some(start) => source.read_at(start, TAIL_BYTES as usize).map_err(failed)?,
        None => Vec::new(),
    };
    let (length, mark) = match tail.as_slice() {
        [a, b, c, d, mark @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]), mark),
        _ => (0, [].as_slice()),
    };
    if mark == MAGIC_ENCRYPTED {
        return Err(encrypted().at("footer"));
    }
    if mark != MAGIC {
        return Err(Error::new(
            "bad-parquet",
            "footer: expected `PAR1` at the end, found something else: is the file complete?",
        ));
    }
    let room = size.saturating_sub(TAIL_BYTES + MAGIC.len() as u64);
    let (Ok(bytes), true) = (usize::try_from(length), u64::from(length) <= room) else {
        let message = format!("expected at most {room} bytes, found a length of {length}");
        return Err(Fault::Broken(message).at("footer"));
    };
    if bytes > FOOTER_BYTES_MAX {
        let message = format!(
            "expected at most {} MiB, found {}\nhint: write larger row groups",
            FOOTER_BYTES_MAX / (1024 * 1024),
            bytes / (1024 * 1024)
        );
        return Err(Fault::TooLarge(message).at("footer"));
    }
    let start = size - TAIL_BYTES - u64::from(length);
    source.read_at(start, bytes).map_err(failed)
}
