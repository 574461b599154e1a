//! Encodings of integers: levels, numbers of dictionary values, lengths.
//!
//! As in [`encodings`](crate::encodings), decoders hold positions only.

use std::ops::Range;

use crate::fault::{Fault, broken};

/// A number of seven bits a byte, the lowest first.
fn varint(bytes: &[u8], position: &mut usize) -> Result<u64, Fault> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*position).ok_or(Fault::Truncated)?;
        *position += 1;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    broken("expected a number of at most 10 bytes, found a longer one")
}

fn zigzag(bytes: &[u8], position: &mut usize) -> Result<i64, Fault> {
    let value = varint(bytes, position)?;
    Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Moves `position` past `length` bytes and returns them.
///
/// # Errors
/// There are fewer.
pub fn take<'a>(bytes: &'a [u8], position: &mut usize, length: usize) -> Result<&'a [u8], Fault> {
    let end = position.checked_add(length).ok_or(Fault::Truncated)?;
    let taken = bytes.get(*position..end).ok_or(Fault::Truncated)?;
    *position = end;
    Ok(taken)
}

/// A length of four bytes.
///
/// # Errors
/// There are fewer bytes.
pub fn length_of_four(bytes: &[u8], position: &mut usize) -> Result<usize, Fault> {
    let length = take(bytes, position, 4)?;
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
    usize::try_from(length).map_err(|_| Fault::Truncated)
}

/// The number of `width` bits (at most 64) at `index`, counted in such numbers.
///
/// # Errors
/// It lies behind the end.
pub fn packed(bytes: &[u8], index: u64, width: u32) -> Result<u64, Fault> {
    let bit = index * u64::from(width);
    let start = usize::try_from(bit / 8).map_err(|_| Fault::Truncated)?;
    let shift = (bit % 8) as u32;
    let length = (shift + width).div_ceil(8) as usize;
    let bytes = bytes.get(start..start + length).ok_or(Fault::Truncated)?;
    // Up to nine bytes: 64 bits that begin in the middle of one.
    let value = bytes
        .iter()
        .rev()
        .fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
    let mask = (1_u128 << width) - 1;
    Ok(((value >> shift) & mask) as u64)
}

/// Runs of one number, and numbers packed into bits, in turn.
#[derive(Clone, Debug)]
pub struct Hybrid {
    position: usize,
    end: usize,
    width: u32,
    run: Run,
}

#[derive(Clone, Copy, Debug)]
enum Run {
    Same { value: u32, left: u64 },
    Packed { start: usize, index: u64, left: u64 },
}

impl Hybrid {
    /// Numbers of `width` bits in `range` of the page's bytes.
    ///
    /// # Errors
    /// The width is above 32.
    pub fn new(range: Range<usize>, width: u32) -> Result<Self, Fault> {
        if width > 32 {
            return broken(format!(
                "expected numbers of at most 32 bits, found {width}"
            ));
        }
        Ok(Self {
            position: range.start,
            end: range.end,
            width,
            run: Run::Same { value: 0, left: 0 },
        })
    }

    /// Numbers that are levels up to `max`.
    ///
    /// # Errors
    /// None that could happen: a level has 16 bits.
    pub fn levels(range: Range<usize>, max: u16) -> Result<Self, Fault> {
        Self::new(range, u16::BITS - max.leading_zeros())
    }

    /// The next number.
    ///
    /// # Errors
    /// There is none.
    pub fn next(&mut self, bytes: &[u8]) -> Result<u32, Fault> {
        // What can only be 0 need not be written.
        if self.width == 0 {
            return Ok(0);
        }
        let bytes = bytes.get(..self.end).ok_or(Fault::Truncated)?;
        loop {
            match &mut self.run {
                Run::Same { value, left } if *left > 0 => {
                    *left -= 1;
                    return Ok(*value);
                }
                Run::Packed { start, index, left } if *left > 0 => {
                    let value = packed(&bytes[*start..], *index, self.width)?;
                    *left -= 1;
                    *index += 1;
                    return Ok(value as u32);
                }
                _ => self.run = self.next_run(bytes)?,
            }
        }
    }

