//! Damaged files: the adapter must answer with rows or with an error, never
//! panic, and never allocate on the word of a number in the file.

mod counting;

use std::fs;
use std::path::Path;

use adapter_parquet::file::File;
use adapter_parquet::rows::{Options, Rows};
use rlhf_sdk::{ReadError, Source};

/// A page, decompressed, and what its codec needs. Golden files have a few KiB.
const ALLOCATED_BYTES_MAX: usize = 80 * 1024 * 1024;

/// What reading came to.
#[derive(Debug, Default)]
struct Outcomes {
    whole: usize,
    refused: usize,
}

impl Outcomes {
    fn read(&mut self, bytes: Vec<u8>, what: &dyn Fn() -> String) {
        // Damage to names shall not hide what is behind them.
        let mut values = match File::open(Source::from_bytes(bytes.clone())) {
            Ok(file) => file,
            Err(_) => return self.refused += 1,
        };
        // A damaged count of rows is not an endless file.
        for _ in 0..1000 {
            match values.read() {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.whole += 1;
                    break;
                }
                Err(error) => {
                    assert!(
                        error.code == "too-large" || error.message.contains("row group "),
                        "{}: {error}",
                        what()
                    );
                    self.refused += 1;
                    break;
                }
            }
        }
        let options = Options::default();
        let Ok(mut rows) = Rows::open(Source::from_bytes(bytes), &options) else {
            return;
        };
        for _ in 0..1000 {
            match rows.read() {
                Ok(None) | Err(ReadError::End(_)) => break,
                Ok(Some(_)) | Err(ReadError::Row(_)) => {}
            }
        }
        let peak = counting::peak();
        assert!(peak < ALLOCATED_BYTES_MAX, "{}: {peak} bytes", what());
    }
}

/// Reads copies of all golden files, damaged at every `stride`th byte.
fn damage(stride: usize) -> Outcomes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut outcomes = Outcomes::default();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "parquet")
        {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        // Another place in every file, so that all parts of the format have their turn.
        for at in (bytes.len() % stride..bytes.len()).step_by(stride) {
            let what = |how: &str| format!("{}: {how} byte {at}", path.display());
            outcomes.read(bytes[..at].to_vec(), &|| what("cut at"));
            // The footer is at the end: a file that is cut in front still has it.
            outcomes.read([&bytes[..4], &bytes[at..]].concat(), &|| what("cut before"));
            for mask in [0xFF, 0x80, 0x01, 0x40] {
                let mut damaged = bytes.clone();
                damaged[at] ^= mask;
                outcomes.read(damaged, &|| what(&format!("{mask:#x} flipped in")));
            }
        }
    }
    outcomes
}

// Catches panics, endless loops and allocations that a damaged number causes.
#[test]
fn damaged_files_are_refused_or_read() {
    let outcomes = damage(97);
    // Damage in a text is no damage; damage elsewhere must be noticed.
    assert!(outcomes.whole > 100, "{outcomes:?}");
    assert!(outcomes.refused > 1000, "{outcomes:?}");
}

// The same at every byte: minutes.
#[test]
#[ignore = "minutes; run it after changing a decoder"]
fn files_damaged_anywhere_are_refused_or_read() {
    damage(1);
}
