//! Keys and values of rows that are being generated, and the attention of one more token of each.

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::super::cpu;
#[cfg(feature = "cuda")]
use super::super::cuda;
use super::super::simd::{exp, max, sum};
use super::tensors::{HIDDEN, softmax, wide};
use super::{Heads, copy_head};

/// The rows of a cache that get a token, and at which position; the same in every layer.
#[derive(Debug)]
pub struct Step<'a> {
    rows: &'a [usize],
    positions: &'a [u32],
    tensors: RefCell<Option<Rc<StepTensors>>>,
}

/// What tensors on any device need to know of a step; made for its first layer.
#[derive(Debug)]
struct StepTensors {
    /// The rows' numbers; none where they are the cache's first, in order.
    rows: Option<Tensor>,
    /// Where each row's token goes in a cache seen as `[rows · N_kv · capacity, D]`:
    /// `[b · N_kv, D]`, of which each row has one number.
    places: Tensor,
    /// `[b, 1, 1, longest]`: 0 where a row has a token.
    mask: Tensor,
    longest: usize,
}

impl StepTensors {
    /// Probabilities from the products of queries and keys `[b, N_kv, N / N_kv, longest]`.
    fn softmax(&self, products: Tensor, heads: Heads) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if cuda::fused([&products]) {
            let shape = cuda::Shape {
                parts: products.dim(0)?,
                heads: heads.query,
                queries: 1,
                keys: self.longest,
                scale: heads.scale(),
            };
            cuda::softmax(&products, &self.mask, shape)?;
            return Ok(products);
        }
        let dtype = products.dtype();
        let scores = (products.to_dtype(wide(dtype))? * heads.scale())?;
        softmax(&scores.broadcast_add(&self.mask)?)?
            .0
            .to_dtype(dtype)
    }
}

impl<'a> Step<'a> {
    /// Row `rows[i]` gets a token at `positions[i]`.
    pub fn new(rows: &'a [usize], positions: &'a [u32]) -> Self {
        Self {
            rows,
            positions,
            tensors: RefCell::new(None),
        }
    }

    /// Tokens of each row, the new one included.
    fn lengths(&self) -> Vec<usize> {
        self.positions.iter().map(|p| *p as usize + 1).collect()
    }

    /// `cache` is `[rows, N_kv, capacity, D]`, the same in every layer.
    fn tensors(&self, cache: &Tensor) -> Result<Rc<StepTensors>> {
        let mut slot = self.tensors.borrow_mut();
        if let Some(made) = &*slot {
            return Ok(made.clone());
        }
        let (_, heads, capacity, width) = cache.dims4()?;
        let device = cache.device();
        let in_order = self.rows.iter().enumerate().all(|(i, row)| i == *row);
        let numbers = || self.rows.iter().map(|row| *row as u32);
        let lengths = self.lengths();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let place = |(row, position): (&usize, &u32)| {
            let first = (row * heads) * capacity + *position as usize;
            (0..heads)
                .flat_map(move |head| std::iter::repeat_n((first + head * capacity) as u32, width))
        };
        let places: Vec<u32> = self
            .rows
            .iter()
            .zip(self.positions)
            .flat_map(place)
            .collect();
        let mut mask = vec![HIDDEN; self.rows.len() * longest];
        for (length, mask) in lengths.iter().zip(mask.chunks_exact_mut(longest.max(1))) {
            mask[..*length].fill(0.0);
        }
        let made = Rc::new(StepTensors {
            rows: match in_order {
                true => None,
                false => Some(Tensor::new(numbers().collect::<Vec<u32>>(), device)?),
            },
            places: Tensor::from_vec(places, (self.rows.len() * heads, width), device)?,
            mask: Tensor::from_vec(mask, (self.rows.len(), 1, 1, longest), device)?
                .to_dtype(wide(cache.dtype()))?,
            longest,
        });
        *slot = Some(made.clone());
        Ok(made)
    }
}

