//! Looking for bytes of a kind, many at a time.

/// Calls `found` with the place of each byte that lies in one of some ranges of ASCII, given by
/// their first and last byte, in order.
#[inline(always)]
pub fn for_each_within<const N: usize>(
    bytes: &[u8],
    ranges: [(u8, u8); N],
    mut found: impl FnMut(usize),
) {
    let (blocks, rest) = bytes.as_chunks::<64>();
    // Filled up with what no range has.
    let mut last = [0x80; 64];
    last[..rest.len()].copy_from_slice(rest);
    let mut start = 0;
    // One loop, so that `found` stands at one place.
    for block in blocks.iter().chain([&last]) {
        let mut places = mask(block, ranges);
        while places != 0 {
            found(start + places.trailing_zeros() as usize);
            places &= places - 1;
        }
        start += 64;
    }
}

/// Whether all characters of a text are of ASCII. A loop that looks at all of them, whatever it has
/// found, is one that compilers make wide.
#[must_use]
pub fn is_ascii(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let any = match bytes.last_chunk() {
        // The last eight bytes overlap with those before.
        Some(last) => {
            let words = bytes.as_chunks().0.iter();
            words.fold(word(last), |any, bytes| any | word(bytes))
        }
        None => bytes.iter().fold(0, |any, byte| any | u64::from(*byte)),
    };
    any & 0x8080_8080_8080_8080 == 0
}

/// A bit for each of 64 bytes, set for those that lie in one of the ranges.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
fn mask<const N: usize>(bytes: &[u8; 64], ranges: [(u8, u8); N]) -> u64 {
    // Moves the lowest bits of eight bytes into one.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut mask = 0;
    for (number, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let within = within(u64::from_le_bytes(*word), ranges) >> 7;
        mask |= (within.wrapping_mul(GATHER) >> 56) << (8 * number);
    }
    mask
}

/// The highest bit of each byte that lies in one of the ranges.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
fn within<const N: usize>(bytes: u64, ranges: [(u8, u8); N]) -> u64 {
    /// One in each byte of a word.
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Sums of less than 128 and at most 128 do not go on into the next byte.
    let low = bytes & (0x7f * EACH);
    let from = |first: u8| low + u64::from(0x80 - first) * EACH;
    let within = ranges.map(|(first, last)| from(first) & !from(last + 1));
    within.into_iter().fold(0, |all, one| all | one) & !bytes & (0x80 * EACH)
}

/// A bit for each of 64 bytes, set for those that lie in one of the ranges: as a component, 16
/// at a time.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn mask<const N: usize>(bytes: &[u8; 64], ranges: [(u8, u8); N]) -> u64 {
    use std::arch::wasm32::{i8x16_bitmask, u8x16_le, u8x16_splat, u8x16_sub, u64x2, v128_or};
    let mut mask = 0;
    for (number, lanes) in bytes.as_chunks::<16>().0.iter().enumerate() {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| lanes[at + i]));
        let lanes = u64x2(word(0), word(8));
        let within = ranges.map(|(first, last)| {
            let from_first = u8x16_sub(lanes, u8x16_splat(first));
            u8x16_le(from_first, u8x16_splat(last - first))
        });
        let within = within
            .into_iter()
            .fold(u8x16_splat(0), |all, one| v128_or(all, one));
        mask |= u64::from(i8x16_bitmask(within)) << (16 * number);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a byte that is not looked at.
    #[test]
    fn one_character_is_enough() {
        for length in 0..100 {
            let text = "\x7f".repeat(length);
            assert!(is_ascii(&text));
            for at in 0..=length {
                let mut text = text.clone();
                text.insert(at, '\u{80}');
                assert!(!is_ascii(&text));
            }
        }
    }

    /// Would catch a byte taken for another one, a sum that runs into the next byte, and places
    /// out of order.
    #[test]
    fn each_byte_is_found_where_it_is() {
        const RANGES: [(u8, u8); 4] = [(0, 0), (0x09, 0x0d), (0x41, 0x41), (0x7b, 0x7f)];
        let is_within = |byte: &u8| matches!(*byte, 0 | 0x09..=0x0d | 0x41 | 0x7b..=0x7f);
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as u8
        };
        for length in 0..200 {
            let ordered: Vec<u8> = (0..length as u8).chain(200..=255).collect();
            let mixed: Vec<u8> = (0..length).map(|_| next()).collect();
            for bytes in [ordered, mixed] {
                let mut found = Vec::new();
                for_each_within(&bytes, RANGES, |at| found.push(at));
                let all = bytes.iter().enumerate();
                let expected = all.filter(|(_, byte)| is_within(byte));
                assert_eq!(found, expected.map(|(at, _)| at).collect::<Vec<_>>());
            }
        }
    }
}
