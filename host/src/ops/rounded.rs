//! Weights stored in less than f32, for products with few rows.
//!
//! A token's forward reads every weight once and does little with it: on a CPU its time is that
//! of the memory. bf16 halves it and int8 quarters it. Products are the ones of f32 with the
//! rounded weights, bit for bit: the kernel of `matmul.rs` widens them in its registers, or finds
//! them widened row by row where the processor lacks AVX-512.

use std::ops::Range;

use candle_core::{Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::cpu::{self, Shared};
use super::matmul::{SKINNY_ROWS_MAX, Stored, skinny_columns, skinny_stored, skinny_task};

/// How a rounded weight is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// 8 bits of mantissa: at most 2⁻⁸ of each weight is lost.
    Bf16,
    /// Integers of ±127 times a scale for each [`BLOCK`] weights of a row: at most 1/254 of the
    /// block's largest is lost (GGUF's Q8_0 has blocks of 32).
    Int8,
}

/// Weights that share a scale. Chosen: two cache lines of f32; a scale costs a sixteenth of them.
pub const BLOCK: usize = 64;

/// A weight `[N, K]` for [`Rounded::linear`].
#[derive(Debug)]
pub struct Rounded {
    n: usize,
    k: usize,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Bf16(Vec<u16>),
    Int8 { values: Vec<i8>, scales: Vec<f32> },
}

impl Rounded {
    /// Where its elements lie.
    pub(crate) fn addresses(&self) -> Range<usize> {
        match &self.data {
            Data::Bf16(values) => cpu::bytes_of(values),
            Data::Int8 { values, .. } => cpu::bytes_of(values),
        }
    }

    /// Rounds `w`, `[N, K]`, or `[K, N]` where it is stored `transposed`.
    ///
    /// # Errors
    /// `w` is no matrix of a type that f32 holds.
    pub fn new(w: &Tensor, transposed: bool, storage: Storage) -> Result<Self> {
        let w = if transposed {
            w.t()?.contiguous()?
        } else {
            w.contiguous()?
        };
        let w = w
            .to_dtype(candle_core::DType::F32)?
            .to_device(&candle_core::Device::Cpu)?;
        let (n, k) = w.dims2()?;
        let blocks = k.div_ceil(BLOCK);
        let data = cpu::read([&w], |[w]| match storage {
            Storage::Bf16 => {
                let mut values = vec![0; n * k];
                let rows = values.par_chunks_mut(k).zip(w.par_chunks(k));
                rows.for_each(|(to, from)| round_bf16(from, to));
                Data::Bf16(values)
            }
            Storage::Int8 => {
                let (mut values, mut scales) = (vec![0; n * k], vec![0.0; n * blocks]);
                let rows = values.par_chunks_mut(k).zip(scales.par_chunks_mut(blocks));
                rows.zip(w.par_chunks(k))
                    .for_each(|((to, scales), from)| round_int8(from, to, scales));
                Data::Int8 { values, scales }
            }
        })?;
        Ok(Self { n, k, data })
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::Bf16(values) => 2 * values.len(),
            Data::Int8 { values, scales } => values.len() + 4 * scales.len(),
        }
    }

    /// The weight as it was rounded, `[N, K]`.
    pub fn widened(&self) -> Result<Tensor> {
        let mut all = cpu::buffer(self.n * self.k);
        let rows = all.par_chunks_mut(self.k).enumerate();
        rows.for_each(|(row, to)| self.widen(row, to));
        cpu::tensor(all, (self.n, self.k))
    }

    /// `x Wᵀ`: `x` `[M, K]`, result `[M, N]`.
    pub fn linear(&self, x: &Tensor) -> Result<Tensor> {
        let m = self.check(x)?;
        if !cpu::fused([x]) || m > SKINNY_ROWS_MAX {
            return super::matmul::linear(x, &self.widened()?);
        }
        let y = cpu::read([x], |[x]| {
            let mut y = cpu::buffer(m * self.n);
            self.product(m, x, &mut y, false);
            y
        })?;
        cpu::tensor(y, (m, self.n))
    }

    /// `base + x Wᵀ`, written over `base`.
    pub fn linear_add(&self, base: Tensor, x: &Tensor) -> Result<Tensor> {
        let m = self.check(x)?;
        if !cpu::fused([x, &base]) || m > SKINNY_ROWS_MAX {
            return super::matmul::linear_add(base, x, &self.widened()?);
        }
        if base.dims() != [m, self.n] {
            candle_core::bail!("a base of {:?} for {m} rows of {}", base.dims(), self.n);
        }
        cpu::read([x], |[x]| {
            cpu::write(&base, |y| self.product(m, x, y, true))
        })??;
        Ok(base)
    }

    fn check(&self, x: &Tensor) -> Result<usize> {
        let (m, k) = x.dims2()?;
        if k != self.k {
            candle_core::bail!("rows of {k} for a weight of [{}, {}]", self.n, self.k);
        }
        Ok(m)
    }

    fn widen(&self, row: usize, to: &mut [f32]) {
        let range = row * self.k..(row + 1) * self.k;
        match &self.data {
            Data::Bf16(values) => widen_bf16(&values[range], to),
            Data::Int8 { values, scales } => {
                let blocks = self.k.div_ceil(BLOCK);
                widen_int8(&values[range], &scales[row * blocks..][..blocks], to);
            }
        }
    }

    /// Rows as they are stored.
    fn rows(&self, rows: std::ops::Range<usize>) -> Stored<'_> {
        let weights = rows.start * self.k..rows.end * self.k;
        match &self.data {
            Data::Bf16(values) => Stored::Bf16(&values[weights]),
            Data::Int8 { values, scales } => {
                let blocks = self.k.div_ceil(BLOCK);
                Stored::Int8 {
                    values: &values[weights],
                    scales: &scales[rows.start * blocks..rows.end * blocks],
                }
            }
        }
    }

    fn product(&self, m: usize, x: &[f32], y: &mut [f32], add: bool) {
        let (n, k, columns_max) = (self.n, self.k, skinny_task(self.n));
        let out = Shared::new(y);
        let task = |number: usize| {
            let first = number * columns_max;
            let last = (first + columns_max).min(n);
            let put = |row: usize, column: usize, sum: f32| {
                // SAFETY: this task alone has these columns.
                let y = unsafe { &mut out.slice(row * n + first + column, 1)[0] };
                *y = if add { *y + sum } else { sum };
            };
            if skinny_stored(m, last - first, k, x, self.rows(first..last), &put) {
                return;
            }
            let mut wide = vec![0.0; k];
            for column in first..last {
                self.widen(column, &mut wide);
                skinny_columns(m, 1, k, x, &wide, &|row, _, sum| {
                    put(row, column - first, sum);
                });
            }
        };
        let tasks = n.div_ceil(columns_max);
        if m * n * k < 1 << 16 {
            (0..tasks).for_each(task);
        } else {
            (0..tasks).into_par_iter().for_each(task);
        }
    }
}

