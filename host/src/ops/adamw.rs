//! One step of AdamW (Loshchilov & Hutter 2019, algorithm 2) over one parameter, and the norm
//! that clipping needs.

use candle_core::{D, DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu;
#[cfg(feature = "cuda")]
use super::cuda;

/// Elements a task takes, and the blocks in which [`square_sum`] adds. Part of the result's
/// bits: sums of blocks are added in order, whatever the number of threads.
const BLOCK: usize = 64 * 1024;

/// The numbers of one step, the same for every parameter.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    /// 1 at the first step.
    pub number: u64,
    /// Multiplies the gradient before use: the coefficient of clipping.
    pub gradient_scale: f64,
}

/// Moments of one parameter, of its shape.
#[derive(Debug)]
pub struct Moments {
    pub first: Tensor,
    pub second: Tensor,
}

impl Moments {
    /// Zeros, in memory that is touched now: the first step is then as fast as the others.
    pub fn new(parameter: &Tensor) -> Result<Self> {
        let zeros = || -> Result<Tensor> {
            let t = parameter.zeros_like()?;
            if cpu::fused([&t]) {
                cpu::write(&t, |data| {
                    data.par_chunks_mut(BLOCK).for_each(|part| part.fill(0.0));
                })?;
            }
            Ok(t)
        };
        Ok(Self {
            first: zeros()?,
            second: zeros()?,
        })
    }
}

/// Updates `value` and its moments by `gradient`, and zeroes the gradient for the next sum.
///
/// torch's order: decay `value *= 1 − lr λ`; `m = β₁m + (1−β₁)g`; `v = β₂v + (1−β₂)g²`;
/// `value −= lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)`.
pub fn adamw(
    value: &mut Tensor,
    gradient: &mut Tensor,
    moments: &mut Moments,
    step: &Step,
) -> Result<()> {
    #[cfg(feature = "cuda")]
    if cuda::fused_f32([value, gradient, &moments.first, &moments.second]) {
        return cuda::adamw(value, gradient, [&moments.first, &moments.second], step);
    }
    if !cpu::fused([value, gradient, &moments.first, &moments.second]) {
        let (size, correction2) = step.corrected();
        let g = (&*gradient * step.gradient_scale)?;
        moments.first = ((&moments.first * step.beta1)? + (&g * (1.0 - step.beta1))?)?;
        moments.second = ((&moments.second * step.beta2)? + (g.sqr()? * (1.0 - step.beta2))?)?;
        let denominator = ((moments.second.sqrt()? / correction2.sqrt())? + step.epsilon)?;
        *value = ((&*value * step.decay())? - ((&moments.first / denominator)? * size)?)?;
        *gradient = gradient.zeros_like()?;
        return Ok(());
    }
    let numbers = step.numbers();
    cpu::write_all(
        [value, gradient, &moments.first, &moments.second],
        |[value, gradient, first, second]| {
            value
                .par_chunks_mut(BLOCK)
                .zip(gradient.par_chunks_mut(BLOCK))
                .zip(first.par_chunks_mut(BLOCK))
                .zip(second.par_chunks_mut(BLOCK))
                .for_each(|(((value, gradient), first), second)| {
                    update(value, gradient, first, second, numbers)
                });
        },
    )
}

impl Step {
    /// The step's size with the first moment's correction, and the second moment's correction.
    fn corrected(&self) -> (f64, f64) {
        let t = self.number as i32;
        let size = self.learning_rate / (1.0 - self.beta1.powi(t));
        (size, 1.0 - self.beta2.powi(t))
    }

    /// What is left of a weight before its step.
    fn decay(&self) -> f64 {
        1.0 - self.learning_rate * self.weight_decay
    }

