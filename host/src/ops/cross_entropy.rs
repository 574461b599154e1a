//! Log-probabilities of target tokens, and their gradient, for one chunk of rows.
//!
//! The vocabulary head is the widest layer: for 8 × 256 tokens and 49152 words its logits take
//! 403 MB. They are therefore made for a chunk of rows at a time, and turn into their own
//! gradient in place; `models::head` walks over the chunks.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::cpu;
use super::simd::{LANES, exp, fold, max, sum_exp};

/// Log-probabilities of `targets` under the rows of `logits` `[R, V]`, and each row's
/// log-sum-exp, both `R` long.
pub fn target_logprobs(logits: &Tensor, targets: &[u32]) -> Result<(Vec<f32>, Vec<f32>)> {
    let (rows, width) = logits.dims2()?;
    check(targets, rows, width)?;
    if !cpu::fused([logits]) {
        let lse = logits.log_sum_exp(D::Minus1)?;
        let index = Tensor::new(targets, logits.device())?.unsqueeze(1)?;
        let picked = logits.gather(&index, 1)?.squeeze(1)?;
        // Together, so that a device is waited for once.
        let both = Tensor::cat(&[(picked - &lse)?, lse], 0)?.to_dtype(candle_core::DType::F32)?;
        let mut logprobs = both.to_vec1()?;
        let lse = logprobs.split_off(rows);
        return Ok((logprobs, lse));
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

/// The same for a loss that also depends on each row's entropy `H = −Σ p ln p`, `p` being its
/// softmax, with the slopes `d_entropies`; returns the entropies, in nats, besides. They add
/// `−d_entropies[r] · p_j (ln p_j + H)` to the gradient of logit `j`.
pub fn target_logprobs_entropy_backward(
    logits: Tensor,
    lse: &[f32],
    targets: &[u32],
    d_logprobs: &[f32],
    d_entropies: &[f32],
) -> Result<(Tensor, Vec<f32>)> {
    let (rows, width) = logits.dims2()?;
    if d_entropies.len() != rows || lse.len() != rows {
        candle_core::bail!(
            "{} slopes of entropies and {} sums for {rows} rows",
            d_entropies.len(),
            lse.len()
        );
    }
    if !cpu::fused([&logits]) {
        let logprobs = logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(1)?)?;
        let p = logprobs.exp()?;
        let entropies = (&p * &logprobs)?.sum_keepdim(D::Minus1)?.neg()?;
        let slopes = Tensor::new(d_entropies, logits.device())?;
        let slopes = slopes.to_dtype(logits.dtype())?.neg()?.unsqueeze(1)?;
        let of_entropies = (p * logprobs.broadcast_add(&entropies)?)?.broadcast_mul(&slopes)?;
        let gradient = target_logprobs_backward(logits, lse, targets, d_logprobs)?;
        let entropies = entropies.squeeze(1)?.to_dtype(candle_core::DType::F32)?;
        return Ok(((gradient + of_entropies)?, entropies.to_vec1()?));
    }
    check(targets, rows, width)?;
    if d_logprobs.len() != rows {
        candle_core::bail!("{} gradients for {rows} rows", d_logprobs.len());
    }
    let mut entropies = Vec::with_capacity(rows);
    cpu::write(&logits, |logits| {
        entropies = logits
            .par_chunks_mut(width)
            .zip(lse)
            .zip(targets)
            .zip(d_logprobs)
            .zip(d_entropies)
            .map(|((((row, lse), target), scale), slope)| {
                let entropy = entropy(row, *lse);
                softmax_entropy_scaled(row, *lse, *scale, *slope, entropy);
                row[*target as usize] += scale;
                entropy
            })
            .collect();
    })?;
    Ok((logits, entropies))
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

simd! {
    /// `−Σ p ln p` with `ln p = x − lse`.
    fn entropy(row: &[f32], lse: f32) -> f32 {
        let (lanes, rest) = row.as_chunks::<LANES>();
        let mut sums = [0f32; LANES];
        for chunk in lanes {
            for i in 0..LANES {
                sums[i] += exp(chunk[i] - lse) * (lse - chunk[i]);
            }
        }
        let mut tail = 0.0;
        for x in rest {
            tail += exp(x - lse) * (lse - x);
        }
        fold(sums) + tail
    }
}

simd! {
    /// `x ← −p (scale + slope (ln p + entropy))`.
    fn softmax_entropy_scaled(row: &mut [f32], lse: f32, scale: f32, slope: f32, entropy: f32) {
        for x in row {
            let logprob = *x - lse;
            *x = -exp(logprob) * (scale + slope * (logprob + entropy));
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

    // Would catch a bonus of the wrong sign, and a slope that forgets what the entropy shares.
    #[test]
    fn entropies_have_their_slope() -> Result<()> {
        let (logits, targets, d) = (random64((3, 5), 1), [4, 0, 2], [0.5f32, -2.0, 1.0]);
        let slopes = [-0.7f32, 0.0, 1.5];
        let (_, lse) = target_logprobs(&logits, &targets)?;
        let (gradient, entropies) =
            target_logprobs_entropy_backward(logits.clone(), &lse, &targets, &d, &slopes)?;
        let by_hand = |logits: &Tensor| -> Result<Vec<f64>> {
            let lse = values(&logits.log_sum_exp(1)?);
            let rows = logits.to_vec2::<f64>()?.into_iter().zip(lse);
            let of_row =
                |(row, lse): (Vec<f64>, f64)| row.iter().map(|x| (x - lse).exp() * (lse - x)).sum();
            Ok(rows.map(of_row).collect())
        };
        for (found, expected) in entropies.iter().zip(by_hand(&logits)?) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{entropies:?}");
        }
        check_gradient(&logits, &gradient, |logits| {
            let lse = values(&logits.log_sum_exp(1)?);
            let x = logits.to_vec2::<f64>()?;
            let entropies = by_hand(logits)?;
            Ok((0..3)
                .map(|r| {
                    f64::from(d[r]) * (x[r][targets[r] as usize] - lse[r])
                        + f64::from(slopes[r]) * entropies[r]
                })
                .sum())
        });
        Ok(())
    }

    // The same for the kernels of entropies; where no slope is given, they change nothing.
    #[test]
    fn kernels_of_entropies_agree_with_tensors() -> Result<()> {
        let (logits, targets) = ((random((4, 1003), 1) * 10.0)?, [0, 1002, 5, 31]);
        let d = [1.0, -1.0, 0.5, 0.0];
        let run = |slopes: &[f32]| -> Result<[Tensor; 2]> {
            let (_, lse) = target_logprobs(&logits, &targets)?;
            let (gradient, entropies) =
                target_logprobs_entropy_backward(logits.copy()?, &lse, &targets, &d, slopes)?;
            Ok([gradient, Tensor::new(entropies, logits.device())?])
        };
        let slopes = [0.3, -2.0, 0.0, 1.0];
        for (a, b) in run(&slopes)?
            .iter()
            .zip(&without_fused_kernels(|| run(&slopes))?)
        {
            assert_close(a, b, 1e-5);
        }
        let (_, lse) = target_logprobs(&logits, &targets)?;
        let plain = target_logprobs_backward(logits.copy()?, &lse, &targets, &d)?;
        assert_close(&run(&[0.0; 4])?[0], &plain, 1e-7);
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
