//! Linear layers: `y = x Wᵀ` and what flows back through it.
//!
//! `W` has the checkpoint's shape `[N, K]` (outputs, inputs). Weight gradients are added to what
//! is there already, so that micro-batches sum without a copy.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, Shared};
use super::gemm::{View, product};

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
        return base + x.matmul(&w.t()?)?;
    }
    cpu::read([x, w], |[x, w]| {
        cpu::write(&base, |y| nt(m, n, k, x, w, y, true))
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
            Some(base) => base + dx,
            None => Ok(dx),
        };
    }
    if let Some(base) = base {
        cpu::read([dy, w], |[dy, w]| {
            cpu::write(&base, |dx| nn(m, k, n, dy, w, dx, true))
        })??;
        return Ok(base);
    }
    let dx = cpu::read([dy, w], |[dy, w]| {
        let mut dx = cpu::buffer(m * k);
        nn(m, k, n, dy, w, &mut dx, false);
        dx
    })?;
    cpu::tensor(dx, (m, k))
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
        *gradient = (&*gradient + dy.t()?.matmul(x)?)?;
        return Ok(());
    }
    cpu::read([dy, x], |[dy, x]| {
        cpu::write(gradient, |dw| tn(n, k, m, dy, x, dw, true))
    })?
}

fn check(ok: bool, name: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    if ok {
        return Ok(());
    }
    candle_core::bail!("{name}: shapes {:?} and {:?} don't fit", a.dims(), b.dims())
}

fn large(m: usize, n: usize, k: usize, a: View, b: View, c: &mut [f32], add: bool) {
    assert_eq!(c.len(), m * n);
    // SAFETY: the callers below have asserted the operands' lengths; `c` is borrowed.
    unsafe { product(m, n, k, a, b, c.as_mut_ptr(), n, add, true) }
}

/// `y (+)= x wᵀ`.
fn nt(m: usize, n: usize, k: usize, x: &[f32], w: &[f32], y: &mut [f32], add: bool) {
    assert!(x.len() == m * k && w.len() == n * k);
    if m <= SKINNY_ROWS_MAX {
        return skinny(m, n, k, x, w, y, add);
    }
    large(m, n, k, View::rows(x, k), View::rows(w, k).t(), y, add);
}

/// `y (+)= x w`.
fn nn(m: usize, n: usize, k: usize, x: &[f32], w: &[f32], y: &mut [f32], add: bool) {
    assert!(x.len() == m * k && w.len() == n * k);
    large(m, n, k, View::rows(x, k), View::rows(w, n), y, add);
}

/// `y (+)= xᵀ w`.
fn tn(m: usize, n: usize, k: usize, x: &[f32], w: &[f32], y: &mut [f32], add: bool) {
    assert!(x.len() == m * k && w.len() == n * k);
    large(m, n, k, View::rows(x, m).t(), View::rows(w, n), y, add);
}

/// Up to here a product is bound by reading the weight once; above, by arithmetic. Chosen: the
/// largest decoding batch in use.
const SKINNY_ROWS_MAX: usize = 32;

/// Weight rows a task takes: about 128 KiB of weights at the smallest models' widths.
const SKINNY_TASK: usize = 64;

/// Few rows of `x` against many rows of `w`: each weight is read once, in the checkpoint's order.
///
/// Every element is one dot product in a fixed order, so that a row's result does not depend on
/// the rows beside it: a response is the same whatever shares its batch.
fn skinny(m: usize, n: usize, k: usize, x: &[f32], w: &[f32], y: &mut [f32], add: bool) {
    assert_eq!(y.len(), m * n);
    let out = Shared::new(y);
    let task = |first: usize| {
        let columns = SKINNY_TASK.min(n - first);
        skinny_block(
            m,
            n,
            k,
            x,
            &w[first * k..(first + columns) * k],
            first,
            columns,
            out,
            add,
        );
    };
    let tasks = n.div_ceil(SKINNY_TASK);
    if m * n * k < 1 << 16 {
        (0..tasks).for_each(|i| task(i * SKINNY_TASK));
    } else {
        (0..tasks)
            .into_par_iter()
            .for_each(|i| task(i * SKINNY_TASK));
    }
}

