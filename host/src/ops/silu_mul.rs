//! The gate of a Llama block: `y = silu(g) · u` with `silu(g) = g σ(g)`.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu;
#[cfg(feature = "cuda")]
use super::cuda;
use super::simd::exp;

/// Elements a task takes: large against the cost of a task, small against a cache.
const TASK: usize = 16 * 1024;

/// `silu(gate) · up`; all three have one shape.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::fused([gate, up]) && gate.dims() == up.dims() {
        return cuda::silu_mul(gate, up);
    }
    if !cpu::fused([gate, up]) {
        return gate.silu()? * up;
    }
    let y = cpu::read([gate, up], |[gate, up]| {
        let mut y = cpu::buffer(gate.len());
        y.par_chunks_mut(TASK)
            .zip(gate.par_chunks(TASK))
            .zip(up.par_chunks(TASK))
            .for_each(|((y, gate), up)| forward(y, gate, up));
        y
    })?;
    cpu::tensor(y, gate.shape().clone())
}

/// Gradients of `gate` and `up`, written over them where the device allows it.
pub fn silu_mul_backward(dy: &Tensor, gate: Tensor, up: Tensor) -> Result<(Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if cuda::fused([dy, &gate, &up]) && dy.dims() == gate.dims() && dy.dims() == up.dims() {
        cuda::silu_mul_backward(dy, &gate, &up)?;
        return Ok((gate, up));
    }
    if !cpu::fused([dy, &gate, &up]) {
        let sigmoid = ((gate.neg()?.exp()? + 1.0)?).recip()?;
        let silu = (&gate * &sigmoid)?;
        // d silu / dg = σ(g) (1 + g (1 − σ(g))) = σ + silu − silu σ
        let slope = ((&sigmoid + &silu)? - (&silu * &sigmoid)?)?;
        return Ok(((dy * up)?.mul(&slope)?, (dy * silu)?));
    }
    cpu::read([dy], |[dy]| {
        cpu::write_all([&gate, &up], |[gate, up]| {
            gate.par_chunks_mut(TASK)
                .zip(up.par_chunks_mut(TASK))
                .zip(dy.par_chunks(TASK))
                .for_each(|((gate, up), dy)| backward(dy, gate, up));
        })
    })??;
    Ok((gate, up))
}

simd! {
    fn forward(y: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
            *y = g / (1.0 + exp(-g)) * u;
        }
    }
}

simd! {
    fn backward(dy: &[f32], gate: &mut [f32], up: &mut [f32]) {
        for ((dy, g), u) in dy.iter().zip(gate).zip(up) {
            let sigmoid = 1.0 / (1.0 + exp(-*g));
            let silu = *g * sigmoid;
            let d_gate = dy * *u * (sigmoid + silu - silu * sigmoid);
            *u = dy * silu;
            *g = d_gate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, check_gradient, random, random64, weighted_sum};
    use super::*;
    use crate::ops::without_fused_kernels;

    // Would catch a wrong slope.
    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        let (g, u, dy) = (
            random64((3, 4), 1),
            random64((3, 4), 2),
            random64((3, 4), 3),
        );
        let (dg, du) = silu_mul_backward(&dy, g.clone(), u.clone())?;
        check_gradient(&g, &dg, |g| weighted_sum(&silu_mul(g, &u)?, &dy));
        check_gradient(&u, &du, |u| weighted_sum(&silu_mul(&g, u)?, &dy));
        Ok(())
    }

    // Would catch an inexact exponential or a dropped tail.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        let shape = (41, 1001);
        let (g, u, dy) = (
            (random(shape, 1) * 5.0)?,
            random(shape, 2),
            random(shape, 3),
        );
        let run = || -> Result<[Tensor; 3]> {
            let (dg, du) = silu_mul_backward(&dy, g.copy()?, u.copy()?)?;
            Ok([silu_mul(&g, &u)?, dg, du])
        };
        for (a, b) in run()?.iter().zip(&without_fused_kernels(run)?) {
            assert_close(a, b, 2e-6);
        }
        Ok(())
    }
}
