//! Vector code without a vector language: plain loops, compiled for several instruction sets.
//!
//! The crate is built for the oldest x86-64, whose vectors have four lanes. [`simd!`] compiles a
//! function body also for AVX2 and AVX-512 and picks at run time what the processor has. Bodies
//! keep sums in arrays of [`LANES`], since the compiler may not reorder a sum by itself; the
//! order of additions is then the same on every processor.

/// Partial sums kept by reductions: two AVX-512 registers, enough to hide the latency of an add.
pub(crate) const LANES: usize = 32;

/// Compiles a function for the processor's best instruction set and calls that version.
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take their operands flat")]
        #[allow(unsafe_code, reason = "the instruction set is checked before the call")]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn wide($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn medium($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                match $crate::ops::simd::level() {
                    // SAFETY: `level` has found the instructions on this processor.
                    $crate::ops::simd::Level::Avx512 => return unsafe { wide($($arg),*) },
                    // SAFETY: as above.
                    $crate::ops::simd::Level::Avx2 => return unsafe { medium($($arg),*) },
                    $crate::ops::simd::Level::Baseline => {}
                }
            }
            body($($arg),*)
        }
    };
}

/// What the processor offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    Avx512,
    Avx2,
    Baseline,
}

/// The processor's instruction set; the standard library caches the answer.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn level() -> Level {
    use std::arch::is_x86_feature_detected as has;
    if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("fma") {
        Level::Avx512
    } else if has!("avx2") && has!("fma") {
        Level::Avx2
    } else {
        Level::Baseline
    }
}

/// `e^x` to about two units in the last place; Cephes' `expf`, written so that it vectorises.
///
/// Arguments below −87.3 give the smallest normal number rather than zero.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // 1.5 · 2²³: adding it leaves the rounded integer in the low bits of the float.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.336_54, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, so that the reduced argument keeps its low bits.
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let y = p.mul_add(r * r, r + 1.0);
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    y * scale
}

/// Sum of `a · b`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (x, y) in a_lanes.iter().zip(b_lanes) {
        for i in 0..LANES {
            sums[i] = x[i].mul_add(y[i], sums[i]);
        }
    }
    let mut rest = 0.0;
    for (x, y) in a_rest.iter().zip(b_rest) {
        rest = x.mul_add(*y, rest);
    }
    fold(sums) + rest
}

/// Sum of the lanes, in a fixed tree order.
#[inline(always)]
pub(crate) fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The largest element; −∞ of an empty slice.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let (lanes, rest) = x.as_chunks::<LANES>();
    let mut best = [f32::NEG_INFINITY; LANES];
    for chunk in lanes {
        for i in 0..LANES {
            best[i] = if chunk[i] > best[i] {
                chunk[i]
            } else {
                best[i]
            };
        }
    }
    best.iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// The sum of all elements.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let (lanes, rest) = x.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in lanes {
        for i in 0..LANES {
            sums[i] += chunk[i];
        }
    }
    fold(sums) + rest.iter().sum::<f32>()
}

/// `Σ e^(x − shift)`.
#[inline(always)]
pub(crate) fn sum_exp(x: &[f32], shift: f32) -> f32 {
    let (lanes, rest) = x.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in lanes {
        for i in 0..LANES {
            sums[i] += exp(chunk[i] - shift);
        }
    }
    let mut tail = 0.0;
    for x in rest {
        tail += exp(x - shift);
    }
    fold(sums) + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    simd! {
        fn exp_all(x: &mut [f32]) {
            for x in x { *x = exp(*x); }
        }
    }

    // Would catch a wrong coefficient or a wrong exponent at the ends of the range.
    #[test]
    fn exp_is_accurate() {
        let arguments: Vec<f32> = (-8700..=8700).map(|i| i as f32 / 100.0).collect();
        let mut values = arguments.clone();
        exp_all(&mut values);
        for (x, y) in arguments.iter().zip(values) {
            let exact = f64::from(*x).exp();
            assert!(
                (f64::from(y) / exact - 1.0).abs() < 3e-7,
                "e^{x}: {y} for {exact}"
            );
        }
    }

    simd! {
        fn dot_best(a: &[f32], b: &[f32]) -> f32 { dot(a, b) }
    }

    // Would catch lanes dropped at the end of a slice.
    #[test]
    fn sums_take_every_element() {
        for n in [0, 1, 31, 32, 33, 100] {
            let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let ones = vec![1.0; n];
            assert_eq!(dot_best(&a, &ones), (0..n).sum::<usize>() as f32);
            let expected = if n == 0 {
                f32::NEG_INFINITY
            } else {
                n as f32 - 1.0
            };
            assert_eq!(max(&a), expected);
        }
    }
}