simd! {
    fn skinny_block(
        m: usize,
        n: usize,
        k: usize,
        x: &[f32],
        w: &[f32],
        first: usize,
        columns: usize,
        out: Shared,
        add: bool,
    ) {
        /// Rows of `x` at a time: eight sums of sixteen lanes stay in registers.
        const ROWS: usize = 8;
        const WIDTH: usize = 16;
        for column in 0..columns {
            let weights = &w[column * k..][..k];
            let (weight_chunks, weight_rest) = weights.as_chunks::<WIDTH>();
            let mut row = 0;
            while row < m {
                let rows = ROWS.min(m - row);
                let mut sums = [[0f32; WIDTH]; ROWS];
                if rows == ROWS {
                    let x: [&[[f32; WIDTH]]; ROWS] =
                        std::array::from_fn(|i| &x[(row + i) * k..][..k].as_chunks::<WIDTH>().0[..weight_chunks.len()]);
                    for (at, weight) in weight_chunks.iter().enumerate() {
                        for i in 0..ROWS {
                            for lane in 0..WIDTH {
                                sums[i][lane] = x[i][at][lane].mul_add(weight[lane], sums[i][lane]);
                            }
                        }
                    }
                } else {
                    for (i, sums) in sums.iter_mut().enumerate().take(rows) {
                        let x = x[(row + i) * k..][..k].as_chunks::<WIDTH>().0;
                        let mut local = [0f32; WIDTH];
                        for (x, weight) in x.iter().zip(weight_chunks) {
                            for lane in 0..WIDTH {
                                local[lane] = x[lane].mul_add(weight[lane], local[lane]);
                            }
                        }
                        *sums = local;
                    }
                }
                for (i, sums) in sums.iter().enumerate().take(rows) {
                    let mut s = *sums;
                    let mut width = WIDTH / 2;
                    while width > 0 {
                        for lane in 0..width {
                            s[lane] += s[lane + width];
                        }
                        width /= 2;
                    }
                    let x_rest = &x[(row + i) * k + k - weight_rest.len()..][..weight_rest.len()];
                    let mut rest = 0.0f32;
                    for (x, weight) in x_rest.iter().zip(weight_rest) {
                        rest = x.mul_add(*weight, rest);
                    }
                    // SAFETY: `column < n` and `row + i < m`; a task alone has these columns.
                    let y = unsafe { &mut out.slice((row + i) * n + first + column, 1)[0] };
                    *y = if add { *y + s[0] + rest } else { s[0] + rest };
                }
                row += rows;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;
    use crate::ops::without_fused_kernels;

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
        ] {
            let (x, w) = (random((m, k), 1), random((n, k), 2));
            let (dy, base) = (random((m, n), 3), random((m, n), 4));
            let run = || -> Result<Vec<Tensor>> {
                let mut dw = random((n, k), 5);
                linear_weight_gradient(&mut dw, &dy, &x)?;
                Ok(vec![
                    linear(&x, &w)?,
                    linear_add(base.copy()?, &x, &w)?,
                    linear_input_gradient(None, &dy, &w)?,
                    linear_input_gradient(Some(x.copy()?), &dy, &w)?,
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

    // Would catch a result that depends on the batch it was computed in.
    #[test]
    fn skinny_rows_stand_alone() -> Result<()> {
        let (x, w) = (random((13, 70), 1), random((130, 70), 2));
        let all = linear(&x, &w)?.to_vec2::<f32>()?;
        for (i, row) in all.iter().enumerate() {
            assert_eq!(
                &linear(&x.narrow(0, i, 1)?.contiguous()?, &w)?.to_vec2::<f32>()?[0],
                row
            );
        }
        Ok(())
    }
}
