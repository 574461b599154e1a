//! Root-mean-square normalisation (Zhang & Sennrich 2019): `y = w x / √(mean x² + ε)`.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, Shared, rows_per_task};
#[cfg(feature = "cuda")]
use super::cuda;
use super::simd::{LANES, dot, fold};

/// Normalises the rows of `x` `[T, H]` by weight `w` `[H]`.
///
/// Returns `y` `[T, H]` and `1 / √(mean x² + ε)` `[T]`, which the backward needs.
pub fn rms_norm(x: &Tensor, w: &Tensor, epsilon: f64) -> Result<(Tensor, Tensor)> {
    let (rows, width) = x.dims2()?;
    #[cfg(feature = "cuda")]
    if cuda::fused_f32([x, w]) && w.dims() == [width] {
        return cuda::rms_norm(x, w, epsilon);
    }
    if !cpu::fused([x, w]) {
        let inverse = ((x.sqr()?.sum(D::Minus1)? / width as f64)? + epsilon)?
            .sqrt()?
            .recip()?;
        let y = rms_norm_apply(x, &inverse, w)?;
        return Ok((y, inverse));
    }
    let (y, inverse) = cpu::read([x, w], |[x, w]| {
        let (mut y, mut inverse) = (cpu::buffer(rows * width), cpu::buffer(rows));
        let step = rows_per_task(width);
        y.par_chunks_mut(step * width)
            .zip(inverse.par_chunks_mut(step))
            .zip(x.par_chunks(step * width))
            .for_each(|((y, inverse), x)| forward_rows(x, w, epsilon as f32, y, inverse));
        (y, inverse)
    })?;
    Ok((cpu::tensor(y, (rows, width))?, cpu::tensor(inverse, rows)?))
}

/// The forward again from what it returned: `w x inverse`.
pub fn rms_norm_apply(x: &Tensor, inverse: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    #[cfg(feature = "cuda")]
    if cuda::fused_f32([x, inverse, w]) && w.dims() == [width] && inverse.dims() == [rows] {
        return cuda::rms_norm_apply(x, inverse, w);
    }
    if !cpu::fused([x, inverse, w]) {
        return x.broadcast_mul(&inverse.unsqueeze(1)?)?.broadcast_mul(w);
    }
    let y = cpu::read([x, inverse, w], |[x, inverse, w]| {
        let mut y = cpu::buffer(rows * width);
        let step = rows_per_task(width);
        y.par_chunks_mut(step * width)
            .zip(inverse.par_chunks(step))
            .zip(x.par_chunks(step * width))
            .for_each(|((y, inverse), x)| apply_rows(x, w, inverse, y));
        y
    })?;
    cpu::tensor(y, (rows, width))
}

/// What flows back: returns `base + dx` and adds to `dw` where the weight is trained.
///
/// With `r` the forward's inverse: `dx = r (w dy) − r³ x (Σ w dy x) / H`, `dw = Σ_rows r dy x`.
/// `base` is what reached `x` around the norm (the residual), `[T, H]` like `dy` and `x`.
pub fn rms_norm_backward(
    base: Tensor,
    dy: &Tensor,
    x: &Tensor,
    inverse: &Tensor,
    w: &Tensor,
    dw: Option<&mut Tensor>,
) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    #[cfg(feature = "cuda")]
    if cuda::fused_f32([&base, dy, x, inverse, w])
        && dw.as_ref().is_none_or(|dw| cuda::fused_f32([dw]))
    {
        cuda::rms_norm_backward(&base, dy, x, inverse, w, dw.as_deref())?;
        return Ok(base);
    }
    let weight_fused = dw.as_ref().is_none_or(|dw| cpu::fused([dw]));
    if !(cpu::fused([&base, dy, x, inverse, w]) && weight_fused) {
        let r = inverse.unsqueeze(1)?;
        let normed = x.broadcast_mul(&r)?;
        if let Some(dw) = dw {
            *dw = (&*dw + (dy * &normed)?.sum(0)?)?;
        }
        let scaled = dy.broadcast_mul(w)?;
        let projection = ((&scaled * &normed)?.sum_keepdim(D::Minus1)? / width as f64)?;
        let dx = (scaled - normed.broadcast_mul(&projection)?)?.broadcast_mul(&r)?;
        return base + dx;
    }
    // Blocks of rows sum their part of dw; the parts are then added in order, so that the
    // result does not depend on which thread was first.
    let step = rows_per_task(width) * 4;
    let parts = rows.div_ceil(step);
    let mut partial = cpu::buffer(if dw.is_some() { parts * width } else { 0 });
    cpu::read([dy, x, inverse, w], |[dy, x, inverse, w]| {
        cpu::write(&base, |base| {
            let sums = Shared::new(&mut partial);
            let trained = dw.is_some();
            base.par_chunks_mut(step * width)
                .enumerate()
                .for_each(|(part, base)| {
                    let (first, count) = (part * step, base.len() / width);
                    // SAFETY: each part has a row of `partial` for itself.
                    let dw = if trained {
                        unsafe { sums.slice(part * width, width) }
                    } else {
                        &mut []
                    };
                    backward_rows(
                        base,
                        &dy[first * width..][..count * width],
                        &x[first * width..][..count * width],
                        &inverse[first..][..count],
                        w,
                        dw,
                    );
                });
        })
    })??;
    if let Some(dw) = dw {
        cpu::write(dw, |dw| {
            for part in partial.chunks_exact(width) {
                for (sum, value) in dw.iter_mut().zip(part) {
                    *sum += value;
                }
            }
        })?;
    }
    Ok(base)
}

