//! CUDA: the device as a run uses it, and fused kernels for the hot pieces of the operations.
//!
//! The kernels are `cuda/kernels.cu`, which the build script compiles to PTX; a driver turns that
//! into code for its card. Operations take them for contiguous tensors on the device, unless
//! [`super::without_fused_kernels`] has switched them off.

#[cfg(test)]
mod tests;

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{
    DevicePtr, LaunchConfig, PushKernelArg, result, sys,
};
use candle_core::{CudaDevice, DType, Device, Error, Result, Storage, Tensor, bail};
use half::{bf16, f16};

use super::adamw::Step;
use super::cpu;

/// As in `kernels.cu`.
const THREADS: u32 = 256;

const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// The device of a run.
///
/// All of its work is one stream, whatever thread asks for it: candle's usual device has a stream
/// for each thread, and nothing between them. What has been freed is kept for what comes next: by
/// default a driver gives it back whenever it is waited for, and maps it anew.
///
/// # Errors
/// There is no driver, or no such device.
pub fn device(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    // SAFETY: there is one stream, which does everything in order.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    let mut everything = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a `u64`.
    unsafe {
        sys::cuMemPoolSetAttribute(pool(ordinal)?, threshold, (&raw mut everything).cast())
            .result()
            .map_err(Error::wrap)?;
    }
    Ok(device)
}

fn pool(ordinal: usize) -> Result<sys::CUmemoryPool> {
    let device = result::device::get(ordinal as i32).map_err(Error::wrap)?;
    let mut pool = std::ptr::null_mut();
    // SAFETY: the device is there, and `pool` is written.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, device)
            .result()
            .map_err(Error::wrap)?;
    }
    Ok(pool)
}

/// The most bytes that tensors have taken at once since [`forget_peak`].
///
/// # Errors
/// There is no driver, or no such device.
pub fn peak_bytes(ordinal: usize) -> Result<u64> {
    let mut bytes = 0u64;
    let high = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the attribute is a `u64`.
    unsafe {
        sys::cuMemPoolGetAttribute(pool(ordinal)?, high, (&raw mut bytes).cast())
            .result()
            .map_err(Error::wrap)?;
    }
    Ok(bytes)
}

/// Sets the peak back to what is taken now.
///
/// # Errors
/// As for [`peak_bytes`].
pub fn forget_peak(ordinal: usize) -> Result<()> {
    let mut zero = 0u64;
    let high = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the attribute is a `u64`.
    unsafe {
        sys::cuMemPoolSetAttribute(pool(ordinal)?, high, (&raw mut zero).cast())
            .result()
            .map_err(Error::wrap)
    }
}

/// Whether the kernels take these operands: contiguous, on the device, in a type they have.
pub(super) fn fused<const N: usize>(tensors: [&Tensor; N]) -> bool {
    cpu::kernels_are_on()
        && tensors.iter().all(|t| {
            t.device().is_cuda()
                && matches!(t.dtype(), DType::F32 | DType::BF16 | DType::F16)
                && t.dtype() == tensors[0].dtype()
                && t.is_contiguous()
        })
}

/// The same for kernels that have f32 only.
pub(super) fn fused_f32<const N: usize>(tensors: [&Tensor; N]) -> bool {
    fused(tensors) && tensors.iter().all(|t| t.dtype() == DType::F32)
}

/// An argument of a kernel.
enum Argument {
    /// An address, or a count of elements.
    Long(u64),
    Int(u32),
    Float(f32),
}

use Argument::{Float, Int, Long};

/// Where a tensor's elements begin.
fn address(t: &Tensor) -> Result<Argument> {
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        bail!("a kernel for CUDA needs tensors there")
    };
    fn of<T: CudaDType>(storage: &candle_core::CudaStorage) -> Result<u64> {
        let slice = storage.as_cuda_slice::<T>()?;
        let stream = slice.stream().clone();
        Ok(slice.device_ptr(&stream).0)
    }
    let base = match t.dtype() {
        DType::F32 => of::<f32>(storage)?,
        DType::F64 => of::<f64>(storage)?,
        DType::BF16 => of::<bf16>(storage)?,
        DType::F16 => of::<f16>(storage)?,
        DType::U32 => of::<u32>(storage)?,
        other => bail!("no kernel for CUDA takes {other:?}"),
    };
    let offset = layout.start_offset() * t.dtype().size_in_bytes();
    Ok(Long(base + offset as u64))
}

