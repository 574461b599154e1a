//! Rotary position embedding (Su et al. 2021) in the half-split form of transformers:
//! element `i` of a head turns with element `i + D/2`.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, rows_per_task};
#[cfg(feature = "cuda")]
use super::cuda;

/// Cosines and sines of the tokens' positions, `[T, D/2]` each.
#[derive(Clone, Debug)]
pub struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Angles {
    /// `angle = position · θ^(−2i/D)`, computed in f32 as transformers does.
    pub fn new(
        positions: &[u32],
        head_width: usize,
        theta: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let half = head_width / 2;
        let frequencies: Vec<f32> = (0..half)
            .map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / head_width as f32))
            .collect();
        let (mut cos, mut sin) = (
            Vec::with_capacity(positions.len() * half),
            Vec::with_capacity(positions.len() * half),
        );
        for position in positions {
            for frequency in &frequencies {
                let angle = *position as f32 * frequency;
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        let shape = (positions.len(), half);
        Ok(Self {
            cos: Tensor::from_vec(cos, shape, device)?.to_dtype(dtype)?,
            sin: Tensor::from_vec(sin, shape, device)?.to_dtype(dtype)?,
        })
    }
}

#[cfg(all(test, feature = "cuda"))]
impl Angles {
    /// The same in another type.
    pub(crate) fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            cos: self.cos.to_dtype(dtype)?,
            sin: self.sin.to_dtype(dtype)?,
        })
    }
}

/// Turns the heads of `x` `[T, N·D]`, over `x` where the device allows it.
pub fn rope(x: Tensor, angles: &Angles) -> Result<Tensor> {
    turn(x, angles, 1.0)
}

/// Gradient of [`rope`]: the turn backwards.
pub fn rope_backward(dy: Tensor, angles: &Angles) -> Result<Tensor> {
    turn(dy, angles, -1.0)
}

fn turn(x: Tensor, angles: &Angles, direction: f64) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let (angle_rows, half) = angles.cos.dims2()?;
    if rows != angle_rows || !width.is_multiple_of(2 * half) {
        candle_core::bail!("rope: {:?} with angles {:?}", x.dims(), angles.cos.dims());
    }
    #[cfg(feature = "cuda")]
    if cuda::fused([&x, &angles.cos, &angles.sin]) {
        cuda::rope(&x, &angles.cos, &angles.sin, direction as f32)?;
        return Ok(x);
    }
    if !cpu::fused([&x, &angles.cos, &angles.sin]) {
        let x = x.reshape((rows, width / (2 * half), 2 * half))?;
        let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let (cos, sin) = (
            angles.cos.unsqueeze(1)?,
            (angles.sin.unsqueeze(1)? * direction)?,
        );
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        return Tensor::cat(&[first, second], 2)?.reshape((rows, width));
    }
    cpu::read([&angles.cos, &angles.sin], |[cos, sin]| {
        cpu::write(&x, |x| {
            let step = rows_per_task(width);
            x.par_chunks_mut(step * width)
                .zip(cos.par_chunks(step * half))
                .zip(sin.par_chunks(step * half))
                .for_each(|((x, cos), sin)| turn_rows(x, cos, sin, width, half, direction as f32));
        })
    })??;
    Ok(x)
}

simd! {
    fn turn_rows(x: &mut [f32], cos: &[f32], sin: &[f32], width: usize, half: usize, direction: f32) {
        let rows = x.chunks_exact_mut(width).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half));
        for ((x, cos), sin) in rows {
            for head in x.chunks_exact_mut(2 * half) {
                let (a, b) = head.split_at_mut(half);
                for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                    let (old_a, old_b, sin) = (*a, *b, direction * sin);
                    *a = old_a * cos - old_b * sin;
                    *b = old_b * cos + old_a * sin;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        assert_close, check_gradient, device, random, random64, weighted_sum,
    };
    use super::*;
    use crate::ops::without_fused_kernels;

    // Would catch a backward that turns the wrong way.
    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        let angles = Angles::new(&[0, 1, 7], 4, 100.0, DType::F64, &device())?;
        let (x, dy) = (random64((3, 8), 1), random64((3, 8), 2));
        let dx = rope_backward(dy.clone(), &angles)?;
        check_gradient(&x, &dx, |x| weighted_sum(&rope(x.clone(), &angles)?, &dy));
        Ok(())
    }

    // Would catch a kernel that pairs the wrong elements.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        let positions: Vec<u32> = (0..130).collect();
        let angles = Angles::new(&positions, 64, 10_000.0, DType::F32, &device())?;
        let x = random((130, 192), 1);
        for direction in [1.0, -1.0] {
            let run = || turn(x.copy()?, &angles, direction);
            assert_close(&run()?, &without_fused_kernels(run)?, 1e-6);
        }
        Ok(())
    }
}
