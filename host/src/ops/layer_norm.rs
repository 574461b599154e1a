//! Layer normalisation (Ba et al. 2016): `y = w (x − μ) / √(σ² + ε) + b`, `σ²` over all `H`
//! elements of a row, as torch has it.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, Shared, rows_per_task};
use super::simd::{LANES, fold};

/// What the backward needs of each row: its mean and `1 / √(σ² + ε)`, `[T]` each.
#[derive(Clone, Debug)]
pub struct Moments {
    pub mean: Tensor,
    pub inverse: Tensor,
}

/// Normalises the rows of `x` `[T, H]` by weight `w` and bias `b`, `[H]` each.
pub fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, epsilon: f64) -> Result<(Tensor, Moments)> {
    let (rows, width) = x.dims2()?;
    if !cpu::fused([x, w, b]) {
        let mean = (x.sum(D::Minus1)? / width as f64)?;
        let centred = x.broadcast_sub(&mean.unsqueeze(1)?)?;
        let variance = (centred.sqr()?.sum(D::Minus1)? / width as f64)?;
        let inverse = (variance + epsilon)?.sqrt()?.recip()?;
        let moments = Moments { mean, inverse };
        return Ok((layer_norm_apply(x, &moments, w, b)?, moments));
    }
    let (y, mean, inverse) = cpu::read([x, w, b], |[x, w, b]| {
        let mut y = cpu::buffer(rows * width);
        let (mut mean, mut inverse) = (cpu::buffer(rows), cpu::buffer(rows));
        let step = rows_per_task(width);
        y.par_chunks_mut(step * width)
            .zip(mean.par_chunks_mut(step))
            .zip(inverse.par_chunks_mut(step))
            .zip(x.par_chunks(step * width))
            .for_each(|(((y, mean), inverse), x)| {
                moments_rows(x, width, epsilon as f32, mean, inverse);
                apply_rows(x, w, b, mean, inverse, y);
            });
        (y, mean, inverse)
    })?;
    let moments = Moments {
        mean: cpu::tensor(mean, rows)?,
        inverse: cpu::tensor(inverse, rows)?,
    };
    Ok((cpu::tensor(y, (rows, width))?, moments))
}

/// The forward again from what it returned: `w (x − mean) inverse + b`.
pub fn layer_norm_apply(x: &Tensor, moments: &Moments, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let Moments { mean, inverse } = moments;
    if !cpu::fused([x, mean, inverse, w, b]) {
        return normalised(x, moments)?.broadcast_mul(w)?.broadcast_add(b);
    }
    let y = cpu::read([x, mean, inverse, w, b], |[x, mean, inverse, w, b]| {
        let mut y = cpu::buffer(rows * width);
        let step = rows_per_task(width);
        y.par_chunks_mut(step * width)
            .zip(mean.par_chunks(step))
            .zip(inverse.par_chunks(step))
            .zip(x.par_chunks(step * width))
            .for_each(|(((y, mean), inverse), x)| apply_rows(x, w, b, mean, inverse, y));
        y
    })?;
    cpu::tensor(y, (rows, width))
}

fn normalised(x: &Tensor, moments: &Moments) -> Result<Tensor> {
    x.broadcast_sub(&moments.mean.unsqueeze(1)?)?
        .broadcast_mul(&moments.inverse.unsqueeze(1)?)
}

/// What flows back: returns `base + dx`; adds to the gradients `[H]` of weight and bias where
/// these are trained.
///
/// With `x̂ = (x − μ) r` and `g = w dy`: `dx = r (g − (Σ g + x̂ Σ g x̂) / H)`,
/// `dw = Σ_rows dy x̂`, `db = Σ_rows dy`. `base` is what reached `x` around the norm.
pub fn layer_norm_backward(
    base: Tensor,
    dy: &Tensor,
    x: &Tensor,
    moments: &Moments,
    w: &Tensor,
    trained: Option<(&mut Tensor, &mut Tensor)>,
) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let Moments { mean, inverse } = moments;
    let weights_fused = trained.as_ref().is_none_or(|(dw, db)| cpu::fused([dw, db]));
    if !(cpu::fused([&base, dy, x, mean, inverse, w]) && weights_fused) {
        let normed = normalised(x, moments)?;
        if let Some((dw, db)) = trained {
            *dw = (&*dw + (dy * &normed)?.sum(0)?)?;
            *db = (&*db + dy.sum(0)?)?;
        }
        let scaled = dy.broadcast_mul(w)?;
        let mean = (scaled.sum_keepdim(D::Minus1)? / width as f64)?;
        let projection = ((&scaled * &normed)?.sum_keepdim(D::Minus1)? / width as f64)?;
        let dx = scaled
            .broadcast_sub(&mean)?
            .sub(&normed.broadcast_mul(&projection)?)?;
        return base + dx.broadcast_mul(&inverse.unsqueeze(1)?)?;
    }
    // Blocks of rows sum their part of dw and db; the parts are then added in order, so that the
    // result does not depend on which thread was first.
    let step = rows_per_task(width) * 4;
    let parts = rows.div_ceil(step);
    let slots = if trained.is_some() { 2 * width } else { 0 };
    let mut partial = cpu::buffer(parts * slots);
    cpu::read([dy, x, mean, inverse, w], |[dy, x, mean, inverse, w]| {
        cpu::write(&base, |base| {
            let sums = Shared::new(&mut partial);
            base.par_chunks_mut(step * width)
                .enumerate()
                .for_each(|(part, base)| {
                    let (first, count) = (part * step, base.len() / width);
                    // SAFETY: each part has a row of `partial` for itself.
                    let (dw, db) =
                        unsafe { sums.slice(part * slots, slots) }.split_at_mut(slots / 2);
                    backward_rows(
                        base,
                        &dy[first * width..][..count * width],
                        &x[first * width..][..count * width],
                        &mean[first..][..count],
                        &inverse[first..][..count],
                        w,
                        dw,
                        db,
                    );
                });
        })
    })??;
    if let Some((dw, db)) = trained {
        cpu::write_all([dw, db], |[dw, db]| {
            for part in partial.chunks_exact(2 * width) {
                for ((dw, db), (w_part, b_part)) in dw
                    .iter_mut()
                    .zip(db.iter_mut())
                    .zip(part[..width].iter().zip(&part[width..]))
                {
                    *dw += w_part;
                    *db += b_part;
                }
            }
        })?;
    }
    Ok(base)
}

