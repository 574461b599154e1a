//! The reference's log-probabilities on disk, so that a second run on the same data need not
//! compute them.
//!
//! A file is named by a hash of everything that they follow from: the weights, the type that is
//! computed in, and the tokens of every pair, in which data, tokenizer and longest length show. A
//! file that is damaged, or holds something else, is as good as none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::loss::PairLogprobs;
use crate::files;
use crate::models::CausalLm;
use crate::trainer::minibatch::Pair;
use crate::trainer::{Error, doing};

/// First bytes of a file; the number changes with the meaning of the rest.
const MAGIC: &[u8; 8] = b"rlhfref1";
/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;

/// One file of the cache.
pub(super) struct Stored {
    file: PathBuf,
    key: [u8; HASH_BYTES],
    pairs: usize,
}

impl Stored {
    /// The file for the model without its adapters and these pairs.
    pub(super) fn of(folder: &Path, model: &dyn CausalLm, pairs: &[Pair]) -> Result<Self, Error> {
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        hash.update(format!(
            "{:?} {:?}",
            model.backbone().compute(),
            model.device()
        ));
        for parameter in model.base_parameters() {
            hash.update(format!("{} {:?}", parameter.name, parameter.value.dims()));
            let values = parameter
                .value
                .to_dtype(candle_core::DType::F32)
                .and_then(|value| value.flatten_all()?.to_vec1::<f32>())
                .map_err(doing("hashing the weights"))?;
            // In chunks: a copy of all bytes at once would double the largest table.
            for chunk in values.chunks(1 << 14) {
                let bytes: Vec<u8> = chunk.iter().flat_map(|x| x.to_le_bytes()).collect();
                hash.update(&bytes);
            }
        }
        for pair in pairs {
            for ids in pair.parts() {
                hash.update((ids.len() as u64).to_le_bytes());
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                hash.update(&bytes);
            }
        }
        let key: [u8; HASH_BYTES] = hash.finalize().into();
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            file: folder.join(format!("{name}.bin")),
            key,
            pairs: pairs.len(),
        })
    }

    /// What is there; none where there is no file, or one that can't be trusted.
    pub(super) fn read(&self) -> Option<Vec<PairLogprobs>> {
        let bytes = fs::read(&self.file).ok()?;
        let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
        if Sha256::digest(content).as_slice() != sum {
            return None;
        }
        let values = content.strip_prefix(MAGIC)?.strip_prefix(&self.key)?;
        let number = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let pairs: Vec<PairLogprobs> = values
            .chunks_exact(16)
            .map(|pair| PairLogprobs {
                chosen: number(&pair[..8]),
                rejected: number(&pair[8..]),
            })
            .collect();
        (values.len() == 16 * self.pairs).then_some(pairs)
    }

    /// Writes the file beside its place and renames it there.
    ///
    /// # Errors
    /// The folder can't be written.
    pub(super) fn write(&self, logprobs: &[PairLogprobs]) -> io::Result<()> {
        let mut content = [MAGIC.as_slice(), &self.key].concat();
        for pair in logprobs {
            content.extend(pair.chosen.to_le_bytes());
            content.extend(pair.rejected.to_le_bytes());
        }
        let sum = Sha256::digest(&content);
        content.extend_from_slice(&sum);
        let folder = self.file.parent().expect("made of a folder and a name");
        fs::create_dir_all(folder)?;
        files::replace(&self.file, &content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Dpo, Training};
    use crate::models::Model;
    use crate::ops::testing::device;
    use crate::tracking::Silent;
    use crate::trainer::Run;
    use std::sync::atomic::AtomicBool;

    fn pair(last: u32) -> Pair {
        Pair::new(&[3, 4], &[5, 6], &[last], Some(2), 16).expect("fits")
    }

    // Would catch log-probabilities of other weights or other tokens that are taken for these,
    // and a file that is trusted although bytes of it were lost or changed.
    #[test]
    fn only_what_belongs_to_weights_and_tokens_is_taken() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/models/tiny-llama"
        );
        let mut model = crate::models::load(Path::new(golden), &device()).expect("loads");
        let pairs = [pair(7), pair(8)];
        let stored = Stored::of(folder.path(), &model, &pairs).expect("hashes");
        assert_eq!(stored.read(), None);
        let values = vec![
            PairLogprobs {
                chosen: -1.5,
                rejected: -2.25,
            },
            PairLogprobs {
                chosen: -0.1,
                rejected: f64::MIN_POSITIVE,
            },
        ];
        stored.write(&values).expect("writes");
        assert_eq!(stored.read().as_ref(), Some(&values));
        let other = Stored::of(folder.path(), &model, &[pair(8), pair(7)]).expect("hashes");
        assert_ne!(other.file, stored.file);
        let last = model.parameters_mut().pop().expect("some");
        last.value = last.value.affine(1.0, 1e-6).expect("adds");
        let other = Stored::of(folder.path(), &model, &pairs).expect("hashes");
        assert_ne!(other.file, stored.file);
        let whole = fs::read(&stored.file).expect("reads");
        // Of another key under this name: stale.
        fs::copy(&stored.file, &other.file).expect("copies");
        assert_eq!(other.read(), None);
        for damaged in [&whole[..whole.len() - 1], &whole[..10], b""] {
            fs::write(&stored.file, damaged).expect("writes");
            assert_eq!(stored.read(), None);
        }
        let mut flipped = whole.clone();
        flipped[50] ^= 1;
        fs::write(&stored.file, flipped).expect("writes");
        assert_eq!(stored.read(), None);
    }

    /// Loss of the first step of a training with this cache.
    fn first_loss(folder: &Path) -> f64 {
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/models/tiny-llama"
        );
        let mut model = crate::models::load(Path::new(golden), &device()).expect("loads");
        let training = Training {
            steps: 1,
            ..Training::default()
        };
        let mut run = Run {
            seed: 3,
            interrupt: &AtomicBool::new(false),
            tracker: &mut Silent,
            checkpoints: None,
        };
        let (examples, dpo) = ([pair(7), pair(8)], Dpo::default());
        let cache = Some(folder);
        let outcome = crate::trainer::dpo::train(
            &mut model,
            &examples,
            &[],
            &training,
            &dpo,
            &mut run,
            cache,
        );
        outcome.expect("trains").training.final_loss
    }

    // Would catch a cache that is written and never read, and one that is read though damaged.
    #[test]
    fn a_second_training_takes_what_is_there() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at_start = 2f64.ln();
        assert!((first_loss(folder.path()) - at_start).abs() < 1e-6);
        let largest = |a: &PathBuf, b: &PathBuf| {
            let size = |file: &PathBuf| file.metadata().map_or(0, |m| m.len());
            size(a).cmp(&size(b))
        };
        let files = fs::read_dir(folder.path()).expect("was made").flatten();
        let file = files.map(|entry| entry.path()).max_by(largest);
        let file = file.expect("was written");
        let mut bytes = fs::read(&file).expect("reads");
        let end = bytes.len() - HASH_BYTES;
        bytes[end - 16..end - 8].copy_from_slice(&(-1.0f64).to_le_bytes());
        fs::write(&file, &bytes).expect("writes");
        assert!(
            (first_loss(folder.path()) - at_start).abs() < 1e-6,
            "damaged"
        );
        let sum = Sha256::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&sum);
        fs::write(&file, &bytes).expect("writes");
        assert!(
            (first_loss(folder.path()) - at_start).abs() > 0.1,
            "not read"
        );
    }
}