/// Keys and values of one layer for rows that are being generated.
///
/// `[rows, N_kv, capacity, D]` each: one head's keys lie together, as decoding reads them.
#[derive(Debug)]
pub struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

impl LayerCache {
    /// Room for `rows` sequences of at most `capacity` tokens.
    pub fn new(
        rows: usize,
        capacity: usize,
        heads: Heads,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let shape = (rows, heads.key_value, capacity, heads.width);
        Ok(Self {
            keys: Tensor::zeros(shape, dtype, device)?,
            values: Tensor::zeros(shape, dtype, device)?,
        })
    }

    /// Puts the keys and values `[t, N_kv·D]` of consecutive tokens at position `at` of `row`.
    pub fn put(&self, row: usize, at: usize, k: &Tensor, v: &Tensor, heads: Heads) -> Result<()> {
        for (cache, x) in [(&self.keys, k), (&self.values, v)] {
            let t = x.dim(0)?;
            let (_, _, capacity, _) = cache.dims4()?;
            if at + t > capacity {
                candle_core::bail!("{t} tokens at {at} in a cache of {capacity}");
            }
            if cpu::fused([x, cache]) {
                cpu::read([x], |[x]| {
                    cpu::write(cache, |cache| {
                        let stride = heads.key_value * heads.width;
                        for head in 0..heads.key_value {
                            let to = &mut cache
                                [(row * heads.key_value + head) * capacity * heads.width..];
                            copy_head(x, 0..t, stride, head * heads.width, heads.width, to, at);
                        }
                    })
                })??;
            } else {
                let x = x
                    .reshape((t, heads.key_value, heads.width))?
                    .transpose(0, 1)?
                    .contiguous()?;
                cache
                    .narrow(0, row, 1)?
                    .slice_set(&x.unsqueeze(0)?, 2, at)?;
            }
        }
        Ok(())
    }

    /// Puts one token's keys and values of each row, `[b, N_kv·D]`, where `step` says.
    pub fn put_step(&self, step: &Step, k: &Tensor, v: &Tensor, heads: Heads) -> Result<()> {
        if cpu::fused([k, v, &self.keys, &self.values]) {
            for (i, (row, position)) in step.rows.iter().zip(step.positions).enumerate() {
                let (k, v) = (k.narrow(0, i, 1)?, v.narrow(0, i, 1)?);
                self.put(*row, *position as usize, &k, &v, heads)?;
            }
            return Ok(());
        }
        let made = step.tensors(&self.keys)?;
        for (cache, x) in [(&self.keys, k), (&self.values, v)] {
            let (rows, _, capacity, width) = cache.dims4()?;
            if step.positions.iter().any(|p| *p as usize >= capacity) {
                candle_core::bail!("a token beyond a cache of {capacity}");
            }
            let x = x.contiguous()?.reshape(made.places.shape())?;
            cache
                .reshape((rows * heads.key_value * capacity, width))?
                .scatter_set(&made.places, &x, 0)?;
        }
        Ok(())
    }

    /// Copies the first `len` tokens of row `from` to row `to`.
    pub fn copy_row(&self, from: usize, to: usize, len: usize) -> Result<()> {
        if from == to || len == 0 {
            return Ok(());
        }
        for cache in [&self.keys, &self.values] {
            let (_, heads, capacity, width) = cache.dims4()?;
            if cpu::fused([cache]) {
                cpu::write(cache, |data| {
                    for head in 0..heads {
                        let at = |row: usize| (row * heads + head) * capacity * width;
                        data.copy_within(at(from)..at(from) + len * width, at(to));
                    }
                })?;
            } else {
                let rows = cache.narrow(0, from, 1)?.narrow(2, 0, len)?.copy()?;
                cache
                    .narrow(0, to, 1)?
                    .slice_set(&rows.contiguous()?, 2, 0)?;
            }
        }
        Ok(())
    }

