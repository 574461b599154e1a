//! Helpers of the operations' tests: seeded tensors, comparison, finite differences.

use std::cell::RefCell;
use std::sync::LazyLock;

use candle_core::{DType, Device, Result, Shape, Tensor};

use crate::random::{Purpose, Stream};

/// Where tests compute: the CPU, or what `RLHF_TEST_DEVICE` names, `cuda`.
///
/// # Panics
/// It is not there: a test that was to run on a device must not pass on another.
pub(crate) fn device() -> Device {
    static DEVICE: LazyLock<Device> =
        LazyLock::new(|| match std::env::var("RLHF_TEST_DEVICE").as_deref() {
            Err(_) | Ok("cpu") => Device::Cpu,
            Ok("cuda") => super::cuda_device().expect("a CUDA device, and a build for it"),
            Ok(other) => panic!("RLHF_TEST_DEVICE is `{other}`: expected cpu or cuda"),
        });
    CHOSEN
        .with_borrow(|chosen| chosen.clone())
        .unwrap_or_else(|| DEVICE.clone())
}

thread_local! {
    static CHOSEN: RefCell<Option<Device>> = const { RefCell::new(None) };
}

/// Runs `f` with tensors on a device of its choice.
pub(crate) fn on<R>(device: &Device, f: impl FnOnce() -> R) -> R {
    let before = CHOSEN.replace(Some(device.clone()));
    let result = f();
    CHOSEN.set(before);
    result
}

/// A normal tensor in f32.
pub(crate) fn random(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let data = Stream::new(seed, Purpose::Initialisation, 9, 9).normal(shape.elem_count(), 1.0);
    Tensor::from_vec(data, shape, &device()).expect("shape fits")
}

/// The same numbers in f64.
pub(crate) fn random64(shape: impl Into<Shape>, seed: u64) -> Tensor {
    random(shape, seed)
        .to_dtype(DType::F64)
        .expect("f64 holds f32")
}

pub(crate) fn values(t: &Tensor) -> Vec<f64> {
    t.flatten_all()
        .and_then(|t| t.to_dtype(DType::F64))
        .and_then(|t| t.to_vec1())
        .expect("a float tensor")
}

/// Elementwise `|a − b| ≤ tolerance · max(1, |b|)`.
#[track_caller]
pub(crate) fn assert_close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.dims(), b.dims());
    for (i, (x, y)) in values(a).into_iter().zip(values(b)).enumerate() {
        assert!(
            (x - y).abs() <= tolerance * y.abs().max(1.0),
            "element {i}: {x} for {y}"
        );
    }
}

/// Compares a gradient with central differences of `loss` in f64.
///
/// Step 1e-5: the error of the difference is about 1e-10, that of rounding about 1e-11.
#[track_caller]
pub(crate) fn check_gradient(x: &Tensor, gradient: &Tensor, loss: impl Fn(&Tensor) -> Result<f64>) {
    const STEP: f64 = 1e-5;
    assert_eq!(x.dtype(), DType::F64);
    let (base, gradient) = (values(x), values(gradient));
    for i in 0..base.len() {
        let at = |delta: f64| {
            let mut data = base.clone();
            data[i] += delta;
            loss(&Tensor::from_vec(data, x.shape(), x.device()).expect("same shape")).expect("loss")
        };
        let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        assert!(
            (numeric - gradient[i]).abs() <= 1e-6 * numeric.abs().max(1.0),
            "element {i}: gradient {} for {numeric}",
            gradient[i]
        );
    }
}

/// `Σ y · weights`: a loss whose gradient is `weights`.
pub(crate) fn weighted_sum(y: &Tensor, weights: &Tensor) -> Result<f64> {
    (y * weights)?.sum_all()?.to_scalar::<f64>()
}
