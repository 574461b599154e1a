//! Log-probabilities of target tokens, and their gradient, for one chunk of rows.
//!
//! The vocabulary head is the widest layer: for 8 × 256 tokens and 49152 words its logits take
//! 403 MB. They are therefore made for a chunk of rows at a time, and turn into their own
//! gradient in place; `models::head` walks over the chunks.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::cpu;
use super::simd::{exp, max, sum_exp};

/// Log-probabilities of `targets` under the rows of `logits` `[R, V]`, and each row's
/// log-sum-exp, both `R` long.
pub fn target_logprobs(logits: &Tensor, targets: &[u32]) -> Result<(Vec<f32>, Vec<f32>)> {
    let (rows, width) = logits.dims2()?;
    check(targets, rows, width)?;
    if !cpu::fused([logits]) {
        let lse = logits.log_sum_exp(D::Minus1)?;
        let index = Tensor::new(targets, logits.device())?.unsqueeze(1)?;
        let picked = logits.gather(&index, 1)?.squeeze(1)?;
        let logprobs = (picked - &lse)?
            .to_dtype(candle_core::DType::F32)?
            .to_vec1()?;
        return Ok((logprobs, lse.to_dtype(candle_core::DType::F32)?.to_vec1()?));
    }
    cpu::read([logits], |[logits]| {
        let pairs: Vec<(f32, f32)> = logits
            .par_chunks(width)
            .zip(targets)
            .map(|(row, target)| {
                let lse = log_sum_exp(row);
                (row[*target as usize] - lse, lse)
            })
            .collect();
        pairs.into_iter().unzip()
    })
}

/// Turns `logits` into the gradient of a loss with `∂loss/∂logprob_r = d_logprobs[r]`:
/// row `r` becomes `d_logprobs[r] · (onehot(target) − softmax(logits))`.
///
/// `lse` is what [`target_logprobs`] returned; written over `logits` where the device allows it.
pub fn target_logprobs_backward(
    logits: Tensor,
    lse: &[f32],
    targets: &[u32],
    d_logprobs: &[f32],
) -> Result<Tensor> {
    let (rows, width) = logits.dims2()?;
    check(targets, rows, width)?;
    if lse.len() != rows || d_logprobs.len() != rows {
        candle_core::bail!(
            "{} gradients and {} sums for {rows} rows",
            d_logprobs.len(),
            lse.len()
        );
    }
    if !cpu::fused([&logits]) {
        let dtype = logits.dtype();
        let column = |x: &[f32]| {
            Tensor::new(x, logits.device())?
                .to_dtype(dtype)?
                .unsqueeze(1)
        };
        // The f32 sums are too coarse for f64 tests, so the softmax starts from the logits here.
        let lse = logits.log_sum_exp(D::Minus1)?.unsqueeze(1)?;
        let scale = column(d_logprobs)?;
        let softmax = logits.broadcast_sub(&lse)?.exp()?;
        let gradient = softmax.broadcast_mul(&scale.neg()?)?;
        let index = Tensor::new(targets, logits.device())?.unsqueeze(1)?;
        return gradient.scatter_add(&index, &scale, 1);
    }
    cpu::write(&logits, |logits| {
        logits
            .par_chunks_mut(width)
            .zip(lse)
            .zip(targets)
            .zip(d_logprobs)
            .for_each(|(((row, lse), target), scale)| {
                softmax_scaled(row, *lse, -scale);
                row[*target as usize] += scale;
            });
    })?;
    Ok(logits)
}

fn check(targets: &[u32], rows: usize, width: usize) -> Result<()> {
    if targets.len() != rows {
        candle_core::bail!("{} targets for {rows} rows", targets.len());
    }
    match targets.iter().find(|t| **t as usize >= width) {
        Some(target) => candle_core::bail!("target {target} in a vocabulary of {width}"),
        None => Ok(()),
    }
}

simd! {
    /// `ln Σ e^x`, shifted by the largest element.
    pub(crate) fn log_sum_exp(row: &[f32]) -> f32 {
        let shift = max(row);
        shift + sum_exp(row, shift).ln()
    }
}

simd! {
    fn softmax_scaled(row: &mut [f32], lse: f32, scale: f32) {
        for x in row {
            *x = scale * exp(*x - lse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, check_gradient, random, random64, values};
    use super::*;
    use crate::ops::without_fused_kernels;

    // Would catch a wrong sign or a softmax over the wrong axis.
    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        let (logits, targets, d) = (random64((3, 5), 1), [4, 0, 2], [0.5f32, -2.0, 1.0]);
        let (_, lse) = target_logprobs(&logits, &targets)?;
        let gradient = target_logprobs_backward(logits.clone(), &lse, &targets, &d)?;
        check_gradient(&logits, &gradient, |logits| {
            let lse = values(&logits.log_sum_exp(1)?);
            let x = logits.to_vec2::<f64>()?;
            Ok((0..3)
                .map(|r| f64::from(d[r]) * (x[r][targets[r] as usize] - lse[r]))
                .sum())
        });
        Ok(())
    }

    // Would catch a kernel that overflows for large logits or drops the tail of a row.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        let (logits, targets) = ((random((6, 1003), 1) * 30.0)?, [0, 1002, 5, 31, 32, 500]);
        let d = [1.0, -1.0, 0.5, 0.0, 2.0, -3.0];
        let run = || -> Result<[Tensor; 3]> {
            let (logprobs, lse) = target_logprobs(&logits, &targets)?;
            let gradient = target_logprobs_backward(logits.copy()?, &lse, &targets, &d)?;
            let vector = |x: Vec<f32>| Tensor::new(x, logits.device());
            Ok([vector(logprobs)?, vector(lse)?, gradient])
        };
        for (a, b) in run()?.iter().zip(&without_fused_kernels(run)?) {
            assert_close(a, b, 1e-5);
        }
        Ok(())
    }
}
