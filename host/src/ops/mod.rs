//! The arithmetic below the models: one operation a file, its forward and its backward.
//!
//! Every operation is written over candle tensors, so that it runs on any device and in any
//! floating type, and has a fused multi-threaded kernel for contiguous f32 tensors on the CPU; the
//! hottest have one for CUDA as well. There is no tape: a backward is an ordinary function of what
//! its forward returned. [`without_fused_kernels`] switches the kernels off, so that tests can
//! compare the two.
//!
//! Tokens of a batch lie one after another without padding: activations are `[T, H]` for `T`
//! tokens in all, and [`attention::Group`] says which tokens belong together.

#![allow(
    unsafe_code,
    reason = "kernels use vector instructions and share results among threads"
)]

#[macro_use]
pub(crate) mod simd;
mod cpu;

pub mod adamw;
pub mod attention;
pub mod bias;
pub mod cross_entropy;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod dropout;
pub mod embedding;
pub mod gelu;
mod gemm;
pub mod layer_norm;
pub mod matmul;
pub mod rms_norm;
pub mod rope;
pub mod rounded;
pub mod silu_mul;

pub use cpu::without_fused_kernels;
pub(crate) use cpu::{addresses, filled, on_pool, put_together, touch};

/// The first CUDA device.
///
/// # Errors
/// This build has no CUDA, or the machine has no such device.
pub fn cuda_device() -> candle_core::Result<candle_core::Device> {
    #[cfg(feature = "cuda")]
    return cuda::device(0);
    #[cfg(not(feature = "cuda"))]
    return candle_core::Device::new_cuda(0);
}

#[cfg(test)]
pub(crate) mod testing;
