//! From tensors to slices: what the fused kernels read and write.

use std::cell::Cell;
use std::convert::Infallible;
use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{
    CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail,
};
use rayon::prelude::*;

thread_local! {
    static FUSED: Cell<bool> = const { Cell::new(true) };
}

/// Runs `f` with the fused kernels off on this thread, as operations run on devices without any.
pub fn without_fused_kernels<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            FUSED.set(self.0);
        }
    }
    let _restore = Restore(FUSED.replace(false));
    f()
}

/// Runs `f` on one of the threads that the kernels run on.
///
/// From elsewhere every kernel hands its work over and sleeps until it is done: two switches of
/// threads, which for the few dozen microseconds of a decoded token's products are a tenth of the
/// time. `f` must not wait for other threads that compute, who may need this one.
pub(crate) fn on_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    match FUSED.get() {
        true => rayon::scope(|_| f()),
        false => f(),
    }
}

/// Whether fused kernels are on, of whatever device.
#[cfg(feature = "cuda")]
pub(crate) fn kernels_are_on() -> bool {
    FUSED.get()
}

/// Whether the fused kernels take these operands: contiguous f32 on the CPU.
pub(crate) fn fused<const N: usize>(tensors: [&Tensor; N]) -> bool {
    FUSED.get()
        && tensors.iter().all(|t| {
            matches!(t.device(), Device::Cpu) && t.dtype() == DType::F32 && t.is_contiguous()
        })
}

fn slice<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(cpu), Some((start, end))) => Ok(&cpu.as_slice::<f32>()?[start..end]),
        _ => bail!("a fused kernel needs contiguous tensors on the CPU"),
    }
}

/// Lends the elements of contiguous f32 tensors on the CPU.
pub(crate) fn read<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> R,
) -> Result<R> {
    let guards = tensors.map(|t| t.storage_and_layout());
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slot, (storage, layout)) in slices.iter_mut().zip(&guards) {
        *slot = slice(storage, layout)?;
    }
    Ok(f(slices))
}

/// The addresses of a tensor's elements; `None` where [`read`] does not lend them.
pub(crate) fn addresses(tensor: &Tensor) -> Option<Range<usize>> {
    read([tensor], |[data]| bytes_of(data)).ok()
}

/// Moves what lies in some ranges of addresses to huge pages, on a thread beside this one.
pub(crate) fn put_together(ranges: Vec<Range<usize>>) {
    #[cfg(target_os = "linux")]
    std::thread::spawn(|| crate::allocator::put_together(ranges));
    #[cfg(not(target_os = "linux"))]
    drop(ranges);
}

/// Touches memory that will be written soon, on a thread beside this one.
pub(crate) fn touch(ranges: Vec<Range<usize>>) {
    #[cfg(target_os = "linux")]
    std::thread::spawn(|| crate::allocator::touch(ranges));
    #[cfg(not(target_os = "linux"))]
    drop(ranges);
}

/// The addresses of a slice.
pub(crate) fn bytes_of<T>(data: &[T]) -> Range<usize> {
    let Range { start, end } = data.as_ptr_range();
    start.addr()..end.addr()
}

struct Write<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "fused kernel"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a fused kernel needs contiguous tensors on the CPU")
        };
        let CpuStorage::F32(data) = storage else {
            bail!("a fused kernel needs f32")
        };
        let f = self.0.take().expect("an operation is applied once");
        f(&mut data[start..end])
    }
}

/// Lends the elements of a contiguous f32 tensor on the CPU for writing.
///
/// Every clone of the tensor sees what is written: only call it on storage that the caller owns.
pub(crate) fn write(tensor: &Tensor, f: impl FnOnce(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&Write(Cell::new(Some(|data: &mut [f32]| {
        f(data);
        Ok(())
    }))))
}

/// [`write`] for several tensors, whose storages must differ.
pub(crate) fn write_all<const N: usize>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&mut [f32]; N]),
) -> Result<()> {
    let mut parts = [(std::ptr::null_mut::<f32>(), 0); N];
    for (part, tensor) in parts.iter_mut().zip(tensors) {
        write(tensor, |data| *part = (data.as_mut_ptr(), data.len()))?;
    }
    for (i, (a, a_len)) in parts.iter().enumerate() {
        for (b, b_len) in &parts[..i] {
            if *a < b.wrapping_add(*b_len) && *b < a.wrapping_add(*a_len) {
                bail!("a fused kernel needs tensors of their own to write");
            }
        }
    }
    // SAFETY: the tensors outlive the call, their storages are the caller's and apart.
    let slices = parts.map(|(data, len)| unsafe { std::slice::from_raw_parts_mut(data, len) });
    f(slices);
    Ok(())
}

/// A tensor on the CPU from its elements, without a copy.
pub(crate) fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// Memory for a result of which every element is about to be written.
pub(crate) fn buffer(len: usize) -> Vec<f32> {
    /// Elements that a thread zeroes at once, in less time than it takes to wake another: half a
    /// megabyte.
    const STEP: usize = 128 << 10;
    if len < 2 * STEP {
        return vec![0.0; len];
    }
    let Ok(zeros) = filled(len, STEP, |_, _| Ok::<_, Infallible>(()));
    zeros
}

/// So many elements, made by all threads: `fill` makes some, at most `step`, given the number of
/// the first.
///
/// # Errors
/// The first that `fill` returned, of any part.
pub(crate) fn filled<E: Send>(
    count: usize,
    step: usize,
    fill: impl Fn(usize, &mut [f32]) -> std::result::Result<(), E> + Sync,
) -> std::result::Result<Vec<f32>, E> {
    let mut values: Vec<f32> = Vec::with_capacity(count);
    values.spare_capacity_mut()[..count]
        .par_chunks_mut(step.max(1))
        .enumerate()
        .try_for_each(|(at, part)| {
            part.fill(MaybeUninit::new(0.0));
            // SAFETY: all of it was written just now.
            fill(at * step, unsafe { part.assume_init_mut() })
        })?;
    // SAFETY: so many were written above.
    unsafe { values.set_len(count) };
    Ok(values)
}

/// A pointer that threads may share because each writes elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: the kernels that share one write disjoint elements, and say at the write why.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(data: &mut [f32]) -> Self {
        Self(data.as_mut_ptr())
    }

    /// A pointer to results that somebody else lends.
    ///
    /// # Safety
    /// Tasks write disjoint elements through it, while they are lent.
    pub(crate) unsafe fn from_raw(data: *mut f32) -> Self {
        Self(data)
    }

    /// The pointer itself.
    pub(crate) fn pointer(self) -> *mut f32 {
        self.0
    }

    /// `len` elements from `offset` on.
    ///
    /// # Safety
    /// They lie inside the slice this was made from, and no other thread touches them meanwhile.
    #[allow(
        clippy::mut_from_ref,
        reason = "that is the point; see the safety section"
    )]
    pub(crate) unsafe fn slice(&self, offset: usize, len: usize) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(offset), len) }
    }
}

/// Rows per task when `rows` rows of `width` elements are shared out: tasks of about 16 Ki
/// elements, large against the cost of a task (a microsecond), small against a cache.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (16 * 1024 / width.max(1)).max(1)
}
