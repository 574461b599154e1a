//! Linear layers: `y = x Wᵀ` and what flows back through it.
//!
//! `W` has the checkpoint's shape `[N, K]` (outputs, inputs), or `[K, N]` in the `_transposed`
//! forms, as GPT-2 stores it. Weight gradients are added to what is there already, so that
//! micro-batches sum without a copy.
//!
//! Sums (`base`, gradients) may be of a wider type than the operands: products are made in the
//! operands' type and added in the sum's.

use std::cell::Cell;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, Shared};
use super::gemm::{Term, View, sum};
use super::rounded::BLOCK;

thread_local! {
    static MANY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with the kernel for many rows of `x` on this thread, however few there are: a row's
/// bits then do not depend on how many are computed together, which prompts can rely on.
pub(crate) fn as_many_rows<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            MANY.set(self.0);
        }
    }
    let _restore = Restore(MANY.replace(true));
    f()
}

/// Whether the kernel for many rows keeps that promise on this processor: the `gemm` crate, which
/// serves those without AVX2, blocks its sums by the number of rows.
pub(crate) fn rows_stand_alone() -> bool {
    #[cfg(target_arch = "x86_64")]
    return super::simd::level() != super::simd::Level::Baseline;
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn few(rows: usize) -> bool {
    rows <= SKINNY_ROWS_MAX && !MANY.get()
}

/// `x Wᵀ`: `x` `[M, K]`, `w` `[N, K]`, result `[M, N]`.
pub fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (m, k) = x.dims2()?;
    let (n, w_k) = w.dims2()?;
    check(k == w_k, "linear", x, w)?;
    if !cpu::fused([x, w]) {
        return x.matmul(&w.t()?);
    }
    let y = cpu::read([x, w], |[x, w]| {
        let mut y = cpu::buffer(m * n);
        nt(m, n, k, x, w, &mut y, false);
        y
    })?;
    cpu::tensor(y, (m, n))
}

/// `base + x Wᵀ`, written over `base` where the device allows it.
pub fn linear_add(base: Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (m, k) = x.dims2()?;
    let (n, w_k) = w.dims2()?;
    check(k == w_k && base.dims() == [m, n], "linear_add", x, w)?;
    if !cpu::fused([&base, x, w]) {
        return add_product(base, x.matmul(&w.t()?)?);
    }
    cpu::read([x, w], |[x, w]| {
        cpu::write(&base, |y| nt(m, n, k, x, w, y, true))
    })??;
    Ok(base)
}

/// `base + x Wᵀ + l Bᵀ`, a layer's product and that of its low-rank adapter, in one pass over the
/// result; without `base`, from zero. `l` `[M, R]`, `b` `[N, R]`.
pub fn linear_sum(
    base: Option<Tensor>,
    [x, w]: [&Tensor; 2],
    [l, b]: [&Tensor; 2],
) -> Result<Tensor> {
    let ((m, k), (n, _)) = (x.dims2()?, w.dims2()?);
    let rank = l.dim(1)?;
    let fits = w.dims() == [n, k] && l.dims() == [m, rank] && b.dims() == [n, rank];
    let fits = fits && base.as_ref().is_none_or(|base| base.dims() == [m, n]);
    check(fits, "linear_sum", x, w)?;
    let fused = cpu::fused([x, w, l, b]) && base.as_ref().is_none_or(|base| cpu::fused([base]));
    if !fused || few(m) {
        let y = match base {
            Some(base) => linear_add(base, x, w)?,
            None => linear(x, w)?,
        };
        return linear_add(y, l, b);
    }
    cpu::read([x, w, l, b], |[x, w, l, b]| {
        total(
            m,
            n,
            &[nt_term(m, n, k, x, w), nt_term(m, n, rank, l, b)],
            base,
        )
    })?
}