simd! {
    fn forward_rows(x: &[f32], w: &[f32], epsilon: f32, y: &mut [f32], inverse: &mut [f32]) {
        let width = w.len();
        for ((x, y), inverse) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse) {
            let r = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
            *inverse = r;
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = x * r * w;
            }
        }
    }
}

simd! {
    fn apply_rows(x: &[f32], w: &[f32], inverse: &[f32], y: &mut [f32]) {
        let width = w.len();
        for ((x, y), r) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inverse) {
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = x * r * w;
            }
        }
    }
}

simd! {
    /// `dw` is empty where the weight is not trained.
    fn backward_rows(base: &mut [f32], dy: &[f32], x: &[f32], inverse: &[f32], w: &[f32], dw: &mut [f32]) {
        let width = w.len();
        let rows = base.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width));
        for (((base, dy), x), r) in rows.zip(inverse) {
            let mut sums = [0f32; LANES];
            let (x_lanes, x_rest) = x.as_chunks::<LANES>();
            let (dy_lanes, dy_rest) = dy.as_chunks::<LANES>();
            let (w_lanes, w_rest) = w.as_chunks::<LANES>();
            for ((x, dy), w) in x_lanes.iter().zip(dy_lanes).zip(w_lanes) {
                for i in 0..LANES {
                    sums[i] += x[i] * dy[i] * w[i];
                }
            }
            let mut rest = 0.0;
            for ((x, dy), w) in x_rest.iter().zip(dy_rest).zip(w_rest) {
                rest += x * dy * w;
            }
            let projection = (fold(sums) + rest) * r * r * r / width as f32;
            for (((base, dy), x), w) in base.iter_mut().zip(dy).zip(x).zip(w) {
                *base += r * w * dy - projection * x;
            }
            for ((dw, dy), x) in dw.iter_mut().zip(dy).zip(x) {
                *dw += r * dy * x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, check_gradient, random, random64, weighted_sum};
    use super::*;
    use crate::ops::without_fused_kernels;

    const EPSILON: f64 = 1e-5;

    // Would catch a wrong term of the backward.
    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        let (x, w, dy) = (random64((3, 5), 1), random64(5, 2), random64((3, 5), 3));
        let (_, inverse) = rms_norm(&x, &w, EPSILON)?;
        let mut dw = w.zeros_like()?;
        let dx = rms_norm_backward(x.zeros_like()?, &dy, &x, &inverse, &w, Some(&mut dw))?;
        check_gradient(&x, &dx, |x| weighted_sum(&rms_norm(x, &w, EPSILON)?.0, &dy));
        check_gradient(&w, &dw, |w| weighted_sum(&rms_norm(&x, w, EPSILON)?.0, &dy));
        Ok(())
    }

    // Would catch a kernel that drops rows or lanes at an edge.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        for (rows, width) in [(1, 3), (7, 64), (300, 70), (65, 576)] {
            let (x, w, dy) = (
                random((rows, width), 1),
                random(width, 2),
                random((rows, width), 3),
            );
            let run = || -> Result<[Tensor; 4]> {
                let (y, inverse) = rms_norm(&x, &w, EPSILON)?;
                let mut dw = w.copy()?;
                let dx = rms_norm_backward(x.copy()?, &dy, &x, &inverse, &w, Some(&mut dw))?;
                Ok([y, rms_norm_apply(&x, &inverse, &w)?, dx, dw])
            };
            for (a, b) in run()?.iter().zip(&without_fused_kernels(run)?) {
                assert_close(a, b, 3e-5);
            }
        }
        Ok(())
    }
}