fn round_bf16(from: &[f32], to: &mut [u16]) {
    for (from, to) in from.iter().zip(to) {
        *to = bf16::from_f32(*from).to_bits();
    }
}

fn round_int8(from: &[f32], to: &mut [i8], scales: &mut [f32]) {
    let blocks = from.chunks(BLOCK).zip(to.chunks_mut(BLOCK));
    for ((from, to), scale) in blocks.zip(scales) {
        let largest = from.iter().fold(0f32, |max, x| max.max(x.abs()));
        *scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        for (from, to) in from.iter().zip(to) {
            *to = (from * inverse).round() as i8;
        }
    }
}

simd! {
    fn widen_bf16(from: &[u16], to: &mut [f32]) {
        for (from, to) in from.iter().zip(to) {
            *to = f32::from_bits(u32::from(*from) << 16);
        }
    }
}

simd! {
    fn widen_int8(from: &[i8], scales: &[f32], to: &mut [f32]) {
        let blocks = from.chunks(BLOCK).zip(to.chunks_mut(BLOCK));
        for ((from, to), scale) in blocks.zip(scales) {
            for (from, to) in from.iter().zip(to) {
                *to = f32::from(*from) * *scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::matmul::{linear, linear_add};
    use super::super::testing::{assert_close, on, random, values};
    use super::*;
    use crate::ops::without_fused_kernels;
    use candle_core::Device;

    // Would catch a wrong edge, scale or layout: products are those of f32 with the rounded
    // weights, bit for bit. Weights are rounded on the CPU only.
    #[test]
    fn products_are_f32s_with_rounded_weights() -> Result<()> {
        let random = |shape, seed| on(&Device::Cpu, || random(shape, seed));
        for (m, n, k) in [
            (1, 1, 1),
            (1, 70, 33),
            (8, 65, 64),
            (13, 131, 200),
            (70, 9, 5),
        ] {
            let (x, w, base) = (random((m, k), 1), random((n, k), 2), random((m, n), 3));
            for storage in [Storage::Bf16, Storage::Int8] {
                let rounded = Rounded::new(&w, false, storage)?;
                let stored = Rounded::new(&w.t()?.contiguous()?, true, storage)?;
                let wide = rounded.widened()?;
                assert_eq!(values(&stored.widened()?), values(&wide));
                let found = rounded.linear(&x)?;
                assert_eq!(values(&found), values(&linear(&x, &wide)?));
                let added = rounded.linear_add(base.copy()?, &x)?;
                assert_eq!(
                    values(&added),
                    values(&linear_add(base.copy()?, &x, &wide)?)
                );
                assert_close(&without_fused_kernels(|| rounded.linear(&x))?, &found, 2e-5);
            }
        }
        Ok(())
    }

    // Would catch a scale that wastes bits, and a block of zeros that becomes NaN.
    #[test]
    fn little_is_lost() -> Result<()> {
        let w = random((40, 200), 1);
        let w = Tensor::cat(&[&w, &w.zeros_like()?], 0)?;
        for (storage, share, bytes) in [
            (Storage::Bf16, 2f64.powi(-8), 2.0),
            (Storage::Int8, 0.0, 1.1),
        ] {
            let rounded = Rounded::new(&w, false, storage)?;
            assert!(rounded.bytes() as f64 <= bytes * w.elem_count() as f64);
            let (exact, found) = (values(&w), values(&rounded.widened()?));
            for (exact, found) in exact.chunks(200).zip(found.chunks(200)) {
                for (exact, found) in exact.chunks(BLOCK).zip(found.chunks(BLOCK)) {
                    let largest = exact.iter().fold(0f64, |max, x| max.max(x.abs()));
                    for (exact, found) in exact.iter().zip(found) {
                        let most = match storage {
                            Storage::Bf16 => exact.abs() * share,
                            Storage::Int8 => largest / 253.9,
                        };
                        assert!((exact - found).abs() <= most, "{exact} {found}");
                    }
                }
            }
        }
        Ok(())
    }
}