/// `x W`: `x` `[M, K]`, `w` `[K, N]`, result `[M, N]`.
pub fn linear_transposed(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (m, k) = x.dims2()?;
    let (w_k, n) = w.dims2()?;
    check(k == w_k, "linear_transposed", x, w)?;
    if !cpu::fused([x, w]) {
        return x.matmul(w);
    }
    let y = cpu::read([x, w], |[x, w]| {
        let mut y = cpu::buffer(m * n);
        nn_skinny(m, n, k, x, w, &mut y, false);
        y
    })?;
    cpu::tensor(y, (m, n))
}

/// `base + x W`, written over `base` where the device allows it.
pub fn linear_transposed_add(base: Tensor, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (m, k) = x.dims2()?;
    let (w_k, n) = w.dims2()?;
    check(
        k == w_k && base.dims() == [m, n],
        "linear_transposed_add",
        x,
        w,
    )?;
    if !cpu::fused([&base, x, w]) {
        return add_product(base, x.matmul(w)?);
    }
    cpu::read([x, w], |[x, w]| {
        cpu::write(&base, |y| nn_skinny(m, n, k, x, w, y, true))
    })??;
    Ok(base)
}

/// Gradient of [`linear`]'s input: `dy W`, added to `base` where one is given.
///
/// `dy` `[M, N]`, `w` `[N, K]`, result `[M, K]`.
pub fn linear_input_gradient(base: Option<Tensor>, dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (m, n) = dy.dims2()?;
    let (w_n, k) = w.dims2()?;
    check(n == w_n, "linear_input_gradient", dy, w)?;
    if !cpu::fused([dy, w]) || base.as_ref().is_some_and(|b| !cpu::fused([b])) {
        let dx = dy.matmul(w)?;
        return match base {
            Some(base) => add_product(base, dx),
            None => Ok(dx),
        };
    }
    cpu::read([dy, w], |[dy, w]| {
        total(m, k, &[nn_term(m, k, n, dy, w)], base)
    })?
}

/// Gradient of [`linear_sum`]'s `x` where `l` is `x Aᵀ`: `base + dy W + dl A`. `dl` `[M, R]`, `a`
/// `[R, K]`.
pub fn linear_sum_input_gradient(
    base: Option<Tensor>,
    [dy, w]: [&Tensor; 2],
    [dl, a]: [&Tensor; 2],
) -> Result<Tensor> {
    let ((m, n), (_, k)) = (dy.dims2()?, w.dims2()?);
    let rank = dl.dim(1)?;
    let fits = w.dims() == [n, k] && dl.dims() == [m, rank] && a.dims() == [rank, k];
    let fits = fits && base.as_ref().is_none_or(|base| base.dims() == [m, k]);
    check(fits, "linear_sum_input_gradient", dy, w)?;
    let fused = cpu::fused([dy, w, dl, a]) && base.as_ref().is_none_or(|base| cpu::fused([base]));
    if !fused {
        let dx = linear_input_gradient(base, dy, w)?;
        return linear_input_gradient(Some(dx), dl, a);
    }
    cpu::read([dy, w, dl, a], |[dy, w, dl, a]| {
        total(
            m,
            k,
            &[nn_term(m, k, n, dy, w), nn_term(m, k, rank, dl, a)],
            base,
        )
    })?
}

/// Adds the gradient of [`linear`]'s weight, `dyᵀ x`, to `gradient`.
///
/// `gradient` `[N, K]`, `dy` `[M, N]`, `x` `[M, K]`.
pub fn linear_weight_gradient(gradient: &mut Tensor, dy: &Tensor, x: &Tensor) -> Result<()> {
    let (m, n) = dy.dims2()?;
    let (x_m, k) = x.dims2()?;
    check(
        m == x_m && gradient.dims() == [n, k],
        "linear_weight_gradient",
        dy,
        x,
    )?;
    if !cpu::fused([gradient, dy, x]) {
        *gradient = (&*gradient + dy.t()?.matmul(x)?.to_dtype(gradient.dtype())?)?;
        return Ok(());
    }
    cpu::read([dy, x], |[dy, x]| {
        cpu::write(gradient, |dw| {
            large(n, k, &[tn_term(n, k, m, dy, x)], dw, true)
        })
    })?
}