/// The name of a kernel that there is for several types.
fn typed(name: &str, dtype: DType) -> String {
    format!("{name}_{}", dtype.as_str())
}

/// Blocks for `elements` of which each thread takes one, or several where there are very many.
fn blocks(elements: usize) -> usize {
    elements.div_ceil(THREADS as usize).min(1 << 16)
}

/// # Safety
/// The arguments are those of the kernel, and its tensors as large as it takes them to be; what it
/// writes is the caller's own.
unsafe fn launch(
    device: &CudaDevice,
    kernel: &str,
    blocks: usize,
    arguments: &[Argument],
) -> Result<()> {
    if blocks == 0 {
        return Ok(());
    }
    let function = device.get_or_load_custom_func(kernel, "rlhf", KERNELS)?;
    let mut builder = function.builder();
    for argument in arguments {
        match argument {
            Long(x) => builder.arg(x),
            Int(x) => builder.arg(x),
            Float(x) => builder.arg(x),
        };
    }
    let shape = LaunchConfig {
        grid_dim: (blocks as u32, 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the caller's promise.
    unsafe { builder.launch(shape) }.map_err(Error::wrap)?;
    Ok(())
}

/// Room for a result of which every element is about to be written.
fn room(shape: impl Into<candle_core::Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: the kernels below write all of it.
    unsafe { Tensor::empty(shape, dtype, device) }
}

pub(super) fn adamw(
    value: &Tensor,
    gradient: &Tensor,
    [first, second]: [&Tensor; 2],
    step: &Step,
) -> Result<()> {
    let n = value.elem_count();
    if [gradient, first, second]
        .iter()
        .any(|t| t.elem_count() != n)
    {
        bail!("adamw: {:?} and {:?}", value.dims(), gradient.dims());
    }
    let numbers = step.numbers();
    let mut arguments = Vec::with_capacity(14);
    for t in [value, gradient, first, second] {
        arguments.push(address(t)?);
    }
    arguments.push(Long(n as u64));
    arguments.extend(numbers.in_order().map(Float));
    // SAFETY: four tensors of `n` elements, the optimizer's own.
    unsafe {
        launch(
            value.device().as_cuda_device()?,
            "adamw_f32",
            blocks(n),
            &arguments,
        )
    }
}

/// Elements whose squares a block adds.
const SHARE: usize = 64 * 1024;

/// `Σ x²` of tensors on one device, which is waited for once.
pub(super) fn square_sum(tensors: &[&Tensor]) -> Result<f64> {
    let Some(first) = tensors.first() else {
        return Ok(0.0);
    };
    let count = |t: &&Tensor| t.elem_count().div_ceil(SHARE);
    let sums = room(
        tensors.iter().map(count).sum::<usize>(),
        DType::F64,
        first.device(),
    )?;
    let mut at = 0;
    for t in tensors {
        let blocks = count(t);
        let arguments = [
            address(t)?,
            Long(t.elem_count() as u64),
            Long(SHARE as u64),
            address(&sums.narrow(0, at, blocks)?)?,
        ];
        // SAFETY: each tensor has a number of `sums` for each of its blocks.
        unsafe {
            launch(
                t.device().as_cuda_device()?,
                "square_sum_f32",
                blocks,
                &arguments,
            )?
        };
        at += blocks;
    }
    Ok(sums.to_vec1::<f64>()?.iter().sum())
}

/// Adds row `i` of `dy` to row `ids[i]` of `gradient`; the ids are below its number of rows.
pub(super) fn scatter_add(gradient: &Tensor, ids: &[u32], dy: &Tensor) -> Result<()> {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    // Stable: rows are added in the order in which they stand.
    order.sort_by_key(|i| ids[*i as usize]);
    let (mut rows, mut starts) = (Vec::new(), Vec::new());
    for (at, i) in order.iter().enumerate() {
        let id = ids[*i as usize];
        if rows.last() != Some(&id) {
            rows.push(id);
            starts.push(at as u32);
        }
    }
    starts.push(order.len() as u32);
    let (count, width) = (rows.len(), gradient.dim(1)?);
    let numbers = Tensor::new([rows, starts, order].concat(), dy.device())?;
    let part = |at, len| address(&numbers.narrow(0, at, len)?);
    let arguments = [
        address(gradient)?,
        address(dy)?,
        part(0, count)?,
        part(count, count + 1)?,
        part(2 * count + 1, ids.len())?,
        Int(width as u32),
    ];
    // SAFETY: the ids are rows of `gradient`, the order's numbers rows of `dy`.
    unsafe {
        launch(
            dy.device().as_cuda_device()?,
            "scatter_add_f32",
            count,
            &arguments,
        )
    }
}

/// The mask of `super::dropout`, in f32.
pub(super) fn dropout_mask(like: &Tensor, threshold: u64, scale: f32, key: u64) -> Result<Tensor> {
    let n = like.elem_count();
    let mask = room(like.shape(), DType::F32, like.device())?;
    let arguments = [
        address(&mask)?,
        Long(n as u64),
        Long(threshold),
        Float(scale),
        Long(key),
    ];
    // SAFETY: the mask has `n` elements.
    unsafe {
        launch(
            like.device().as_cuda_device()?,
            "dropout_f32",
            blocks(n),
            &arguments,
        )?
    };
    Ok(mask)
}

/// Turns `x` `[rows, width]` in place.
pub(super) fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor, direction: f32) -> Result<()> {
    let (rows, width) = x.dims2()?;
    let pairs = rows * width / 2;
    let arguments = [
        address(x)?,
        address(cos)?,
        address(sin)?,
        Long(pairs as u64),
        Int(width as u32),
        Int(cos.dim(1)? as u32),
        Float(direction),
    ];
    let name = typed("rope", x.dtype());
    // SAFETY: `super::rope` has compared the shapes.
    unsafe {
        launch(
            x.device().as_cuda_device()?,
            &name,
            blocks(pairs),
            &arguments,
        )
    }
}

pub(super) fn rms_norm(x: &Tensor, w: &Tensor, epsilon: f64) -> Result<(Tensor, Tensor)> {
    let (rows, width) = x.dims2()?;
    let y = room((rows, width), DType::F32, x.device())?;
    let inverse = room(rows, DType::F32, x.device())?;
    let arguments = [
        address(x)?,
        address(w)?,
        Float(epsilon as f32),
        Int(width as u32),
        address(&y)?,
        address(&inverse)?,
    ];
    // SAFETY: a block has a row of `x`, `y` and `inverse`.
    unsafe {
        launch(
            x.device().as_cuda_device()?,
            "rms_norm_f32",
            rows,
            &arguments,
        )?
    };
    Ok((y, inverse))
}

pub(super) fn rms_norm_apply(x: &Tensor, inverse: &Tensor, w: &Tensor) -> Result<Tensor> {
    let n = x.elem_count();
    let y = room(x.shape(), DType::F32, x.device())?;
    let arguments = [
        address(x)?,
        address(w)?,
        address(inverse)?,
        Int(x.dim(1)? as u32),
        Long(n as u64),
        address(&y)?,
    ];
    let device = x.device().as_cuda_device()?;
    // SAFETY: `n` elements, of rows that `inverse` has a number for.
    unsafe { launch(device, "rms_norm_apply_f32", blocks(n), &arguments)? };
    Ok(y)
}

/// Adds the input's gradient to `base` and the weight's to `dw`.
pub(super) fn rms_norm_backward(
    base: &Tensor,
    dy: &Tensor,
    x: &Tensor,
    inverse: &Tensor,
    w: &Tensor,
    dw: Option<&Tensor>,
) -> Result<()> {
    let (rows, width) = x.dims2()?;
    let device = x.device().as_cuda_device()?;
    if let Some(dw) = dw {
        let arguments = [
            address(dw)?,
            address(dy)?,
            address(x)?,
            address(inverse)?,
            Int(width as u32),
            Int(rows as u32),
        ];
        // SAFETY: a block has 32 columns of `dw`; the others are of one shape.
        unsafe {
            launch(
                device,
                "rms_norm_weight_f32",
                width.div_ceil(32),
                &arguments,
            )?
        };
    }
    let arguments = [
        address(base)?,
        address(dy)?,
        address(x)?,
        address(inverse)?,
        address(w)?,
        Int(width as u32),
    ];
    // SAFETY: a block has a row.
    unsafe { launch(device, "rms_norm_backward_f32", rows, &arguments) }
}

pub(super) fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let n = gate.elem_count();
    let y = room(gate.shape(), gate.dtype(), gate.device())?;
    let arguments = [address(gate)?, address(up)?, Long(n as u64), address(&y)?];
    let name = typed("silu_mul", gate.dtype());
    // SAFETY: `super::silu_mul` has compared the shapes.
    unsafe {
        launch(
            gate.device().as_cuda_device()?,
            &name,
            blocks(n),
            &arguments,
        )?
    };
    Ok(y)
}

