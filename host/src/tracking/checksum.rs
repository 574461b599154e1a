//! The two checksums of record files: CRC-32C (Castagnoli), which TensorBoard's have, and CRC-32
//! (IEEE 802.3, zlib's), which those of Weights & Biases have.

/// Reversed polynomials.
const CASTAGNOLI: u32 = 0x82f6_3b78;
const IEEE: u32 = 0xedb8_8320;

const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut rest = at as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 {
                rest >> 1 ^ polynomial
            } else {
                rest >> 1
            };
            bit += 1;
        }
        table[at] = rest;
        at += 1;
    }
    table
}

static CASTAGNOLI_TABLE: [u32; 256] = table(CASTAGNOLI);
static IEEE_TABLE: [u32; 256] = table(IEEE);

fn crc(table: &[u32; 256], parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    !bytes.fold(!0, |crc: u32, byte| {
        crc >> 8 ^ table[(crc as u8 ^ byte) as usize]
    })
}

/// CRC-32C of bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc(&CASTAGNOLI_TABLE, &[bytes])
}

/// CRC-32 of the concatenation of some bytes.
pub fn crc32(parts: &[&[u8]]) -> u32 {
    crc(&IEEE_TABLE, parts)
}

/// TFRecord's mask, for checksums of data that hold checksums.
pub fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of CRC algorithms, and RFC 3720, B.4.
    #[test]
    fn check_values() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
    }
}
