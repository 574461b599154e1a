//! The bias of a linear layer: a row added to every row, and its gradient, their sum.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, Shared, rows_per_task};

/// `y + b` for every row, `y` `[T, N]`, `b` `[N]`; written over `y` where the device allows it.
pub fn add_bias(y: Tensor, b: &Tensor) -> Result<Tensor> {
    let (_, width) = y.dims2()?;
    if b.dims() != [width] {
        candle_core::bail!("add_bias: shapes {:?} and {:?}", y.dims(), b.dims());
    }
    if !cpu::fused([&y, b]) {
        return y.broadcast_add(&b.to_dtype(y.dtype())?);
    }
    cpu::read([b], |[b]| {
        cpu::write(&y, |y| {
            y.par_chunks_mut(rows_per_task(width) * width)
                .for_each(|y| add_rows(y, b));
        })
    })??;
    Ok(y)
}

/// Adds the rows of `dy` `[T, N]` to `gradient` `[N]`.
pub fn bias_gradient(gradient: &mut Tensor, dy: &Tensor) -> Result<()> {
    let (rows, width) = dy.dims2()?;
    if gradient.dims() != [width] {
        candle_core::bail!(
            "bias_gradient: shapes {:?} and {:?}",
            gradient.dims(),
            dy.dims()
        );
    }
    if !cpu::fused([gradient, dy]) {
        let sum = dy.to_dtype(gradient.dtype())?.sum(0)?;
        *gradient = (&*gradient + sum)?;
        return Ok(());
    }
    // Parts are added in order, so that the result does not depend on which thread was first.
    let step = rows_per_task(width) * 4;
    let mut partial = cpu::buffer(rows.div_ceil(step) * width);
    cpu::read([dy], |[dy]| {
        let sums = Shared::new(&mut partial);
        dy.par_chunks(step * width)
            .enumerate()
            .for_each(|(part, dy)| {
                // SAFETY: each part has a row of `partial` for itself.
                sum_rows(unsafe { sums.slice(part * width, width) }, dy);
            });
    })?;
    cpu::write(gradient, |gradient| sum_rows(gradient, &partial))
}

simd! {
    fn add_rows(y: &mut [f32], b: &[f32]) {
        for row in y.chunks_exact_mut(b.len()) {
            for (y, b) in row.iter_mut().zip(b) {
                *y += b;
            }
        }
    }
}

simd! {
    fn sum_rows(sum: &mut [f32], rows: &[f32]) {
        for row in rows.chunks_exact(sum.len()) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, check_gradient, random, random64, weighted_sum};
    use super::*;
    use crate::ops::without_fused_kernels;

    // Would catch a sum over the wrong axis.
    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        let (y, b, dy) = (random64((3, 5), 1), random64(5, 2), random64((3, 5), 3));
        let mut db = b.zeros_like()?;
        bias_gradient(&mut db, &dy)?;
        check_gradient(&b, &db, |b| weighted_sum(&add_bias(y.clone(), b)?, &dy));
        assert!(add_bias(y, &dy).is_err());
        Ok(())
    }

    // Would catch rows lost between the parts.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        for (rows, width) in [(1, 3), (300, 70), (65, 3072)] {
            let (y, b) = (random((rows, width), 1), random(width, 2));
            let run = || -> Result<[Tensor; 2]> {
                let mut db = b.copy()?;
                bias_gradient(&mut db, &y)?;
                Ok([add_bias(y.copy()?, &b)?, db])
            };
            for (a, b) in run()?.iter().zip(&without_fused_kernels(run)?) {
                assert_close(a, b, 1e-5);
            }
        }
        Ok(())
    }
}
