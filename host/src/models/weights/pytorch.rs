//! `pytorch_model.bin` in both of its forms.
//!
//! Since torch 1.6 it is a zip archive: `data.pkl`, a pickle of the state dict, and
//! `data/<key>`, the storages that it names. Before, it was a row of pickles (a magic number, the
//! protocol, what kind of machine wrote it, the state dict, the storages' keys) with the storages
//! behind them. [`super::pickle`] reads the pickles.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::Error;
use super::pickle::{Document, Fault, Scalar, Value, View};
use super::stored::{Element, Stored};

/// Longest pickle. That of a model with ten thousand tensors has about two million bytes.
const PICKLE_MAX: u64 = 32 << 20;
/// What is read of an old file at first: the pickles of most models.
const OLD_FIRST: u64 = 1 << 20;
/// First value of an old file, little endian.
const OLD_MAGIC: [u8; 10] = 0x1950_a86a_20f9_469c_fc6c_u128
    .to_le_bytes()
    .first_chunk()
    .copied()
    .expect("ten of sixteen");
/// Second value of an old file.
const OLD_PROTOCOL: i64 = 1001;

/// The tensors of a file of `length` bytes.
pub(super) fn tensors(
    path: &Path,
    file: &mut File,
    length: u64,
) -> Result<Vec<(String, Stored)>, Error> {
    let mut begin = [0; 4];
    let zip = length >= 4 && file.read_exact(&mut begin).is_ok() && &begin == b"PK\x03\x04";
    let read = match zip {
        true => of_archive(file, length),
        false if begin[0] == 0x80 => of_row(file, length),
        false => Err(Fault::Broken("is no file that torch.save wrote".into())),
    };
    read.map_err(|fault| match fault {
        Fault::Refused(what) => Error::Refused {
            file: path.into(),
            what,
        },
        Fault::Cut => Error::Broken {
            file: path.into(),
            message: format!("is cut short ({length} bytes)"),
        },
        Fault::Broken(message) => Error::Broken {
            file: path.into(),
            message,
        },
    })
}

fn of_archive(file: &File, length: u64) -> Result<Vec<(String, Stored)>, Fault> {
    let unreadable = |e: &dyn std::fmt::Display| Fault::Broken(format!("is a broken archive: {e}"));
    // The directory stands at the end: where that is missing, so is a part of the file.
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|_| Fault::Cut)?;
    let mut places = HashMap::new();
    let (mut pickle, mut order) = (None, None);
    for i in 0..archive.len() {
        let entry = archive.by_index_raw(i).map_err(|e| unreadable(&e))?;
        // The first folder has the archive's name.
        let name = entry.name().map_err(|e| unreadable(&e))?;
        let Some((_, name)) = name.split_once('/') else {
            continue;
        };
        let place = match entry.data_start() {
            Some(start) if entry.compression() == CompressionMethod::Stored => {
                if start
                    .checked_add(entry.size())
                    .is_none_or(|end| end > length)
                {
                    return Err(Fault::Cut);
                }
                (start, entry.size())
            }
            _ => {
                return Err(Fault::Broken(format!(
                    "is an archive that torch did not write: `{name}` is compressed"
                )));
            }
        };
        match name {
            "data.pkl" => pickle = Some(place),
            "byteorder" => order = Some(place),
            _ => {
                if let Some(key) = name.strip_prefix("data/") {
                    places.insert(key.to_owned(), place);
                }
            }
        }
    }
    if let Some(order) = order
        && read_at(file, order)? != b"little"
    {
        return Err(Fault::Broken("was written on a big-endian machine".into()));
    }
    let pickle = pickle.ok_or_else(|| {
        Fault::Broken("is an archive that torch did not write: it has no `data.pkl`".into())
    })?;
    let bytes = read_at(file, pickle)?;
    let document = Document::read(&bytes, 0)?;
    stored(&document, |key| places.get(key).copied())
}

fn of_row(file: &mut File, length: u64) -> Result<Vec<(String, Stored)>, Fault> {
    let mut size = OLD_FIRST.min(length);
    loop {
        let bytes = read_at(file, (0, size))?;
        match of_row_begin(&bytes, file, length) {
            // Nothing tells how long the pickles are: more is read until they end.
            Err(Fault::Cut) if size < length.min(PICKLE_MAX) => {
                size = (4 * size).min(length).min(PICKLE_MAX);
            }
            other => return other,
        }
    }
}

