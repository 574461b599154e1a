//! A row group larger than memory may be: it is read page by page.
//!
//! The file is made up while it is read, since it would be no small one.

mod counting;

use std::io;

use adapter_parquet::file::ReadAt;
use adapter_parquet::rows::{Options, Rows};
use rlhf_sdk::Content;

const TEXT: &str = "    return sum(x * x for x in range(64))\n";
/// 2 KiB.
const TEXTS_A_VALUE: usize = 50;
const VALUES_A_PAGE: usize = 256;
const PAGES: usize = 400;

/// A file of one row group with the columns `prompt` and `response`, whose
/// pages are all the same.
struct Large {
    page: Vec<u8>,
    footer: Vec<u8>,
}

/// Thrift's integer.
fn int(value: usize) -> Vec<u8> {
    let mut rest = value * 2;
    let mut bytes = Vec::new();
    while rest > 0x7F {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

impl Large {
    fn new() -> Self {
        let text = TEXT.repeat(TEXTS_A_VALUE);
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        let body = [&length, text.as_bytes()].concat().repeat(VALUES_A_PAGE);
        // Data page, its size twice, and its number of values, all of them plain.
        let mut page = [
            &[0x15, 0, 0x15],
            &int(body.len())[..],
            &[0x15],
            &int(body.len()),
        ]
        .concat();
        page.extend(
            [
                &[0x2C, 0x15],
                &int(VALUES_A_PAGE)[..],
                &[0x15, 0, 0x15, 6, 0x15, 6, 0, 0],
            ]
            .concat(),
        );
        page.extend(body);

        let column_bytes = page.len() * PAGES;
        let rows = VALUES_A_PAGE * PAGES;
        // Version 1 and a schema of three elements: the root, then required byte arrays.
        let mut footer = vec![
            0x15, 2, 0x19, 0x3C, 0x48, 4, b'r', b'o', b'o', b't', 0x15, 4, 0,
        ];
        for name in ["prompt", "response"] {
            footer.extend([0x15, 12, 0x25, 0, 0x18, name.len() as u8]);
            footer.extend(name.as_bytes());
            footer.push(0);
        }
        // The number of rows, then one row group of two columns without compression.
        footer.extend([&[0x16], &int(rows)[..], &[0x19, 0x1C, 0x19, 0x2C]].concat());
        for start in [4, 4 + column_bytes] {
            footer.extend(
                [
                    &[0x3C, 0x45, 0, 0x16],
                    &int(rows)[..],
                    &[0x26],
                    &int(column_bytes),
                ]
                .concat(),
            );
            footer.extend([&[0x26], &int(start)[..], &[0, 0]].concat());
        }
        footer.extend([&[0x26], &int(rows)[..], &[0, 0]].concat());
        footer.extend(u32::try_from(footer.len()).unwrap().to_le_bytes());
        footer.extend(b"PAR1");
        Self { page, footer }
    }

    fn pages_end(&self) -> usize {
        4 + 2 * PAGES * self.page.len()
    }
}

impl ReadAt for Large {
    fn size(&self) -> u64 {
        (self.pages_end() + self.footer.len()) as u64
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        let mut position = usize::try_from(offset).unwrap();
        while bytes.len() < length {
            let rest = match position {
                0..4 => &b"PAR1"[position..],
                _ if position < self.pages_end() => &self.page[(position - 4) % self.page.len()..],
                _ => &self.footer[position - self.pages_end()..],
            };
            let taken = &rest[..rest.len().min(length - bytes.len())];
            if taken.is_empty() {
                break;
            }
            bytes.extend_from_slice(taken);
            position += taken.len();
        }
        Ok(bytes)
    }
}

// Catches a row group, or all pages of a column, held at a time.
#[test]
fn memory_is_that_of_a_few_pages() {
    let large = Large::new();
    let page_bytes = large.page.len();
    let file_bytes = large.size();
    assert!(file_bytes > 400 * 1024 * 1024, "{file_bytes}");
    let mut rows = Rows::open(large, &Options::default()).unwrap();
    counting::peak();
    let mut count = 0;
    while let Some(row) = rows.read().unwrap() {
        count += 1;
        assert_eq!(row.origin.row, count);
        let Content::Demonstration { prompt, response } = row.content else {
            panic!("expected a demonstration, found {:?}", row.content);
        };
        assert!(prompt.starts_with(TEXT) && response.len() == TEXT.len() * TEXTS_A_VALUE);
    }
    assert_eq!(count, (VALUES_A_PAGE * PAGES) as u64);
    // The file's page, two columns with one each, and one on its way.
    let peak = counting::peak();
    assert!(
        peak < 6 * page_bytes,
        "{peak} bytes for pages of {page_bytes}"
    );
}
