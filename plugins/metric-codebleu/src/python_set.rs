//! The order in which CPython iterates over a set of strings.
//!
//! codebleu passes lists of names through `list(set(names))`, and the order
//! that comes out changes its scores. This is CPython 3.11's, as it is under
//! `PYTHONHASHSEED=0`: SipHash-1-3 with a zero key (`Python/pyhash.c`) and the
//! open addressing of `Objects/setobject.c`.

/// Slots searched one after the other before the next jump (`LINEAR_PROBES`).
const LINEAR_PROBES: usize = 9;

/// Bits by which the hash is shifted at each jump (`PERTURB_SHIFT`).
const PERTURB_SHIFT: u32 = 5;

/// Slots of a new set (`PySet_MINSIZE`).
const SLOTS_MIN: usize = 8;

/// Sets larger than this double where smaller ones quadruple (`set_add_entry`).
const LARGE_SET: usize = 50_000;

/// `hash(text)`.
#[must_use]
pub fn hash(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    // CPython hashes the narrowest of its three representations.
    let widest = text.chars().map(u32::from).max().unwrap_or(0);
    let hash = if text.is_ascii() {
        siphash13(text.as_bytes())
    } else if widest < 0x100 {
        let bytes: Vec<u8> = text.chars().map(|c| c as u8).collect();
        siphash13(&bytes)
    } else if widest < 0x1_0000 {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        siphash13(&bytes)
    } else {
        let bytes: Vec<u8> = text
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect();
        siphash13(&bytes)
    };
    // −1 means an error to CPython's callers, so no text has it.
    if hash == u64::MAX { u64::MAX - 1 } else { hash }
}

/// SipHash-1-3 with a zero key (Aumasson and Bernstein 2012,
/// <https://www.aumasson.jp/siphash/siphash.pdf>).
fn siphash13(data: &[u8]) -> u64 {
    let mut v: [u64; 4] = [
        0x736f_6d65_7073_6575,
        0x646f_7261_6e64_6f6d,
        0x6c79_6765_6e65_7261,
        0x7465_6462_7974_6573,
    ];
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        absorb(u64::from_le_bytes(*word), &mut v);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The last word's highest byte is the length.
    last[7] = data.len() as u8;
    absorb(u64::from_le_bytes(last), &mut v);
    v[2] ^= 0xff;
    for _ in 0..3 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn absorb(word: u64, v: &mut [u64; 4]) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// `list(set(items))` for items that stand for strings.
///
/// Equal items are equal strings; `hash_of` gives an item's [`hash`].
#[must_use]
pub fn set_order(items: impl IntoIterator<Item = u32>, hash_of: impl Fn(u32) -> u64) -> Vec<u32> {
    let mut set = Set {
        slots: vec![None; SLOTS_MIN],
        used: 0,
    };
    for item in items {
        set.add(hash_of(item), item);
    }
    set.slots
        .into_iter()
        .flatten()
        .map(|(_, item)| item)
        .collect()
}

struct Set {
    /// A power of two of them.
    slots: Vec<Option<(u64, u32)>>,
    used: usize,
}

impl Set {
    fn add(&mut self, hash: u64, item: u32) {
        let mask = self.slots.len() - 1;
        for slot in Probes::new(hash, mask) {
            match self.slots[slot] {
                Some((_, present)) if present == item => return,
                Some(_) => {}
                None => {
                    self.slots[slot] = Some((hash, item));
                    self.used += 1;
                    if self.used * 5 >= mask * 3 {
                        self.grow();
                    }
                    return;
                }
            }
        }
    }

    fn grow(&mut self) {
        let wanted = self.used * if self.used > LARGE_SET { 2 } else { 4 };
        let mut size = SLOTS_MIN;
        while size <= wanted {
            size *= 2;
        }
        let old = std::mem::replace(&mut self.slots, vec![None; size]);
        for (hash, item) in old.into_iter().flatten() {
            let free = Probes::new(hash, size - 1).find(|&slot| self.slots[slot].is_none());
            if let Some(slot) = free {
                self.slots[slot] = Some((hash, item));
            }
        }
    }
}

/// The slots in which a hash may lie, in the order of trying; endless.
struct Probes {
    mask: usize,
    perturb: u64,
    start: usize,
    offset: usize,
}

impl Probes {
    fn new(hash: u64, mask: usize) -> Self {
        Self {
            mask,
            perturb: hash,
            start: (hash & mask as u64) as usize,
            offset: 0,
        }
    }
}

impl Iterator for Probes {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let linear = if self.start + LINEAR_PROBES <= self.mask {
            LINEAR_PROBES
        } else {
            0
        };
        if self.offset > linear {
            self.perturb >>= PERTURB_SHIFT;
            let next = (self.start as u64).wrapping_mul(5).wrapping_add(1);
            self.start = (next.wrapping_add(self.perturb) & self.mask as u64) as usize;
            self.offset = 0;
        }
        let slot = self.start + self.offset;
        self.offset += 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a wrong key, width or byte order; `PYTHONHASHSEED=0 python3.11`.
    #[test]
    fn hashes_are_cpythons() {
        let check = |text: &str, expected: u64| assert_eq!(hash(text), expected, "{text:?}");
        check("", 0);
        check("a", 0x4074_48d2_b89b_1813);
        check("abc", 0xc03b_c3a0_0426_30f2);
        check("abcdefgh", 0x3f7b_849c_0b8e_35ea);
        check("é", 0x53ec_5bc2_a688_70e3);
        check("数x", 0x9d46_449d_555d_ad7a);
        check("𝕏", 0xc772_19a4_6c4e_4f5f);
        check(&"a".repeat(100), 0xdb4f_1f04_8099_e5ee);
    }

    fn check_order(texts: &[String], expected: &[u32]) {
        let hashes: Vec<u64> = texts.iter().map(|text| hash(text)).collect();
        let items = 0..texts.len() as u32;
        // Repeats change nothing.
        let items = items.clone().chain(items);
        assert_eq!(set_order(items, |item| hashes[item as usize]), expected);
    }

    /// Would catch another probing or growth; `PYTHONHASHSEED=0 python3.11`.
    #[test]
    fn order_is_cpythons() {
        check_order(&[], &[]);
        let letters: Vec<String> = ('a'..='g').map(String::from).collect();
        check_order(&letters, &[3, 5, 6, 1, 2, 0, 4]);
        let names: Vec<String> = (0..40).map(|i| format!("var_{i}")).collect();
        check_order(&names, &ORDER);
    }

    const ORDER: [u32; 40] = [
        18, 22, 8, 23, 3, 31, 30, 11, 39, 37, 34, 2, 28, 20, 13, 24, 21, 1, 16, 10, 26, 15, 27, 33,
        14, 12, 7, 0, 9, 25, 17, 5, 29, 32, 6, 35, 36, 4, 38, 19,
    ];
}
