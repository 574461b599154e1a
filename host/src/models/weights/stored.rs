//! A tensor as a file holds it, and its way into memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use half::{bf16, f16};

use crate::ops::filled;

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
    /// Several elements share a scale: llama.cpp's quantised types.
    Blocks(GgmlDType),
    /// What no weight is stored as, by its name.
    Other(String),
}

impl Element {
    /// Elements that are stored together, and their bytes.
    fn block(&self) -> (usize, usize) {
        match self {
            Self::F64 => (1, 8),
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Blocks(kind) => (kind.block_size(), kind.type_size()),
            Self::Other(_) => (1, 1),
        }
    }

    /// Bytes of so many elements; none where they are no whole number of blocks.
    pub(super) fn bytes(&self, count: usize) -> Option<usize> {
        let (elements, bytes) = self.block();
        match count.is_multiple_of(elements) {
            true => (count / elements).checked_mul(bytes),
            false => None,
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
    /// Heads whose rows stand in pairs `(i, i + width / 2)` next to each other, as llama.cpp has
    /// them, and are put back into order; none where they are in order.
    pub(super) pairs: Option<usize>,
}

impl Stored {
    /// The elements as f32, in the order of the shape.
    ///
    /// They are converted as they are read: the only copy is the result. A map of the file would
    /// be a second one, since the tensor owns its memory: copying 540 MB of f32 peaks at 541 MB
    /// read, and at 1072 MB mapped.
    pub(super) fn read(&self, file: &File) -> io::Result<Vec<f32>> {
        let count: usize = self.shape.iter().product();
        let Some(strides) = &self.strides else {
            let values = self.read_run(file, count)?;
            return Ok(match self.pairs {
                Some(heads) => unpair(&values, self.shape[0], heads),
                None => values,
            });
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

    /// So many elements that follow each other, read by all threads: most of the time goes into
    /// memory that is touched for the first time.
    fn read_run(&self, file: &File, count: usize) -> io::Result<Vec<f32>> {
        let (elements, bytes) = self.element.block();
        let step = (CHUNK / bytes).max(1) * elements;
        filled(count, step, |start, values| {
            let offset = self.offset + (start / elements * bytes) as u64;
            if self.element == Element::F32 && cfg!(target_endian = "little") {
                return file.read_exact_at(bytemuck::cast_slice_mut(values), offset);
            }
            let mut chunk = vec![0; values.len() / elements * bytes];
            file.read_exact_at(&mut chunk, offset)?;
            match &self.element {
                Element::F64 => convert(&chunk, values, |b| f64::from_le_bytes(b) as f32),
                Element::F32 => convert(&chunk, values, f32::from_le_bytes),
                Element::F16 => convert(&chunk, values, |b| f16::from_le_bytes(b).to_f32()),
                Element::BF16 => convert(&chunk, values, |b| bf16::from_le_bytes(b).to_f32()),
                Element::Blocks(kind) => {
                    let some = qtensor_from_ggml(*kind, &chunk, vec![values.len()], &Device::Cpu)
                        .and_then(|t| t.dequantize(&Device::Cpu)?.to_vec1::<f32>());
                    values.copy_from_slice(&some.map_err(io::Error::other)?);
                }
                Element::Other(_) => unreachable!("refused before it is read"),
            }
            Ok(())
        })
    }
}

/// Rows `[heads, width / 2, 2]` as `[heads, 2, width / 2]`.
fn unpair(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let (columns, half) = (values.len() / rows.max(1), rows / heads / 2);
    let mut ordered = Vec::with_capacity(values.len());
    for row in 0..rows {
        let (head, within) = (row / (2 * half), row % (2 * half));
        let from = (head * 2 * half + 2 * (within % half) + within / half) * columns;
        ordered.extend_from_slice(&values[from..from + columns]);
    }
    ordered
}

fn convert<const N: usize>(bytes: &[u8], values: &mut [f32], of: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = of(*bytes);
    }
}
