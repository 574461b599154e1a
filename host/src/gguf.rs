//! The header of a GGUF file: what llama.cpp and its kin keep a model in.
//!
//! Reads versions 2 and 3. Lengths that a file claims are checked against the bytes it has, so
//! that nothing is allocated on its word. What the fields mean is up to whoever reads the
//! model's or the tokenizer's part.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Longest text; a chat template has some ten thousand bytes.
const TEXT_MAX: u64 = 16 << 20;
/// Elements of all arrays together; a vocabulary with its merges has a million.
const ELEMENTS_MAX: u64 = 8 << 20;
/// Fields and tensors; the largest models have some thousand.
const ENTRIES_MAX: u64 = 1 << 20;
/// Arrays of arrays; none is known.
const DEPTH_MAX: usize = 2;
const DIMENSIONS_MAX: u32 = 4;
/// Where tensors begin, unless `general.alignment` says otherwise.
const ALIGNMENT: u64 = 32;

/// Why a header was not read: completes "the file …".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("is cut short")]
    Cut,
    #[error("{0}")]
    Broken(String),
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Integer(i64),
    Number(f64),
    Flag(bool),
    Text(String),
    List(Vec<Field>),
}

impl Field {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(n) => Some(*n),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Field]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    pub name: String,
    /// Rows first, as elsewhere; the file has it the other way round.
    pub shape: Vec<usize>,
    /// Number of the block type (ggml's `enum ggml_type`).
    pub kind: u32,
    /// First byte in the file.
    pub offset: u64,
}

/// What stands before the tensors.
#[derive(Debug)]
pub struct Header {
    pub fields: BTreeMap<String, Field>,
    pub tensors: Vec<TensorInfo>,
}

impl Header {
    /// # Errors
    /// The file can't be read, is no GGUF file, or ends too early.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |e: std::io::Error| Error::Broken(format!("cannot be read: {e}"));
        let file = File::open(path).map_err(unreadable)?;
        let left = file.metadata().map_err(unreadable)?.len();
        Reader {
            file: BufReader::new(file),
            left,
            at: 0,
            elements: 0,
        }
        .header()
    }

    /// A field's text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.text()
    }

    /// A field's integer.
    pub fn integer(&self, key: &str) -> Option<i64> {
        self.fields.get(key)?.integer()
    }

    /// A field's list.
    pub fn list(&self, key: &str) -> Option<&[Field]> {
        self.fields.get(key)?.list()
    }
}

struct Reader {
    file: BufReader<File>,
    left: u64,
    at: u64,
    elements: u64,
}

impl Reader {
    fn header(mut self) -> Result<Header, Error> {
        if &self.array::<4>()? != b"GGUF" {
            return Err(Error::Broken("is no GGUF file".into()));
        }
        match self.u32()? {
            2 | 3 => {}
            other => {
                return Err(Error::Broken(format!(
                    "has version {other} of GGUF; 2 and 3 are read"
                )));
            }
        }
        let (tensors, fields) = (self.count()?, self.count()?);
        let mut header = Header {
            fields: BTreeMap::new(),
            tensors: Vec::new(),
        };
        for _ in 0..fields {
            let (key, kind) = (self.text()?, self.u32()?);
            let value = self.field(kind, 0)?;
            header.fields.insert(key, value);
        }
        for _ in 0..tensors {
            let (name, dimensions) = (self.text()?, self.u32()?);
            if dimensions > DIMENSIONS_MAX {
                return Err(Error::Broken(format!(
                    "has tensor `{name}` of {dimensions} dimensions"
                )));
            }
            let mut shape = Vec::new();
            for _ in 0..dimensions {
                shape.push(self.u64()? as usize);
            }
            shape.reverse();
            let (kind, offset) = (self.u32()?, self.u64()?);
            header.tensors.push(TensorInfo {
                name,
                shape,
                kind,
                offset,
            });
        }
        let alignment = match header.integer("general.alignment") {
            None => ALIGNMENT,
            Some(n) => u64::try_from(n)
                .ok()
                .filter(|n| n.is_power_of_two())
                .ok_or_else(|| Error::Broken(format!("has an alignment of {n}")))?,
        };
        let begin = self.at.next_multiple_of(alignment);
        for tensor in &mut header.tensors {
            tensor.offset = tensor.offset.checked_add(begin).ok_or(Error::Cut)?;
        }
        Ok(header)
    }

    fn field(&mut self, kind: u32, depth: usize) -> Result<Field, Error> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(Error::Broken(format!(
                "has more than {ELEMENTS_MAX} values"
            )));
        }
        Ok(match kind {
            0 => Field::Integer(self.array::<1>()?[0].into()),
            1 => Field::Integer((self.array::<1>()?[0] as i8).into()),
            2 => Field::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Field::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Field::Integer(self.u32()?.into()),
            5 => Field::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Field::Number(f32::from_le_bytes(self.array()?).into()),
            7 => Field::Flag(self.array::<1>()?[0] != 0),
            8 => Field::Text(self.text()?),
            9 if depth < DEPTH_MAX => {
                let (kind, count) = (self.u32()?, self.u64()?);
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.field(kind, depth + 1)?);
                }
                Field::List(items)
            }
            10 => Field::Integer(i64::try_from(self.u64()?).unwrap_or(i64::MAX)),
            11 => Field::Integer(i64::from_le_bytes(self.array()?)),
            12 => Field::Number(f64::from_le_bytes(self.array()?)),
            other => return Err(Error::Broken(format!("has a field of type {other}"))),
        })
    }

    fn text(&mut self) -> Result<String, Error> {
        let length = self.u64()?;
        if length > self.left {
            return Err(Error::Cut);
        }
        if length > TEXT_MAX {
            return Err(Error::Broken(format!("has a text of {length} bytes")));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        // Tokens of one byte are written out in letters: what is no UTF-8 is no text of ours.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn count(&mut self) -> Result<u64, Error> {
        match self.u64()? {
            count if count <= ENTRIES_MAX => Ok(count),
            count => Err(Error::Broken(format!(
                "has {count} entries; at most {ENTRIES_MAX} are read"
            ))),
        }
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let length = bytes.len() as u64;
        self.left = self.left.checked_sub(length).ok_or(Error::Cut)?;
        self.at += length;
        self.file.read_exact(bytes).map_err(|_| Error::Cut)
    }
}