simd! {
    fn moments_rows(x: &[f32], width: usize, epsilon: f32, mean: &mut [f32], inverse: &mut [f32]) {
        for ((x, mean), inverse) in x.chunks_exact(width).zip(mean).zip(inverse) {
            let (lanes, rest) = x.as_chunks::<LANES>();
            let mut sums = [0f32; LANES];
            for x in lanes {
                for i in 0..LANES {
                    sums[i] += x[i];
                }
            }
            let average = (fold(sums) + rest.iter().sum::<f32>()) / width as f32;
            // A second pass over the row: the difference of two large sums would lose its digits.
            let mut squares = [0f32; LANES];
            for x in lanes {
                for i in 0..LANES {
                    let centred = x[i] - average;
                    squares[i] += centred * centred;
                }
            }
            let tail: f32 = rest.iter().map(|x| (x - average) * (x - average)).sum();
            *mean = average;
            *inverse = 1.0 / ((fold(squares) + tail) / width as f32 + epsilon).sqrt();
        }
    }
}

simd! {
    fn apply_rows(x: &[f32], w: &[f32], b: &[f32], mean: &[f32], inverse: &[f32], y: &mut [f32]) {
        let width = w.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(mean).zip(inverse);
        for (((x, y), mean), inverse) in rows {
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
                *y = ((x - mean) * inverse).mul_add(*w, *b);
            }
        }
    }
}

simd! {
    /// `dw` and `db` are empty where weight and bias are not trained.
    fn backward_rows(base: &mut [f32], dy: &[f32], x: &[f32], mean: &[f32], inverse: &[f32], w: &[f32], dw: &mut [f32], db: &mut [f32]) {
        let width = w.len();
        let rows = base.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width));
        for (((base, dy), x), (mean, r)) in rows.zip(mean.iter().zip(inverse)) {
            let (mut sums, mut products) = ([0f32; LANES], [0f32; LANES]);
            let (x_lanes, x_rest) = x.as_chunks::<LANES>();
            let (dy_lanes, dy_rest) = dy.as_chunks::<LANES>();
            let (w_lanes, w_rest) = w.as_chunks::<LANES>();
            for ((x, dy), w) in x_lanes.iter().zip(dy_lanes).zip(w_lanes) {
                for i in 0..LANES {
                    let g = dy[i] * w[i];
                    sums[i] += g;
                    products[i] += g * (x[i] - mean);
                }
            }
            let (mut sum, mut product) = (fold(sums), fold(products));
            for ((x, dy), w) in x_rest.iter().zip(dy_rest).zip(w_rest) {
                sum += dy * w;
                product += dy * w * (x - mean);
            }
            let (average, projection) = (sum / width as f32, product * r * r / width as f32);
            for (((base, dy), x), w) in base.iter_mut().zip(dy).zip(x).zip(w) {
                *base += r * (w * dy - average - projection * (x - mean));
            }
            for (((dw, db), dy), x) in dw.iter_mut().zip(db.iter_mut()).zip(dy).zip(x) {
                *dw += dy * (x - mean) * r;
                *db += dy;
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
        let (x, dy) = (random64((3, 5), 1), random64((3, 5), 3));
        let (w, b) = (random64(5, 2), random64(5, 4));
        let (_, moments) = layer_norm(&x, &w, &b, EPSILON)?;
        let (mut dw, mut db) = (w.zeros_like()?, b.zeros_like()?);
        let trained = Some((&mut dw, &mut db));
        let dx = layer_norm_backward(x.zeros_like()?, &dy, &x, &moments, &w, trained)?;
        let loss = |x: &Tensor, w: &Tensor, b: &Tensor| {
            weighted_sum(&layer_norm(x, w, b, EPSILON)?.0, &dy)
        };
        check_gradient(&x, &dx, |x| loss(x, &w, &b));
        check_gradient(&w, &dw, |w| loss(&x, w, &b));
        check_gradient(&b, &db, |b| loss(&x, &w, b));
        Ok(())
    }

    // Would catch a kernel that drops rows or lanes at an edge, and a variance taken as the
    // difference of large sums: every row lies far from zero.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        for (rows, width) in [(1, 3), (7, 64), (300, 70), (65, 768)] {
            let (x, dy) = ((random((rows, width), 1) + 30.0)?, random((rows, width), 3));
            let (w, b) = (random(width, 2), random(width, 4));
            let run = || -> Result<[Tensor; 5]> {
                let (y, moments) = layer_norm(&x, &w, &b, EPSILON)?;
                let (mut dw, mut db) = (w.copy()?, b.copy()?);
                let trained = Some((&mut dw, &mut db));
                let dx = layer_norm_backward(dy.copy()?, &dy, &x, &moments, &w, trained)?;
                Ok([y, layer_norm_apply(&x, &moments, &w, &b)?, dx, dw, db])
            };
            for (a, b) in run()?.iter().zip(&without_fused_kernels(run)?) {
                assert_close(a, b, 1e-4);
            }
        }
        Ok(())
    }
}