    fn next_run(&mut self, bytes: &[u8]) -> Result<Run, Fault> {
        let head = varint(bytes, &mut self.position)?;
        let count = head >> 1;
        if head & 1 == 0 {
            let value = take(bytes, &mut self.position, self.width.div_ceil(8) as usize)?;
            let value = value
                .iter()
                .rev()
                .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
            return Ok(Run::Same { value, left: count });
        }
        // Eight numbers a count. Some writers leave the last bytes out, so the
        // bytes are looked for where they are used.
        let start = self.position;
        let length = count.saturating_mul(u64::from(self.width));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.position = start.saturating_add(length).min(bytes.len());
        Ok(Run::Packed {
            start,
            index: 0,
            left: count.saturating_mul(8),
        })
    }
}

/// Integers as differences, packed into bits by blocks.
#[derive(Clone, Debug)]
pub struct Delta {
    position: usize,
    block: u64,
    miniblocks: u64,
    /// Numbers that were not read yet.
    left: u64,
    last: i64,
    is_first: bool,
    smallest: i64,
    /// Widths of this block's miniblocks that were not begun yet.
    widths: Range<usize>,
    /// The miniblock that is being read: its first byte, width and next index.
    start: usize,
    width: u32,
    index: u64,
}

impl Delta {
    /// Numbers from `position` on, at most `count`.
    ///
    /// # Errors
    /// They have no header, or one that makes no sense.
    pub fn new(bytes: &[u8], mut position: usize, count: u64) -> Result<Self, Fault> {
        let position = &mut position;
        let block = varint(bytes, position)?;
        let miniblocks = varint(bytes, position)?;
        let left = varint(bytes, position)?;
        let last = zigzag(bytes, position)?;
        // Writers have 128 and 4.
        let fits = (1..=65536).contains(&block)
            && (1..=block).contains(&miniblocks)
            && block % (8 * miniblocks) == 0;
        if !fits {
            return broken(format!(
                "expected blocks of differences, found {miniblocks} parts in a block of {block}"
            ));
        }
        if left > count {
            return broken(format!("expected at most {count} values, found {left}"));
        }
        Ok(Self {
            position: *position,
            block,
            miniblocks,
            left,
            last,
            is_first: true,
            smallest: 0,
            widths: 0..0,
            start: 0,
            width: 0,
            index: block / miniblocks,
        })
    }

    /// The next number.
    ///
    /// # Errors
    /// There is none.
    pub fn next(&mut self, bytes: &[u8]) -> Result<i64, Fault> {
        self.left = self.left.checked_sub(1).ok_or(Fault::Truncated)?;
        if std::mem::take(&mut self.is_first) {
            return Ok(self.last);
        }
        if self.index == self.block / self.miniblocks {
            self.next_miniblock(bytes)?;
        }
        let difference = packed(
            bytes.get(self.start..).ok_or(Fault::Truncated)?,
            self.index,
            self.width,
        )?;
        self.index += 1;
        // Differences wrap around by definition.
        self.last = self
            .last
            .wrapping_add(self.smallest)
            .wrapping_add(difference.cast_signed());
        Ok(self.last)
    }

    fn next_miniblock(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.widths.is_empty() {
            self.smallest = zigzag(bytes, &mut self.position)?;
            let start = self.position;
            take(bytes, &mut self.position, self.miniblocks as usize)?;
            self.widths = start..self.position;
        }
        let Some(width) = self.widths.next().and_then(|width| bytes.get(width)) else {
            return Err(Fault::Truncated);
        };
        if *width > 64 {
            return broken(format!(
                "expected differences of at most 64 bits, found {width}"
            ));
        }
        self.width = u32::from(*width);
        self.index = 0;
        self.start = self.position;
        let length = self.block / self.miniblocks / 8 * u64::from(self.width);
        // The last one may be cut short.
        self.position = (self.position + length as usize).min(bytes.len());
        Ok(())
    }