/// Writes the gradients over `gate` and `up`.
pub(super) fn silu_mul_backward(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<()> {
    let n = dy.elem_count();
    let arguments = [address(dy)?, address(gate)?, address(up)?, Long(n as u64)];
    let name = typed("silu_mul_backward", dy.dtype());
    // SAFETY: `super::silu_mul` has compared the shapes.
    unsafe { launch(dy.device().as_cuda_device()?, &name, blocks(n), &arguments) }
}

/// Scores `[parts, heads, queries, keys]` under a mask `[parts, 1, queries, keys]`.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub parts: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub scale: f64,
}

impl Shape {
    fn rows(self) -> usize {
        self.parts * self.heads * self.queries
    }

    fn check(self, scores: &Tensor, mask: &Tensor) -> Result<()> {
        let shown = self.parts * self.queries * self.keys;
        if scores.elem_count() != self.rows() * self.keys || mask.elem_count() != shown {
            bail!("attention: {:?} under {:?}", scores.dims(), mask.dims());
        }
        Ok(())
    }
}

/// Products of queries and keys become probabilities where they lie; also the log-sum-exp
/// `[parts, heads, queries]` of each row.
pub(super) fn softmax(scores: &Tensor, mask: &Tensor, shape: Shape) -> Result<Tensor> {
    shape.check(scores, mask)?;
    let size = (shape.parts, shape.heads, shape.queries);
    let lse = room(size, DType::F32, scores.device())?;
    let arguments = [
        address(scores)?,
        address(mask)?,
        Float(shape.scale as f32),
        Int(shape.heads as u32),
        Int(shape.queries as u32),
        Int(shape.keys as u32),
        address(&lse)?,
    ];
    let name = typed("softmax", scores.dtype());
    // SAFETY: the shapes have been compared.
    unsafe {
        launch(
            scores.device().as_cuda_device()?,
            &name,
            shape.rows(),
            &arguments,
        )?
    };
    Ok(lse)
}

/// Products become probabilities and gradients `d` of probabilities those of products, where they
/// lie. `lse` and `projection` have a number for each row.
pub(super) fn softmax_backward(
    scores: &Tensor,
    d: &Tensor,
    mask: &Tensor,
    [lse, projection]: [&Tensor; 2],
    shape: Shape,
) -> Result<()> {
    shape.check(scores, mask)?;
    shape.check(d, mask)?;
    if lse.elem_count() != shape.rows() || projection.elem_count() != shape.rows() {
        bail!("attention: {:?} numbers of rows", lse.dims());
    }
    let n = scores.elem_count();
    let arguments = [
        address(scores)?,
        address(d)?,
        address(mask)?,
        address(lse)?,
        address(projection)?,
        Float(shape.scale as f32),
        Int(shape.heads as u32),
        Int(shape.queries as u32),
        Int(shape.keys as u32),
        Long(n as u64),
    ];
    let name = typed("softmax_backward", scores.dtype());
    // SAFETY: the shapes have been compared.
    unsafe {
        launch(
            scores.device().as_cuda_device()?,
            &name,
            blocks(n),
            &arguments,
        )
    }
}
