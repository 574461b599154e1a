//! Encodings of values: a page's bytes into values, one at a time.
//!
//! Decoders hold positions and are given the page's bytes at every call, so
//! that a page and its decoders can lie in one struct.
//! <https://github.com/apache/parquet-format/blob/master/Encodings.md>

use std::borrow::Cow;
use std::ops::Range;

use crate::fault::{Fault, broken};
use crate::integers::{Delta, Hybrid, length_of_four, packed, take};
use crate::metadata::Physical;

/// The values of a page.
#[derive(Clone, Debug)]
pub enum Values {
    Plain {
        position: usize,
    },
    Bits {
        position: usize,
        index: u64,
    },
    Runs(Hybrid),
    Dictionary(Hybrid),
    Differences(Delta),
    Lengths {
        lengths: Delta,
        position: usize,
    },
    Prefixes {
        prefixes: Delta,
        lengths: Delta,
        position: usize,
        last: Vec<u8>,
    },
    Split {
        start: usize,
        index: usize,
        width: usize,
    },
}

/// The page's values that a column repeats, by their number.
#[derive(Debug, Default)]
pub struct Dictionary {
    bytes: Vec<u8>,
    values: Vec<Range<u32>>,
}

impl Dictionary {
    /// Of a page that holds `count` values in plain encoding.
    ///
    /// # Errors
    /// There are fewer.
    pub fn new(bytes: Vec<u8>, count: u64, physical: Physical) -> Result<Self, Fault> {
        let mut position = 0;
        let mut values = Vec::new();
        for _ in 0..count {
            let value = plain(&bytes, &mut position, physical)?;
            let end = u32::try_from(position).map_err(|_| Fault::Truncated)?;
            // A page has far fewer bytes than 2³².
            values.push(end - value.len() as u32..end);
            if value.is_empty() && position == 0 {
                return broken("expected values of some length, found none");
            }
        }
        Ok(Self { bytes, values })
    }

    fn get(&self, index: u32) -> Result<&[u8], Fault> {
        let Some(range) = self.values.get(index as usize) else {
            return broken(format!(
                "expected one of the dictionary's {} values, found number {index}",
                self.values.len()
            ));
        };
        Ok(&self.bytes[range.start as usize..range.end as usize])
    }

    /// Bytes it takes.
    pub fn size(&self) -> usize {
        self.bytes.capacity() + self.values.capacity() * size_of::<Range<u32>>()
    }
}

/// Bytes of a value that has always the same number of them.
fn width(physical: Physical) -> Option<usize> {
    match physical {
        Physical::Int32 | Physical::Float => Some(4),
        Physical::Int64 | Physical::Double => Some(8),
        Physical::Int96 => Some(12),
        Physical::FixedLengthByteArray(length) => Some(length),
        Physical::ByteArray | Physical::Boolean => None,
    }
}

fn plain<'a>(bytes: &'a [u8], position: &mut usize, physical: Physical) -> Result<&'a [u8], Fault> {
    let length = match width(physical) {
        Some(width) => width,
        None => length_of_four(bytes, position)?,
    };
    take(bytes, position, length)
}

impl Values {
    /// The values from `position` on, at most `count`. `encoding` is a code of
    /// `Encoding`.
    ///
    /// # Errors
    /// The encoding is unknown or not one for the type.
    pub fn new(
        encoding: i64,
        physical: Physical,
        bytes: &[u8],
        mut position: usize,
        count: u64,
    ) -> Result<Self, Fault> {
        Ok(match (encoding, physical) {
            (0, Physical::Boolean) => Self::Bits { position, index: 0 },
            (0, _) => Self::Plain { position },
            (2 | 8, _) => {
                // A page of nulls only has no width either.
                let width = bytes.get(position).copied().unwrap_or_default();
                let start = (position + 1).min(bytes.len());
                Self::Dictionary(Hybrid::new(start..bytes.len(), u32::from(width))?)
            }
            (3, Physical::Boolean) => {
                let length = length_of_four(bytes, &mut position)?;
                let start = position;
                take(bytes, &mut position, length)?;
                Self::Runs(Hybrid::new(start..position, 1)?)
            }
            (5, Physical::Int32 | Physical::Int64) => {
                Self::Differences(Delta::new(bytes, position, count)?)
            }
            (6, Physical::ByteArray) => {
                let lengths = Delta::new(bytes, position, count)?;
                let position = lengths.end(bytes)?;
                Self::Lengths { lengths, position }
            }
            (7, Physical::ByteArray | Physical::FixedLengthByteArray(_)) => {
                let prefixes = Delta::new(bytes, position, count)?;
                let lengths = Delta::new(bytes, prefixes.end(bytes)?, count)?;
                let position = lengths.end(bytes)?;
                Self::Prefixes {
                    prefixes,
                    lengths,
                    position,
                    last: Vec::new(),
                }
            }
            (9, _) if let Some(width @ 1..) = width(physical) => Self::Split {
                start: position,
                index: 0,
                width,
            },
            (other, _) => {
                return Err(Fault::Unsupported(format!(
                    "found the encoding number {other} for values of type {physical:?}, which can't be read\n\
                     hint: write the file with the writer's default encodings"
                )));
            }
        })
    }

