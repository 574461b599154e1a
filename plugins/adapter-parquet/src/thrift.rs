//! Thrift's compact protocol, as far as Parquet's footers and page headers
//! need it.
//!
//! Nothing is allocated on the word of a length: text is borrowed, and a list
//! can't claim more items than there are bytes.
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use crate::fault::{Fault, broken};

/// Types of fields and items.
pub mod kind {
    /// A field that is true; it has no further bytes.
    pub const TRUE: u8 = 1;
    /// A field that is false; it has no further bytes.
    pub const FALSE: u8 = 2;
    /// A byte as it is.
    pub const BYTE: u8 = 3;
    /// Zigzag varints.
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    /// Eight bytes.
    pub const DOUBLE: u8 = 7;
    /// Bytes or text, with their length before them.
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const MAP: u8 = 11;
    pub const STRUCT: u8 = 12;
}

/// How deep structures that we don't know may be nested; Parquet's own are
/// nested five deep.
const DEPTH_MAX: usize = 16;

/// Reads values one behind the other.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.position..];
        let taken = rest.get(..length).ok_or(Fault::Truncated)?;
        self.position += length;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        broken("expected a number of at most 10 bytes, found a longer one")
    }

    fn length(&mut self) -> Result<usize, Fault> {
        let length = self.varint()?;
        usize::try_from(length).map_err(|_| Fault::Truncated)
    }

    /// An integer of any width.
    ///
    /// # Errors
    /// It has no end.
    pub fn int(&mut self) -> Result<i64, Fault> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// An integer that is a size, a count or an offset.
    ///
    /// # Errors
    /// It is negative.
    pub fn unsigned(&mut self) -> Result<u64, Fault> {
        let value = self.int()?;
        u64::try_from(value).map_err(|_| {
            Fault::Broken(format!(
                "expected a size, a count or an offset, found {value}"
            ))
        })
    }

    /// Bytes or text.
    ///
    /// # Errors
    /// They go on behind the end.
    pub fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.length()?;
        self.take(length)
    }

    /// Reads a list of structs, an item a call.
    ///
    /// # Errors
    /// The items are something else, or more than there are bytes; those of `item`.
    pub fn structs(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (kind, count) = self.list()?;
        if kind != kind::STRUCT && count > 0 {
            return broken(format!(
                "expected a list of structs, found items of type {kind}"
            ));
        }
        for _ in 0..count {
            item(self)?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(u8, usize), Fault> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.length()?,
            count => usize::from(count),
        };
        // An item has at least a byte.
        if count > self.bytes.len() - self.position {
            return Err(Fault::Truncated);
        }
        Ok((head & 0x0F, count))
    }

    /// Reads a struct: `field` is called with the number and type of each of
    /// its fields, and reads or [skips](Self::skip) it.
    ///
    /// # Errors
    /// The struct has no end; those of `field`.
    pub fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, u8) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut id: i64 = 0;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0F;
            if kind == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.int()?,
                step => id.saturating_add(i64::from(step)),
            };
            field(self, id, kind)?;
        }
    }

    /// Skips a field of this type.
    ///
    /// # Errors
    /// There is no such type, it has no end, or it is nested too deeply.
    pub fn skip(&mut self, kind: u8) -> Result<(), Fault> {
        self.skip_at(kind, DEPTH_MAX)
    }

    fn skip_at(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        let Some(below) = depth.checked_sub(1) else {
            return broken(format!(
                "expected at most {DEPTH_MAX} nested structures, found more"
            ));
        };
        match kind {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.byte().map(drop),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.take(8).map(drop),
            kind::BINARY => self.binary().map(drop),
            kind::LIST | kind::SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_item(kind, below))
            }
            kind::MAP => {
                let count = self.length()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                for _ in 0..count {
                    self.skip_item(kinds >> 4, below)?;
                    self.skip_item(kinds & 0x0F, below)?;
                }
                Ok(())
            }
            kind::STRUCT => self.fields(|reader, _, kind| reader.skip_at(kind, below)),
            other => broken(format!("expected a type from 1 to 12, found {other}")),
        }
    }

    /// Among items, truth is a byte.
    fn skip_item(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        match kind {
            kind::TRUE | kind::FALSE => self.byte().map(drop),
            other => self.skip_at(other, depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        let mut reader = Reader::new(bytes);
        let mut found = String::new();
        let result = reader.fields(|reader, id, kind| {
            match kind {
                kind::I32 => found.push_str(&format!("{id}={} ", reader.int()?)),
                kind::BINARY => found.push_str(&format!("{id}={:?} ", reader.binary()?)),
                kind::TRUE | kind::FALSE => {
                    found.push_str(&format!("{id}={} ", kind == kind::TRUE))
                }
                other => {
                    reader.skip(other)?;
                    found.push_str(&format!("{id} "));
                }
            }
            Ok(())
        });
        match result {
            Ok(()) => found.push_str(&format!("| {}", reader.position())),
            Err(fault) => found.push_str(&format!("| {fault:?}")),
        }
        assert_eq!(found, expected, "{bytes:?}");
    }

    // Catches fields read under the wrong number or with the wrong sign, and
    // unknown ones that take their neighbours with them.
    #[test]
    fn structs() {
        check(&[0x15, 3, 0x15, 4, 0], "1=-2 2=2 | 5");
        check(&[0x05, 40, 2, 0x21, 0x12, 0], "20=1 22=true 23=false | 6");
        check(&[0x18, 2, 7, 8, 0], "1=[7, 8] | 5");
        check(&[0x19, 0x25, 2, 4, 0x15, 2, 0], "1 2=1 | 7");
        check(&[0x1C, 0x15, 2, 0, 0x15, 2, 0], "1 2=1 | 7");
        check(&[0x1B, 1, 0x58, 2, 1, 9, 0x15, 2, 0], "1 2=1 | 9");
    }

    // Catches lengths that are believed.
    #[test]
    fn ends() {
        check(&[], "| Truncated");
        check(&[0x15], "| Truncated");
        check(&[0x18, 200, 1, 7], "| Truncated");
        check(&[0x19, 0xF5, 0xFF, 0xFF, 0xFF, 0xFF, 7], "| Truncated");
        check(
            &[0x1D, 0],
            "| Broken(\"expected a type from 1 to 12, found 13\")",
        );
        check(
            &[0x1C; 64],
            "| Broken(\"expected at most 16 nested structures, found more\")",
        );
        check(
            &[[0x15].as_slice(), &[0xFF; 12]].concat(),
            "| Broken(\"expected a number of at most 10 bytes, found a longer one\")",
        );
    }
}