fn add_product(base: Tensor, product: Tensor) -> Result<Tensor> {
    let product = product.to_dtype(base.dtype())?;
    base + product
}

fn check(ok: bool, name: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    if ok {
        return Ok(());
    }
    candle_core::bail!("{name}: shapes {:?} and {:?} don't fit", a.dims(), b.dims())
}

/// The sum of some products, added to `base` where one is given.
fn total(m: usize, n: usize, terms: &[Term], base: Option<Tensor>) -> Result<Tensor> {
    match base {
        Some(base) => {
            cpu::write(&base, |c| large(m, n, terms, c, true))?;
            Ok(base)
        }
        None => {
            let mut c = cpu::buffer(m * n);
            large(m, n, terms, &mut c, false);
            cpu::tensor(c, (m, n))
        }
    }
}

fn large(m: usize, n: usize, terms: &[Term], c: &mut [f32], add: bool) {
    assert_eq!(c.len(), m * n);
    // SAFETY: whoever makes a term asserts the operands' lengths; `c` is borrowed.
    unsafe { sum(m, n, terms, c.as_mut_ptr(), n, add, true) }
}

/// `x wᵀ`.
fn nt_term(m: usize, n: usize, k: usize, x: &[f32], w: &[f32]) -> Term {
    assert!(x.len() == m * k && w.len() == n * k);
    let (a, b) = (View::rows(x, k), View::rows(w, k).t());
    Term { k, a, b }
}

/// `x w`.
fn nn_term(m: usize, n: usize, k: usize, x: &[f32], w: &[f32]) -> Term {
    assert!(x.len() == m * k && w.len() == n * k);
    let (a, b) = (View::rows(x, k), View::rows(w, n));
    Term { k, a, b }
}

/// `xᵀ w`.
fn tn_term(m: usize, n: usize, k: usize, x: &[f32], w: &[f32]) -> Term {
    assert!(x.len() == m * k && w.len() == n * k);
    let (a, b) = (View::rows(x, m).t(), View::rows(w, n));
    Term { k, a, b }
}

/// `y (+)= x wᵀ`.
fn nt(m: usize, n: usize, k: usize, x: &[f32], w: &[f32], y: &mut [f32], add: bool) {
    let term = nt_term(m, n, k, x, w);
    if few(m) {
        return skinny(m, n, k, x, w, y, add);
    }
    large(m, n, &[term], y, add);
}

/// `y (+)= x w`, with [`nn_block`] for few rows.
fn nn_skinny(m: usize, n: usize, k: usize, x: &[f32], w: &[f32], y: &mut [f32], add: bool) {
    if !few(m) {
        return large(m, n, &[nn_term(m, n, k, x, w)], y, add);
    }
    assert!(x.len() == m * k && w.len() == n * k && y.len() == m * n);
    let out = Shared::new(y);
    let task = |number: usize| {
        let first = number * SKINNY_COLUMNS;
        let columns = SKINNY_COLUMNS.min(n - first);
        let mut block = [0.0; SKINNY_COLUMNS];
        for (row, x) in x.chunks_exact(k).enumerate() {
            // SAFETY: this task alone has these columns.
            let y = unsafe { out.slice(row * n + first, columns) };
            let block = &mut block[..columns];
            nn_block(x, &w[first..], n, block);
            for (y, sum) in y.iter_mut().zip(block) {
                *y = if add { *y + *sum } else { *sum };
            }
        }
    };
    let tasks = n.div_ceil(SKINNY_COLUMNS);
    if m * n * k < 1 << 16 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().for_each(task);
    }
}

/// Weight columns a task takes: 1 KiB of each weight row, and all its rows (192 KiB for `K` = 768)
/// stay in the second-level cache from one row of `x` to the next.
const SKINNY_COLUMNS: usize = 64;

