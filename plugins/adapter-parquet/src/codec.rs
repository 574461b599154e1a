//! Codecs: a page's bytes as they lie in the file into what they were.

use std::io::Read;

use crate::fault::{Fault, broken};

/// A page's largest size, in the file and decompressed; chosen. Writers' own
/// limit is usually 1 MiB, though some write one page a row group.
pub const PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Decompresses `bytes` behind what `page` holds already: exactly `length` bytes.
///
/// `codec` is a code of `CompressionCodec`.
///
/// # Errors
/// The codec is unknown, or the bytes aren't of it or of another length.
/// `length` is at most [`PAGE_BYTES_MAX`]; no more is ever allocated for the result.
pub fn decompress(
    codec: i64,
    bytes: &[u8],
    length: usize,
    page: &mut Vec<u8>,
) -> Result<(), Fault> {
    let start = page.len();
    let found = match codec {
        0 => {
            page.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        1 => {
            // Checked first: the decoder wants room for what the bytes claim.
            match snap::raw::decompress_len(bytes) {
                Ok(claimed) if claimed != length => Ok(claimed),
                Err(error) => Err(error.to_string()),
                Ok(_) => {
                    page.resize(start + length, 0);
                    let mut decoder = snap::raw::Decoder::new();
                    decoder
                        .decompress(bytes, &mut page[start..])
                        .map_err(|error| error.to_string())
                }
            }
        }
        2 => read(flate2::read::MultiGzDecoder::new(bytes), length, page),
        4 => read(
            brotli_decompressor::Decompressor::new(bytes, 4096),
            length,
            page,
        ),
        6 => match ruzstd::decoding::StreamingDecoder::new(bytes) {
            Ok(decoder) => read(decoder, length, page),
            Err(error) => Err(error.to_string()),
        },
        7 => {
            page.resize(start + length, 0);
            lz4_flex::block::decompress_into(bytes, &mut page[start..])
                .map_err(|error| error.to_string())
        }
        other => {
            return Err(Fault::Unsupported(format!(
                "found the codec {}, which can't be read\n\
                 hint: write the file with snappy, gzip, brotli, zstd or lz4_raw, or without compression",
                name(other)
            )));
        }
    };
    match found {
        Ok(found) if found == length => Ok(()),
        Ok(found) => broken(format!(
            "expected a page of {length} bytes by its header, found {found}"
        )),
        Err(error) => broken(format!(
            "expected bytes of the codec {}: {error}",
            name(codec)
        )),
    }
}

/// At most a byte more than `length`, which is enough to tell a difference.
fn read(decoder: impl Read, length: usize, page: &mut Vec<u8>) -> Result<usize, String> {
    page.reserve_exact(length);
    decoder
        .take(length as u64 + 1)
        .read_to_end(page)
        .map_err(|error| error.to_string())
}

/// For messages, as `pyarrow` has it.
fn name(codec: i64) -> String {
    let name = match codec {
        0 => "none",
        1 => "snappy",
        2 => "gzip",
        3 => "lzo",
        4 => "brotli",
        5 => "lz4 (Hadoop's framing)",
        6 => "zstd",
        7 => "lz4_raw",
        other => return format!("number {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches a page that takes what a codec claims instead of what its header
    // says, and codecs that are refused without a word. The bytes are "aaaa" by
    // Python's gzip and pyarrow 26.0.1.
    #[test]
    fn lengths_are_checked() {
        let snappy: &[u8] = &[4, 12, b'a', b'a', b'a', b'a'];
        let lz4: &[u8] = &[64, b'a', b'a', b'a', b'a'];
        let check = |codec, bytes: &[u8], length, expected: &str| {
            let mut page = b"levels".to_vec();
            let found = match decompress(codec, bytes, length, &mut page) {
                Ok(()) => String::from_utf8(page).unwrap(),
                Err(fault) => fault.at("here").message,
            };
            assert_eq!(found, expected, "codec {codec}");
        };
        let other = "here: expected a page of 5 bytes by its header, found 4";
        for (codec, bytes) in [(0, b"aaaa".as_slice()), (1, snappy), (7, lz4)] {
            check(codec, bytes, 4, "levelsaaaa");
            check(codec, bytes, 5, other);
        }
        check(
            3,
            b"",
            0,
            "here: found the codec lzo, which can't be read\n\
             hint: write the file with snappy, gzip, brotli, zstd or lz4_raw, or without compression",
        );
        for codec in [1, 2, 4, 6, 7] {
            let mut page = Vec::new();
            assert!(
                decompress(codec, b"\xFFnonsense", 1000, &mut page).is_err(),
                "codec {codec}"
            );
        }
    }
}
