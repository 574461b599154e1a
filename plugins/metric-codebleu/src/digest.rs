//! Fingerprints by which subtrees and data flows of two texts are compared.

/// 128 bits that stand for a structure.
///
/// Two different structures have the same digest with a chance of about
/// 2⁻¹²⁸; comparing digests is comparing structures. Not for secrets: whoever
/// wants to can make two texts collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u64, u64);

// Odd constants with well-spread bits: the fractional parts of the golden ratio
// and of the square root of 2, as in many multiplicative hashes.
const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0x6a09_e667_f3bc_c909;

impl Digest {
    /// Of nothing yet.
    pub const EMPTY: Self = Self(FIRST, SECOND);

    /// Of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let digest = words.iter().fold(Self::EMPTY, |digest, word| {
            digest.with(u64::from_le_bytes(*word))
        });
        digest
            .with(u64::from_le_bytes(last))
            .with(text.len() as u64)
    }

    /// Followed by a number. The two halves see it at different places, and
    /// each step can be undone, so that nothing is lost within a half.
    #[inline]
    #[must_use]
    pub fn with(self, word: u64) -> Self {
        let first = (self.0 ^ word).wrapping_mul(FIRST);
        let second = (self.1.rotate_left(29) ^ word.rotate_left(17)).wrapping_mul(SECOND);
        Self(first ^ (first >> 32), second ^ (second >> 29))
    }

    /// Followed by another structure.
    #[inline]
    #[must_use]
    pub fn with_digest(self, other: Self) -> Self {
        self.with(other.0).with(other.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an order or a boundary that doesn't count.
    #[test]
    fn different_structures_differ() {
        let texts = ["", "\0", "a", "a\0", "abcdefgh", "abcdefghi", "ba", "ab"];
        let digests = texts.map(Digest::of);
        for (i, digest) in digests.iter().enumerate() {
            assert!(!digests[i + 1..].contains(digest), "{:?}", texts[i]);
        }
        let one = Digest::EMPTY.with(1).with(2);
        assert_ne!(one, Digest::EMPTY.with(2).with(1));
        assert_ne!(one, Digest::EMPTY.with(1));
        assert_eq!(one, Digest::EMPTY.with(1).with(2));
    }
}