simd! {
    /// One row of `x` against columns of `w`, whose rows lie `stride` apart. Every sum runs over
    /// `k` in order, so that a row's result does not depend on the rows beside it.
    fn nn_block(x: &[f32], w: &[f32], stride: usize, y: &mut [f32]) {
        y.fill(0.0);
        if let Ok(sums) = <&mut [f32; SKINNY_COLUMNS]>::try_from(&mut *y) {
            for (x, w) in x.iter().zip(w.chunks(stride)) {
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = x.mul_add(*w, *sum);
                }
            }
            return;
        }
        for (x, w) in x.iter().zip(w.chunks(stride)) {
            for (sum, w) in y.iter_mut().zip(w) {
                *sum = x.mul_add(*w, *sum);
            }
        }
    }
}

/// Up to here rows are taken one by one against each weight. Chosen: decoding never has more
/// rows (`rollout` holds to it), so that a decoded row's bits do not depend on how many there are.
pub const SKINNY_ROWS_MAX: usize = 64;

/// Weight rows a task takes, of `n`: a few tasks a thread, so that all end together, and long ones,
/// so that what a thread fetches ahead is what it reads next.
pub(super) fn skinny_task(n: usize) -> usize {
    n.div_ceil(2 * rayon::current_num_threads())
        .clamp(32, 1024)
        .next_multiple_of(2)
}

/// Few rows of `x` against many rows of `w`: each weight is read once, in the checkpoint's order,
/// without packing.
///
/// Every element is one dot product in a fixed order, so that a row's result does not depend on
/// the rows beside it: a response is the same whatever shares its batch.
fn skinny(m: usize, n: usize, k: usize, x: &[f32], w: &[f32], y: &mut [f32], add: bool) {
    assert_eq!(y.len(), m * n);
    let columns_max = skinny_task(n);
    let out = Shared::new(y);
    let task = |number: usize| {
        let first = number * columns_max;
        let columns = columns_max.min(n - first);
        let put = |row: usize, column: usize, sum: f32| {
            // SAFETY: `row < m` and `column < columns`; this task alone has these columns.
            let y = unsafe { &mut out.slice(row * n + first + column, 1)[0] };
            *y = if add { *y + sum } else { sum };
        };
        skinny_columns(m, columns, k, x, &w[first * k..(first + columns) * k], &put);
    };
    let tasks = n.div_ceil(columns_max);
    if m * n * k < 1 << 16 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().for_each(task);
    }
}

/// Hands every dot product of `m` rows of `x` and `n` rows of `w`, all `k` long, to `put`.
#[inline]
pub(super) fn skinny_columns(
    m: usize,
    n: usize,
    k: usize,
    x: &[f32],
    w: &[f32],
    put: &impl Fn(usize, usize, f32),
) {
    assert!(x.len() == m * k && w.len() == n * k);
    if skinny_stored(m, n, k, x, Stored::F32(w), put) {
        return;
    }
    for (column, weights) in w.chunks_exact(k).enumerate() {
        for (row, x) in x.chunks_exact(k).enumerate() {
            put(row, column, dot(x, weights));
        }
    }
}

/// Rows of a weight as they are stored.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
    /// A row of `k` has `⌈k / BLOCK⌉` scales.
    Int8 {
        values: &'a [i8],
        scales: &'a [f32],
    },
}

/// Hands every dot product of `m` rows of `x` and `n` rows of `w`, all `k` long, to `put`; the
/// products are those of the weights in f32, bit for bit. False, and nothing was done, where the
/// processor has no kernel for that.
#[inline]
pub(super) fn skinny_stored(
    m: usize,
    n: usize,
    k: usize,
    x: &[f32],
    w: Stored,
    put: &impl Fn(usize, usize, f32),
) -> bool {
    assert!(x.len() == m * k);
    #[cfg(target_arch = "x86_64")]
    if super::simd::level() == super::simd::Level::Avx512 {
        let x = x.as_ptr();
        // SAFETY: the instructions are there, and the slices have that many rows.
        unsafe {
            match w {
                Stored::F32(w) => {
                    assert!(w.len() == n * k);
                    let w = x86::Weights::new(w.as_ptr().cast(), k);
                    x86::skinny_block::<{ x86::F32 }>(m, n, x, w, put);
                }
                Stored::Bf16(w) => {
                    assert!(w.len() == n * k);
                    let w = x86::Weights::new(w.as_ptr().cast(), k);
                    x86::skinny_block::<{ x86::BF16 }>(m, n, x, w, put);
                }
                Stored::Int8 { values, scales } => {
                    assert!(values.len() == n * k && scales.len() == n * k.div_ceil(BLOCK));
                    let mut w = x86::Weights::new(values.as_ptr().cast(), k);
                    w.scales = scales.as_ptr();
                    x86::skinny_block::<{ x86::INT8 }>(m, n, x, w, put);
                }
            }
        }
        return true;
    }
    let _ = (n, w, put);
    false
}