    /// Attention of one query per row, `q` `[b, N·D]`; each sees its row's tokens, its own
    /// included.
    pub fn attend(&self, q: &Tensor, step: &Step, heads: Heads) -> Result<Tensor> {
        let Heads {
            query,
            key_value,
            width,
            ..
        } = heads;
        let (_, _, capacity, _) = self.keys.dims4()?;
        if !cpu::fused([q, &self.keys, &self.values]) {
            return self.attend_tensors(q, step, heads);
        }
        let (rows, lengths) = (step.rows, step.lengths());
        let out = cpu::read([q, &self.keys, &self.values], |[q, keys, values]| {
            let mut out = cpu::buffer(q.len());
            let per_key = query / key_value;
            out.par_chunks_mut(per_key * width)
                .zip(q.par_chunks(per_key * width))
                .enumerate()
                .for_each(|(task, (out, q))| {
                    let (i, head) = (task / key_value, task % key_value);
                    let at = (rows[i] * key_value + head) * capacity * width;
                    let span = at..at + lengths[i] * width;
                    let mut scores = vec![0.0; lengths[i]];
                    for (q, out) in q.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                        attend_row(
                            q,
                            &keys[span.clone()],
                            &values[span.clone()],
                            &mut scores,
                            heads.scale() as f32,
                            out,
                        );
                    }
                });
            out
        })?;
        cpu::tensor(out, q.shape().clone())
    }

    /// All rows at once, as long as the longest of them.
    fn attend_tensors(&self, q: &Tensor, step: &Step, heads: Heads) -> Result<Tensor> {
        let made = step.tensors(&self.keys)?;
        let rows = step.rows.len();
        let context = |cache: &Tensor| -> Result<Tensor> {
            let rows = match &made.rows {
                None => cache.narrow(0, 0, rows)?,
                Some(numbers) => cache.index_select(numbers, 0)?,
            };
            rows.narrow(2, 0, made.longest)
        };
        let shared = heads.query / heads.key_value;
        let q = q
            .contiguous()?
            .reshape((rows, heads.key_value, shared, heads.width))?;
        let products = q.matmul(&context(&self.keys)?.transpose(2, 3)?)?;
        made.softmax(products, heads)?
            .matmul(&context(&self.values)?)?
            .reshape((rows, heads.query * heads.width))
    }
}

simd! {
    fn attend_row(q: &[f32], keys: &[f32], values: &[f32], scores: &mut [f32], scale: f32, out: &mut [f32]) {
        let width = q.len();
        for (at, score) in (0..keys.len()).step_by(width).zip(scores.iter_mut()) {
            // A row's keys and values are too much for the caches and read in bursts too short for
            // the processor to learn: a few keys ahead, and the values for when they are needed.
            fetch(keys, at + 8 * width, width);
            fetch(values, at, width);
            *score = super::super::simd::dot(q, &keys[at..at + width]) * scale;
        }
        let shift = max(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - shift);
        }
        let inverse = 1.0 / sum(scores);
        let mut at = 0;
        while at < width {
            let values = &values[at..];
            let out = &mut out[at..];
            at += match width - at {
                64.. => weigh::<64>(scores, values, width, inverse, out),
                32.. => weigh::<32>(scores, values, width, inverse, out),
                _ => weigh::<1>(scores, values, width, inverse, out),
            };
        }
    }
}

/// Hints that `count` elements from `at` on are read soon.
#[inline(always)]
fn fetch(data: &[f32], at: usize, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (at..at + count).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint reads nothing, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(data.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, at, count);
}

/// `out = inverse · Σ weight · value` for the first `N` elements of values that lie `stride` apart,
/// with the sums in registers; returns `N`.
#[inline(always)]
fn weigh<const N: usize>(
    weights: &[f32],
    values: &[f32],
    stride: usize,
    inverse: f32,
    out: &mut [f32],
) -> usize {
    let mut sums = [0f32; N];
    for (weight, value) in weights.iter().zip(values.chunks(stride)) {
        for (sum, value) in sums.iter_mut().zip(&value[..N]) {
            *sum = weight.mul_add(*value, *sum);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = sum * inverse;
    }
    N
}
