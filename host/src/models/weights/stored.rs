//! A tensor as a file holds it, and its way into memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use half::{bf16, f16};

/// Bytes that are read at once: enough to make the call's cost vanish, little enough to stay in
/// the second-level cache until they are converted.
const CHUNK: usize = 256 << 10;

/// How an element is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    /// What no weight is stored as, by its name.
    Other(String),
}

impl Element {
    fn size(&self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Other(_) => 1,
        }
    }
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next, for each dimension; none where each element follows
    /// the one before it.
    pub(super) strides: Option<Vec<usize>>,
    /// Its first byte in the file.
    pub(super) offset: u64,
}

impl Stored {
    /// The elements as f32, in the order of the shape.
    ///
    /// They are converted as they are read: the only copy is the result. A map of the file would
    /// be a second one, since the tensor owns its memory.
    pub(super) fn read(&self, file: &mut File) -> io::Result<Vec<f32>> {
        let count: usize = self.shape.iter().product();
        let Some(strides) = &self.strides else {
            return self.read_run(file, count);
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let last: usize = self
            .shape
            .iter()
            .zip(strides)
            .map(|(n, s)| (n - 1) * s)
            .sum();
        let run = self.read_run(file, last + 1)?;
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..count {
            values.push(run[index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>()]);
            for (i, n) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *n {
                    break;
                }
                *i = 0;
            }
        }
        Ok(values)
    }

    fn read_run(&self, file: &mut File, count: usize) -> io::Result<Vec<f32>> {
        file.seek(SeekFrom::Start(self.offset))?;
        let mut values = Vec::with_capacity(count);
        let size = self.element.size();
        let mut chunk = vec![0; CHUNK.min(count * size)];
        while values.len() < count {
            let bytes = ((count - values.len()) * size).min(chunk.len());
            let chunk = &mut chunk[..bytes];
            file.read_exact(chunk)?;
            match self.element {
                Element::F64 => convert(chunk, &mut values, |b| f64::from_le_bytes(b) as f32),
                Element::F32 => convert(chunk, &mut values, f32::from_le_bytes),
                Element::F16 => convert(chunk, &mut values, |b| f16::from_le_bytes(b).to_f32()),
                Element::BF16 => convert(chunk, &mut values, |b| bf16::from_le_bytes(b).to_f32()),
                Element::Other(_) => unreachable!("refused before it is read"),
            }
        }
        Ok(values)
    }
}

fn convert<const N: usize>(bytes: &[u8], values: &mut Vec<f32>, of: impl Fn([u8; N]) -> f32) {
    let elements = bytes.chunks_exact(N);
    values.extend(elements.map(|b| of(b.try_into().expect("chunks of N bytes"))));
}
