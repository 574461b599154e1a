//! The Gaussian error linear unit (Hendrycks & Gimpel 2016): `y = x Φ(x)`, exactly or in the
//! paper's approximation by a hyperbolic tangent.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu;
use super::simd::exp;

/// Elements a task takes: large against the cost of a task, small against a cache.
const TASK: usize = 16 * 1024;

/// `√(2/π)` and the cubic's coefficient, of the approximation.
const SLOPE: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;

/// `1/√2` and `1/√(2π)`.
const HALF_ROOT: f64 = std::f64::consts::FRAC_1_SQRT_2;
const DENSITY: f64 = 0.398_942_280_401_432_7;

/// Which of its two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x Φ(x)`; transformers' `gelu`.
    Exact,
    /// `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`; transformers' `gelu_new` and
    /// `gelu_pytorch_tanh`.
    Tanh,
}

/// `gelu(x)`, elementwise.
pub fn gelu(x: &Tensor, form: Gelu) -> Result<Tensor> {
    if !cpu::fused([x]) {
        return match form {
            Gelu::Exact => x.gelu_erf(),
            Gelu::Tanh => x.gelu(),
        };
    }
    let y = cpu::read([x], |[x]| {
        let mut y = cpu::buffer(x.len());
        y.par_chunks_mut(TASK)
            .zip(x.par_chunks(TASK))
            .for_each(|(y, x)| match form {
                Gelu::Exact => exact_forward(y, x),
                Gelu::Tanh => tanh_forward(y, x),
            });
        y
    })?;
    cpu::tensor(y, x.shape().clone())
}

/// Gradient of `x`, written over it where the device allows it.
///
/// Exact: `Φ(x) + x φ(x)`. With `s = (1 + tanh u) / 2`, the approximation's is
/// `s + 2 x s (1 − s) u′`.
pub fn gelu_backward(dy: &Tensor, x: Tensor, form: Gelu) -> Result<Tensor> {
    if !cpu::fused([dy, &x]) {
        let slope = match form {
            Gelu::Exact => {
                let cumulative = ((((&x * HALF_ROOT)?.erf()? + 1.0)?) * 0.5)?;
                let density = ((x.sqr()? * -0.5)?.exp()? * DENSITY)?;
                (cumulative + (x * density)?)?
            }
            Gelu::Tanh => {
                let square = x.sqr()?;
                let u = ((&x * ((&square * CUBIC)? + 1.0)?)? * SLOPE)?;
                let s = ((u.tanh()? + 1.0)? * 0.5)?;
                let d_u = (((square * (3.0 * CUBIC))? + 1.0)? * (2.0 * SLOPE))?;
                let rest = (((x * &s)? * (1.0 - &s)?)? * d_u)?;
                (s + rest)?
            }
        };
        return dy * slope;
    }
    cpu::read([dy], |[dy]| {
        cpu::write(&x, |x| {
            x.par_chunks_mut(TASK)
                .zip(dy.par_chunks(TASK))
                .for_each(|(x, dy)| match form {
                    Gelu::Exact => exact_backward(dy, x),
                    Gelu::Tanh => tanh_backward(dy, x),
                });
        })
    })??;
    Ok(x)
}

/// `Φ(x)`, to 1.5e-7: Abramowitz & Stegun 1964, 7.1.26, which is `erfc` for positive arguments.
#[inline(always)]
fn cumulative(x: f32) -> f32 {
    let z = x.abs() * HALF_ROOT as f32;
    let t = 1.0 / z.mul_add(0.327_591_1, 1.0);
    let p = t.mul_add(1.061_405_4, -1.453_152);
    let p = t.mul_add(p, 1.421_413_7);
    let p = t.mul_add(p, -0.284_496_74);
    let p = t.mul_add(p, 0.254_829_6);
    let half_erfc = 0.5 * p * t * exp(-z * z);
    if x < 0.0 { half_erfc } else { 1.0 - half_erfc }
}

/// `(1 + tanh u) / 2 = σ(2u)` of the approximation.
#[inline(always)]
fn tanh_cumulative(x: f32) -> f32 {
    let u = SLOPE as f32 * x * (CUBIC as f32 * x).mul_add(x, 1.0);
    1.0 / (1.0 + exp(-2.0 * u))
}

simd! {
    fn exact_forward(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * cumulative(*x);
        }
    }
}

simd! {
    fn exact_backward(dy: &[f32], x: &mut [f32]) {
        for (dy, x) in dy.iter().zip(x) {
            let density = DENSITY as f32 * exp(-0.5 * *x * *x);
            *x = dy * x.mul_add(density, cumulative(*x));
        }
    }
}

simd! {
    fn tanh_forward(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * tanh_cumulative(*x);
        }
    }
}

simd! {
    fn tanh_backward(dy: &[f32], x: &mut [f32]) {
        for (dy, x) in dy.iter().zip(x) {
            let s = tanh_cumulative(*x);
            let d_u = 2.0 * SLOPE as f32 * (3.0 * CUBIC as f32 * *x).mul_add(*x, 1.0);
            *x = dy * (*x * s * (1.0 - s)).mul_add(d_u, s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, check_gradient, random, random64, weighted_sum};
    use super::*;
    use candle_core::DType;

    const FORMS: [Gelu; 2] = [Gelu::Exact, Gelu::Tanh];

    // Would catch a wrong slope.
    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        let (x, dy) = ((random64((3, 5), 1) * 2.0)?, random64((3, 5), 2));
        for form in FORMS {
            let dx = gelu_backward(&dy, x.clone(), form)?;
            check_gradient(&x, &dx, |x| weighted_sum(&gelu(x, form)?, &dy));
        }
        Ok(())
    }

    // Would catch a wrong coefficient, a wrong sign on one side of zero, or a dropped tail: the
    // arguments reach from −20 to 20. The tensors are f64; 2e-6 is the polynomial's 1.5e-7 and
    // the exponential's rounding, times arguments and gradients of up to 4 where it matters.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        let shape = (41, 1001);
        let (x, dy) = ((random(shape, 1) * 5.0)?, random(shape, 3));
        for form in FORMS {
            let run = |dtype: DType| -> Result<[Tensor; 2]> {
                let (x, dy) = (x.to_dtype(dtype)?, dy.to_dtype(dtype)?);
                Ok([gelu(&x, form)?, gelu_backward(&dy, x.copy()?, form)?])
            };
            for (a, b) in run(DType::F32)?.iter().zip(&run(DType::F64)?) {
                assert_close(a, b, 2e-6);
            }
        }
        Ok(())
    }
}