fn of_row_begin(
    bytes: &[u8],
    file: &mut File,
    length: u64,
) -> Result<Vec<(String, Stored)>, Fault> {
    let magic = Document::read(bytes, 0)?;
    if !matches!(magic.root(), Value::Long(digits) if *digits == OLD_MAGIC) {
        return Err(Fault::Broken("is a pickle, but none of torch's".into()));
    }
    let protocol = Document::read(bytes, magic.end)?;
    if *protocol.root() != Value::Int(OLD_PROTOCOL) {
        return Err(Fault::Broken("has an unknown protocol of torch's".into()));
    }
    let machine = Document::read(bytes, protocol.end)?;
    if machine.get("little_endian") == Some(&Value::Bool(false)) {
        return Err(Fault::Broken("was written on a big-endian machine".into()));
    }
    let state = Document::read(bytes, machine.end)?;
    let keys = Document::read(bytes, state.end)?;
    let Value::List(list) = keys.root() else {
        return Err(Fault::Broken("has no list of its storages".into()));
    };
    let scalars: HashMap<&str, Scalar> = state
        .values
        .iter()
        .filter_map(|value| match value {
            Value::Storage(storage) => Some((storage.key, storage.scalar)),
            _ => None,
        })
        .collect();
    let mut at = keys.end as u64;
    let mut places = HashMap::new();
    for key in list {
        let Value::Text(key) = keys.value(*key) else {
            return Err(Fault::Broken("has a storage without a name".into()));
        };
        let scalar = scalars.get(key).ok_or_else(|| {
            Fault::Broken(format!("has a storage `{key}` that no tensor looks at"))
        })?;
        let mut count = [0; 8];
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut count))
            .map_err(|_| Fault::Cut)?;
        let size = u64::from_le_bytes(count).checked_mul(scalar.size() as u64);
        let begin = at + 8;
        match size.and_then(|size| Some((size, begin.checked_add(size)?))) {
            Some((size, end)) if end <= length => {
                places.insert((*key).to_owned(), (begin, size));
                at = end;
            }
            _ => return Err(Fault::Cut),
        }
    }
    stored(&state, |key| places.get(key).copied())
}

/// Looks up where the tensors of a state dict lie.
fn stored(
    document: &Document,
    place: impl Fn(&str) -> Option<(u64, u64)>,
) -> Result<Vec<(String, Stored)>, Fault> {
    let one = |(name, view): (&str, &View)| {
        let storage = &view.storage;
        let (begin, size) = place(storage.key).ok_or_else(|| {
            Fault::Broken(format!(
                "has no storage `{}` for tensor `{name}`",
                storage.key
            ))
        })?;
        let width = storage.scalar.size() as u64;
        let needed = (storage.offset as u64)
            .checked_add(storage.elements as u64)
            .and_then(|elements| elements.checked_mul(width));
        if needed.is_none_or(|needed| needed > size) {
            return Err(Fault::Broken(format!(
                "holds too few bytes for tensor `{name}`: storage `{}` has {size}",
                storage.key
            )));
        }
        // In range: the view lies within the storage, and that within the file.
        let offset = begin + (storage.offset + view.offset) as u64 * width;
        Ok((
            name.to_owned(),
            Stored {
                element: element(storage.scalar),
                shape: view.shape.clone(),
                strides: (!view.is_contiguous()).then(|| view.strides.clone()),
                offset,
                pairs: None,
            },
        ))
    };
    document.tensors()?.into_iter().map(one).collect()
}

fn element(scalar: Scalar) -> Element {
    match scalar {
        Scalar::F64 => Element::F64,
        Scalar::F32 => Element::F32,
        Scalar::F16 => Element::F16,
        Scalar::BF16 => Element::BF16,
        other => Element::Other(format!("{other:?}")),
    }
}

fn read_at(mut file: &File, (begin, size): (u64, u64)) -> Result<Vec<u8>, Fault> {
    if size > PICKLE_MAX {
        return Err(Fault::Broken(format!(
            "has a pickle of {size} bytes; at most {PICKLE_MAX} are read"
        )));
    }
    let mut bytes = vec![0; size as usize];
    file.seek(SeekFrom::Start(begin))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|_| Fault::Cut)?;
    Ok(bytes)
}
