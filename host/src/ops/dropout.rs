//! Dropout (Srivastava et al. 2014): each element is kept with probability `1 − p` and divided
//! by it, or becomes zero.
//!
//! Which elements are kept follows from a key and their number alone, so that a backward makes
//! the same mask again without having kept it, whatever the number of threads.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu;
#[cfg(feature = "cuda")]
use super::cuda;

/// Elements a task takes: large against the cost of a task, small against a cache.
const TASK: usize = 16 * 1024;

/// Applies the mask of `key` to `x`: the forward, and applied to `dy` the backward.
///
/// `probability` in `[0, 1)` is that of an element to become zero.
pub fn dropout(x: &Tensor, probability: f64, key: u64) -> Result<Tensor> {
    let threshold = (probability * 2f64.powi(32)) as u64;
    let scale = 1.0 / (1.0 - probability);
    if !cpu::fused([x]) {
        let mask = mask(x, threshold, scale as f32, key)?;
        // The scale itself is not an f32 in general: in f64 it comes from the mask's zeros.
        if x.dtype() == DType::F64 {
            let kept = mask.gt(0f32)?.to_dtype(DType::F64)?;
            return (x * kept)? * scale;
        }
        return x * mask.to_dtype(x.dtype())?;
    }
    let y = cpu::read([x], |[x]| {
        let mut y = cpu::buffer(x.len());
        y.par_chunks_mut(TASK)
            .zip(x.par_chunks(TASK))
            .enumerate()
            .for_each(|(task, (y, x))| {
                y.copy_from_slice(x);
                apply(y, task * TASK, threshold, scale as f32, key);
            });
        y
    })?;
    cpu::tensor(y, x.shape().clone())
}

/// 0 or `scale` for each element of `like`, in f32.
fn mask(like: &Tensor, threshold: u64, scale: f32, key: u64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::fused([like]) {
        return cuda::dropout_mask(like, threshold, scale, key);
    }
    let mut mask = vec![1.0; like.elem_count()];
    apply(&mut mask, 0, threshold, scale, key);
    Tensor::from_vec(mask, like.shape(), like.device())
}

simd! {
    /// `first` is the number of the first element.
    fn apply(x: &mut [f32], first: usize, threshold: u64, scale: f32, key: u64) {
        for (i, x) in x.iter_mut().enumerate() {
            let kept = hash(key, (first + i) as u64) >> 32 >= threshold;
            *x = if kept { *x * scale } else { 0.0 };
        }
    }
}

/// The `number`-th output of SplitMix64 (Steele et al. 2014) from the state `key`.
#[inline(always)]
fn hash(key: u64, number: u64) -> u64 {
    let z = key.wrapping_add((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::testing::weighted_sum;
    use super::super::testing::{assert_close, check_gradient, random, random64, values};
    use super::*;
    use crate::ops::without_fused_kernels;

    // Would catch a constant mistyped: the reference implementation's first outputs from state 0.
    #[test]
    fn the_hash_is_splitmix() {
        assert_eq!(hash(0, 0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(hash(0, 1), 0x6E78_9E6A_A1B9_65F4);
    }

    // Would catch a backward with another mask.
    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        let (x, dy) = (random64((4, 5), 1), random64((4, 5), 2));
        let dx = dropout(&dy, 0.3, 7)?;
        check_gradient(&x, &dx, |x| weighted_sum(&dropout(x, 0.3, 7)?, &dy));
        Ok(())
    }

    // Would catch masks that differ between tasks and paths.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        let x = random((41, 1001), 1);
        let run = || dropout(&x, 0.1, 3);
        assert_close(&run()?, &without_fused_kernels(run)?, 1e-7);
        Ok(())
    }

    // Would catch a wrong share or scale, and keys that give one mask: four standard errors.
    #[test]
    fn a_share_is_dropped_and_the_mean_kept() -> Result<()> {
        let ones = random((200, 200), 1).ones_like()?;
        let masked = values(&dropout(&ones, 0.25, 5)?);
        let dropped = masked.iter().filter(|x| **x == 0.0).count() as f64 / 40_000.0;
        assert!(
            (dropped - 0.25).abs() < 4.0 * (0.25f64 * 0.75 / 40_000.0).sqrt(),
            "{dropped}"
        );
        assert!(
            masked
                .iter()
                .all(|x| *x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6)
        );
        assert_ne!(masked, values(&dropout(&ones, 0.25, 6)?));
        Ok(())
    }
}