    /// The next value, as plain encoding has it but without its length;
    /// truth is a byte.
    ///
    /// # Errors
    /// There is none.
    pub fn next<'a>(
        &mut self,
        bytes: &'a [u8],
        physical: Physical,
        dictionary: Option<&'a Dictionary>,
    ) -> Result<Cow<'a, [u8]>, Fault> {
        Ok(match self {
            Self::Plain { position } => plain(bytes, position, physical)?.into(),
            Self::Bits { position, index } => {
                let bit = packed(bytes.get(*position..).ok_or(Fault::Truncated)?, *index, 1)?;
                *index += 1;
                vec![bit as u8].into()
            }
            Self::Runs(runs) => vec![runs.next(bytes)? as u8].into(),
            Self::Dictionary(indices) => {
                let index = indices.next(bytes)?;
                match dictionary {
                    Some(dictionary) => dictionary.get(index)?.into(),
                    None => return broken("expected a dictionary before its use, found none"),
                }
            }
            Self::Differences(numbers) => {
                let number = numbers.next(bytes)?.to_le_bytes();
                let width = width(physical).unwrap_or(number.len()).min(number.len());
                number[..width].to_vec().into()
            }
            Self::Lengths { lengths, position } => {
                let length = size(lengths.next(bytes)?)?;
                take(bytes, position, length)?.into()
            }
            Self::Prefixes {
                prefixes,
                lengths,
                position,
                last,
            } => {
                let prefix = size(prefixes.next(bytes)?)?;
                let length = size(lengths.next(bytes)?)?;
                if prefix > last.len() {
                    return Err(Fault::Truncated);
                }
                last.truncate(prefix);
                last.extend_from_slice(take(bytes, position, length)?);
                last.clone().into()
            }
            Self::Split {
                start,
                index,
                width,
            } => {
                // The first bytes of all values, then the second ones, and so on.
                let bytes = bytes.get(*start..).ok_or(Fault::Truncated)?;
                let count = bytes.len() / *width;
                if *index >= count {
                    return Err(Fault::Truncated);
                }
                let value: Vec<u8> = (0..*width)
                    .map(|byte| bytes[byte * count + *index])
                    .collect();
                *index += 1;
                value.into()
            }
        })
    }
}

fn size(number: i64) -> Result<usize, Fault> {
    usize::try_from(number).map_err(|_| Fault::Broken(format!("expected a length, found {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoding: i64, physical: Physical, bytes: &[u8], expected: &[&[u8]]) {
        let mut values = Values::new(encoding, physical, bytes, 0, expected.len() as u64).unwrap();
        for value in expected {
            let found = values.next(bytes, physical, None).unwrap();
            assert_eq!(&*found, *value, "{bytes:?}");
        }
        assert!(values.next(bytes, physical, None).is_err(), "{bytes:?}");
    }

    // Catches values cut at the wrong place.
    #[test]
    fn values() {
        use Physical::{ByteArray, FixedLengthByteArray, Int32};
        let texts: [&[u8]; 2] = [b"ab", b""];
        check(0, ByteArray, &[2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0], &texts);
        check(0, FixedLengthByteArray(2), b"abcd", &[b"ab", b"cd"]);
        let lengths = [8, 1, 2, 4, 3, 0];
        check(6, ByteArray, &[&lengths[..], b"ab"].concat(), &texts);
        // Prefixes 0 and 2, then lengths 2 and 1.
        let prefixes = [8, 1, 2, 0, 4, 0];
        let lengths = [8, 1, 2, 4, 1, 0];
        let bytes = [&prefixes[..], &lengths, b"abc"].concat();
        check(7, ByteArray, &bytes, &[b"ab", b"abc"]);
        check(9, Int32, b"aeibfjcgkdhl", &[b"abcd", b"efgh", b"ijkl"]);
    }

    // Catches numbers of dictionary values that lie outside of it, and a count
    // of values without bytes.
    #[test]
    fn dictionaries() {
        let bytes = vec![1, 0, 0, 0, b'a', 0, 0, 0, 0];
        let dictionary = Dictionary::new(bytes.clone(), 2, Physical::ByteArray).unwrap();
        assert_eq!(dictionary.get(0).unwrap(), b"a");
        assert_eq!(dictionary.get(1).unwrap(), b"");
        assert!(dictionary.get(2).is_err());
        assert!(Dictionary::new(bytes, 3, Physical::ByteArray).is_err());
        let nothing = Physical::FixedLengthByteArray(0);
        assert!(Dictionary::new(Vec::new(), u64::MAX, nothing).is_err());
    }
}