simd! {
    fn dot(a: &[f32], b: &[f32]) -> f32 { super::simd::dot(a, b) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::BLOCK;

    /// Rows of `x` at a time: with two columns, sixteen sums stay in registers.
    const ROWS: usize = 8;

    /// How weights are stored; a parameter of the kernel, which is compiled for each.
    pub(super) const F32: u8 = 0;
    pub(super) const BF16: u8 = 1;
    pub(super) const INT8: u8 = 2;

    /// Rows of `k` weights.
    #[derive(Clone, Copy)]
    pub(super) struct Weights {
        data: *const u8,
        /// Of `INT8` alone.
        pub scales: *const f32,
        k: usize,
    }

    impl Weights {
        pub fn new(data: *const u8, k: usize) -> Self {
            Self {
                data,
                scales: std::ptr::null(),
                k,
            }
        }
    }

    /// Hands every dot product of `m` rows of `x` and `n` rows of `w` to `put`.
    ///
    /// # Safety
    /// AVX-512 is there, and the pointers cover that much.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn skinny_block<const STORED: u8>(
        m: usize,
        n: usize,
        x: *const f32,
        w: Weights,
        put: &impl Fn(usize, usize, f32),
    ) {
        // What the columns themselves have fetched for those that follow.
        for column in 0..AHEAD.min(n) {
            for at in (0..w.k).step_by(16) {
                hint::<STORED>(w, column, at);
            }
        }
        let mut column = 0;
        while column < n {
            let columns = 2.min(n - column);
            // A lone column is paired with itself; the second result is dropped.
            let pair = [column, column + columns - 1];
            let mut row = 0;
            while row < m {
                let rows = ROWS.min(m - row);
                // SAFETY: the rows and columns are there.
                let sums = unsafe {
                    let x = x.add(row * w.k);
                    match rows {
                        8 => dots::<8, STORED>(x, w, pair),
                        4..8 => dots::<4, STORED>(x, w, pair),
                        2..4 => dots::<2, STORED>(x, w, pair),
                        _ => dots::<1, STORED>(x, w, pair),
                    }
                };
                let done = match rows {
                    8 => 8,
                    4..8 => 4,
                    2..4 => 2,
                    _ => 1,
                };
                for (i, sums) in sums.iter().enumerate().take(done) {
                    for (j, sum) in sums.iter().enumerate().take(columns) {
                        put(row + i, column + j, *sum);
                    }
                }
                row += done;
            }
            column += columns;
        }
    }

    /// `R` rows against two columns; each sum has the same order whatever `R` is.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn dots<const R: usize, const STORED: u8>(
        x: *const f32,
        w: Weights,
        [first, second]: [usize; 2],
    ) -> [[f32; 2]; ROWS] {
        let k = w.k;
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        let whole = k / 16 * 16;
        let tail: __mmask16 = ((1u32 << (k - whole)) - 1) as u16;
        // SAFETY: the caller's promise; masked lanes are not read.
        unsafe {
            for at in (0..whole).step_by(16) {
                // Columns that follow. The processor's own prefetching learns a column's stream
                // about when it ends; a hint behind the last column is no access.
                hint::<STORED>(w, first + AHEAD, at);
                hint::<STORED>(w, second + AHEAD, at);
                let (a, b) = (load::<STORED>(w, first, at), load::<STORED>(w, second, at));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_loadu_ps(x.add(row * k + at));
                    sums[0] = _mm512_fmadd_ps(x, a, sums[0]);
                    sums[1] = _mm512_fmadd_ps(x, b, sums[1]);
                }
            }
            if tail != 0 {
                let a = load_tail::<STORED>(w, first, whole, tail);
                let b = load_tail::<STORED>(w, second, whole, tail);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_maskz_loadu_ps(tail, x.add(row * k + whole));
                    sums[0] = _mm512_fmadd_ps(x, a, sums[0]);
                    sums[1] = _mm512_fmadd_ps(x, b, sums[1]);
                }
            }
        }
        let mut all = [_mm512_setzero_ps(); 2 * ROWS];
        for (all, sums) in all.chunks_exact_mut(2).zip(sums) {
            all.copy_from_slice(&sums);
        }
        let mut out = [[0.0; 2]; ROWS];
        // SAFETY: as many numbers as a register holds.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr().cast(), totals(all)) };
        out
    }

    /// The sum of each register's elements, in the registers' order. Two registers' halves are
    /// added at once, then four registers' quarters, and so on: a quarter of the work of summing
    /// each alone, in the same order for each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn totals(sums: [__m512; 16]) -> __m512 {
        /// Where each step leaves whose sum, undone beforehand.
        const ORDER: [usize; 16] = [0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15];
        let mut halves = [_mm512_setzero_ps(); 8];
        for (i, sum) in halves.iter_mut().enumerate() {
            let (a, b) = (sums[ORDER[i]], sums[ORDER[i + 8]]);
            *sum = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x44>(a, b),
                _mm512_shuffle_f32x4::<0xEE>(a, b),
            );
        }
        let mut quarters = [_mm512_setzero_ps(); 4];
        for (i, sum) in quarters.iter_mut().enumerate() {
            let (a, b) = (halves[i], halves[i + 4]);
            *sum = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x88>(a, b),
                _mm512_shuffle_f32x4::<0xDD>(a, b),
            );
        }
        let mut pairs = [_mm512_setzero_ps(); 2];
        for (i, sum) in pairs.iter_mut().enumerate() {
            let (a, b) = (quarters[i], quarters[i + 2]);
            *sum = _mm512_add_ps(
                _mm512_shuffle_ps::<0x44>(a, b),
                _mm512_shuffle_ps::<0xEE>(a, b),
            );
        }
        let [a, b] = pairs;
        _mm512_add_ps(
            _mm512_shuffle_ps::<0x88>(a, b),
            _mm512_shuffle_ps::<0xDD>(a, b),
        )
    }

    /// Sixteen weights of a row.
    ///
    /// # Safety
    /// They are there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load<const STORED: u8>(w: Weights, row: usize, at: usize) -> __m512 {
        let index = row * w.k + at;
        // SAFETY: the caller's promise.
        unsafe {
            match STORED {
                F32 => _mm512_loadu_ps(w.data.cast::<f32>().add(index)),
                BF16 => widen_bf16(_mm256_loadu_si256(w.data.add(2 * index).cast())),
                _ => widen_int8(_mm_loadu_si128(w.data.add(index).cast()), scale(w, row, at)),
            }
        }
    }

    /// As [`load`], of the row's last weights those that `tail` has.
    ///
    /// # Safety
    /// They are there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_tail<const STORED: u8>(
        w: Weights,
        row: usize,
        at: usize,
        tail: __mmask16,
    ) -> __m512 {
        let index = row * w.k + at;
        // SAFETY: the caller's promise; masked lanes are not read.
        unsafe {
            match STORED {
                F32 => _mm512_maskz_loadu_ps(tail, w.data.cast::<f32>().add(index)),
                BF16 => widen_bf16(_mm256_maskz_loadu_epi16(tail, w.data.add(2 * index).cast())),
                _ => widen_int8(
                    _mm_maskz_loadu_epi8(tail, w.data.add(index).cast()),
                    scale(w, row, at),
                ),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn widen_bf16(bits: __m256i) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn widen_int8(values: __m128i, scale: f32) -> __m512 {
        let values = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(values));
        _mm512_mul_ps(values, _mm512_set1_ps(scale))
    }

    /// The scale of a row's block.
    ///
    /// # Safety
    /// It is there.
    #[inline]
    unsafe fn scale(w: Weights, row: usize, at: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *w.scales.add(row * w.k.div_ceil(BLOCK) + at / BLOCK) }
    }

    /// Columns between the one that is read and the one that is fetched. Measured on Zen 4, which
    /// waits for the first-level cache to be filled but not for the second: 38 GB/s, where hints
    /// for the first-level cache reach 22 at any distance; 8 to 32 columns are alike.
    const AHEAD: usize = 8;

    /// Hints that sixteen weights are read soon, once a cache line.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn hint<const STORED: u8>(w: Weights, row: usize, at: usize) {
        let bytes = match STORED {
            F32 => 4,
            BF16 => 2,
            _ => 1,
        };
        if (bytes * at).is_multiple_of(64) {
            let at = w.data.wrapping_add(bytes * (row * w.k + at));
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, on, random};
    use super::*;
    use crate::ops::without_fused_kernels;
    use candle_core::Device;

    // Would catch a transposed operand, a forgotten sum into the base, or a wrong edge of the
    // skinny kernel; tolerance: f32 sums of up to 70 terms.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 70, 33),
            (8, 65, 64),
            (13, 130, 70),
            (40, 24, 16),
            (70, 40, 33),
        ] {
            let (x, w) = (random((m, k), 1), random((n, k), 2));
            let (dy, base) = (random((m, n), 3), random((m, n), 4));
            let (a, b) = (random((6, k), 6), random((n, 6), 7));
            let low = random((m, 6), 8);
            let stored = w.t()?.contiguous()?;
            let run = || -> Result<Vec<Tensor>> {
                let mut dw = random((n, k), 5);
                linear_weight_gradient(&mut dw, &dy, &x)?;
                Ok(vec![
                    linear(&x, &w)?,
                    linear_add(base.copy()?, &x, &w)?,
                    linear_transposed(&x, &stored)?,
                    linear_transposed_add(base.copy()?, &x, &stored)?,
                    linear_input_gradient(None, &dy, &w)?,
                    linear_input_gradient(Some(x.copy()?), &dy, &w)?,
                    linear_sum(None, [&x, &w], [&low, &b])?,
                    linear_sum(Some(base.copy()?), [&x, &w], [&low, &b])?,
                    linear_sum_input_gradient(None, [&dy, &w], [&low, &a])?,
                    linear_sum_input_gradient(Some(x.copy()?), [&dy, &w], [&low, &a])?,
                    dw,
                ])
            };
            let (fused, plain) = (run()?, without_fused_kernels(run)?);
            for (a, b) in fused.iter().zip(&plain) {
                assert_close(a, b, 2e-5);
            }
        }
        Ok(())
    }

    // Would catch a result that depends on the batch it was computed in. A device's products promise
    // nothing of the kind.
    #[test]
    fn skinny_rows_stand_alone() -> Result<()> {
        let random = |shape, seed| on(&Device::Cpu, || random(shape, seed));
        let (x, w) = (random((13, 70), 1), random((130, 70), 2));
        let stored = w.t()?.contiguous()?;
        type Product = fn(&Tensor, &Tensor) -> Result<Tensor>;
        for (product, w) in [(linear as Product, &w), (linear_transposed, &stored)] {
            let all = product(&x, w)?.to_vec2::<f32>()?;
            for (i, row) in all.iter().enumerate() {
                let alone = product(&x.narrow(0, i, 1)?.contiguous()?, w)?;
                assert_eq!(&alone.to_vec2::<f32>()?[0], row);
            }
        }
        Ok(())
    }
}