    /// Where the numbers end: what they are lengths of is behind them.
    ///
    /// # Errors
    /// There are fewer than their header says.
    pub fn end(&self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut numbers = self.clone();
        while numbers.left > 0 {
            numbers.next(bytes)?;
        }
        Ok(numbers.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers until the first fault, and the fault.
    fn all(mut next: impl FnMut() -> Result<i64, Fault>) -> (Vec<i64>, String) {
        let mut numbers = Vec::new();
        loop {
            match next() {
                // A run may be longer than anybody wants to see.
                Ok(_) if numbers.len() == 20 => return (numbers, "more".to_owned()),
                Ok(number) => numbers.push(number),
                Err(fault) => return (numbers, format!("{fault:?}")),
            }
        }
    }

    fn check_hybrid(bytes: &[u8], width: u32, expected: &[i64], end: &str) {
        let mut hybrid = Hybrid::new(0..bytes.len(), width).unwrap();
        let found = all(|| hybrid.next(bytes).map(i64::from));
        assert_eq!(found, (expected.to_vec(), end.to_owned()), "{bytes:?}");
    }

    // Catches levels and dictionary numbers that are read from the wrong bits.
    // The packed numbers are the example of the format's description.
    #[test]
    fn runs_and_packed_numbers() {
        let packed = [0b0000_0011, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        check_hybrid(&packed, 3, &[0, 1, 2, 3, 4, 5, 6, 7], "Truncated");
        check_hybrid(&[6, 9, 4, 1], 4, &[9, 9, 9, 1, 1], "Truncated");
        check_hybrid(&[4, 0x34, 0x12], 13, &[0x1234, 0x1234], "Truncated");
        check_hybrid(
            &[3, 0xFF, 2, 1],
            1,
            &[1, 1, 1, 1, 1, 1, 1, 1, 1],
            "Truncated",
        );
        check_hybrid(&[], 0, &[0; 20], "more");
        check_hybrid(&[], 1, &[], "Truncated");
        // A run without end, packed numbers that were left out.
        check_hybrid(
            &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1],
            1,
            &[1; 20],
            "more",
        );
        check_hybrid(&[5, 0xFF], 1, &[1; 8], "Truncated");
        assert!(Hybrid::new(0..0, 33).is_err());
    }

    fn check_delta(bytes: &[u8], count: u64, expected: &[i64], end: &str) {
        let found = match Delta::new(bytes, 0, count) {
            Ok(mut delta) => all(|| delta.next(bytes)),
            Err(fault) => (Vec::new(), format!("{fault:?}")),
        };
        assert_eq!(found, (expected.to_vec(), end.to_owned()), "{bytes:?}");
    }

    // Catches sums that go wrong at the borders of blocks, and headers that
    // promise more than there is. The first two are the examples of the
    // format's description, in blocks of 8 in one part.
    #[test]
    fn differences() {
        let header = [8, 1, 5, 2];
        let same = [&header[..], &[2, 0]].concat();
        check_delta(&same, 5, &[1, 2, 3, 4, 5], "Truncated");
        let header = [8, 1, 8, 14];
        let packed = [&header[..], &[3, 2, 0b1100_0000, 0b0011_1111]].concat();
        check_delta(&packed, 8, &[7, 5, 3, 1, 2, 3, 4, 5], "Truncated");
        // Ten numbers: the second block has the last of them.
        let blocks = [8, 1, 10, 0, 2, 0, 1, 0];
        check_delta(&blocks, 10, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 7], "Truncated");
        check_delta(&blocks[..6], 10, &[0, 1, 2, 3, 4, 5, 6, 7, 8], "Truncated");
        check_delta(
            &same,
            4,
            &[],
            "Broken(\"expected at most 4 values, found 5\")",
        );
        check_delta(
            &[0, 1, 5, 2],
            5,
            &[],
            "Broken(\"expected blocks of differences, found 1 parts in a block of 0\")",
        );
        check_delta(
            &[8, 1, 5, 2, 2, 65],
            5,
            &[1],
            "Broken(\"expected differences of at most 64 bits, found 65\")",
        );
    }
}