    /// What kernels compute with.
    pub(super) fn numbers(&self) -> Numbers {
        let (size, correction2) = self.corrected();
        Numbers {
            scale: self.gradient_scale as f32,
            decay: self.decay() as f32,
            beta1: self.beta1 as f32,
            rest1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            rest2: (1.0 - self.beta2) as f32,
            root: (1.0 / correction2.sqrt()) as f32,
            epsilon: self.epsilon as f32,
            size: size as f32,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Numbers {
    scale: f32,
    decay: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    root: f32,
    epsilon: f32,
    size: f32,
}

#[cfg(feature = "cuda")]
impl Numbers {
    /// As the kernel for CUDA takes them.
    pub(super) fn in_order(self) -> [f32; 9] {
        [
            self.scale,
            self.decay,
            self.beta1,
            self.rest1,
            self.beta2,
            self.rest2,
            self.root,
            self.epsilon,
            self.size,
        ]
    }
}

simd! {
    fn update(value: &mut [f32], gradient: &mut [f32], first: &mut [f32], second: &mut [f32], n: Numbers) {
        for (((p, g), m), v) in value.iter_mut().zip(gradient).zip(first).zip(second) {
            let scaled = *g * n.scale;
            *m = n.beta1 * *m + n.rest1 * scaled;
            *v = n.beta2 * *v + n.rest2 * scaled * scaled;
            *p = *p * n.decay - n.size * *m / (v.sqrt() * n.root + n.epsilon);
            *g = 0.0;
        }
    }
}

/// `Σ x²` over all tensors, added in f64. A device is waited for once, not for every tensor.
pub fn square_sum(tensors: &[&Tensor]) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if tensors.iter().all(|x| cuda::fused_f32([x])) {
        return cuda::square_sum(tensors);
    }
    let (mut sum, mut elsewhere) = (0.0, Vec::new());
    for x in tensors {
        if cpu::fused([x]) {
            sum += cpu::read([x], |[x]| {
                let sums: Vec<f64> = x.par_chunks(BLOCK).map(block_square_sum).collect();
                sums.iter().sum::<f64>()
            })?;
            continue;
        }
        // A matrix' rows are added in its own type: in f64 it would take three times the memory.
        let squares = match x.rank() {
            0 | 1 => x.to_dtype(DType::F64)?.sqr()?,
            _ => x.sqr()?.sum(D::Minus1)?.to_dtype(DType::F64)?,
        };
        elsewhere.push(squares.sum_all()?.reshape(1)?);
    }
    if !elsewhere.is_empty() {
        sum += Tensor::cat(&elsewhere, 0)?
            .to_vec1::<f64>()?
            .iter()
            .sum::<f64>();
    }
    Ok(sum)
}

simd! {
    fn block_square_sum(x: &[f32]) -> f64 {
        let mut sums = [0f64; 16];
        let (chunks, rest) = x.as_chunks::<16>();
        for chunk in chunks {
            for i in 0..16 {
                sums[i] += f64::from(chunk[i]) * f64::from(chunk[i]);
            }
        }
        sums.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;
    use crate::ops::without_fused_kernels;

    // Would catch a kernel that differs from the formula, or a gradient left for the next step.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        let run = || -> Result<[Tensor; 4]> {
            let mut value = random((700, 101), 1);
            let mut moments = Moments::new(&value)?;
            let mut gradient = random((700, 101), 2);
            for number in 1..=3 {
                gradient = (gradient + random((700, 101), 2 + number))?;
                let step = Step {
                    learning_rate: 0.01,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: 0.1,
                    number,
                    gradient_scale: 0.5,
                };
                adamw(&mut value, &mut gradient, &mut moments, &step)?;
            }
            Ok([value, gradient, moments.first, moments.second])
        };
        let (fused, plain) = (run()?, without_fused_kernels(run)?);
        for (a, b) in fused.iter().zip(&plain) {
            assert_close(a, b, 1e-6);
        }
        assert_eq!(square_sum(&[&fused[1]])?, 0.0);
        let both = [&fused[0], &fused[2].flatten_all()?];
        let sums = (
            square_sum(&both)?,
            without_fused_kernels(|| square_sum(&both))?,
        );
        // A matrix' rows of 101 elements are added in f32.
        assert!((sums.0 / sums.1 - 1.0).abs() < 1e-7, "{sums:?}");
        Ok(())
    }
}
