//! Dynamic loss scaling (Micikevicius et al. 2018, section 3.2) for activations in f16, with
//! the numbers of torch's `GradScaler`.
//!
//! Gradients are computed of `scale · loss`, so that small ones are not rounded to zero. Where
//! one overflows, the step is left out and the scale halved; after many steps without, it is
//! doubled.

use candle_core::DType;

/// torch's `init_scale`.
const INITIAL: f64 = 65536.0;
/// Steps without an overflow before the scale is doubled; torch's `growth_interval`.
const GROWTH_INTERVAL: u64 = 2000;
/// Below it no scale helps: the loss itself is not finite, or a gradient of a healthy size
/// overflows. Chosen: 2⁻¹⁴, the smallest normal f16.
const SMALLEST: f64 = 1.0 / 16384.0;

/// The scale and what has happened to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// What the loss is multiplied by.
    pub scale: f64,
    /// Steps since it was changed last.
    pub steps: u64,
    /// Steps that were left out.
    pub skipped: u64,
}

impl LossScale {
    /// None where activations are in a type that does not overflow.
    pub fn of(compute: DType) -> Option<Self> {
        (compute == DType::F16).then_some(Self {
            scale: INITIAL,
            steps: 0,
            skipped: 0,
        })
    }

    /// Counts a step that was done.
    pub fn done(&mut self) {
        self.steps += 1;
        if self.steps == GROWTH_INTERVAL {
            self.scale *= 2.0;
            self.steps = 0;
        }
    }

    /// Counts a step that overflowed, and halves the scale; false where that cannot help any
    /// more.
    pub fn overflowed(&mut self) -> bool {
        self.scale /= 2.0;
        self.steps = 0;
        self.skipped += 1;
        self.scale >= SMALLEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a scale that moves otherwise than torch's.
    #[test]
    fn the_scale_moves_as_torchs() {
        assert_eq!(LossScale::of(DType::F32), None);
        let mut scale = LossScale::of(DType::F16).expect("f16 overflows");
        assert!(scale.overflowed());
        assert_eq!((scale.scale, scale.skipped), (32768.0, 1));
        (0..1999).for_each(|_| scale.done());
        assert_eq!(scale.scale, 32768.0);
        scale.done();
        assert_eq!((scale.scale, scale.steps, scale.skipped), (65536.0, 0, 1));
        (0..1999).for_each(|_| scale.done());
        assert!(scale.overflowed());
        scale.done();
        assert_eq!((scale.scale, scale.steps), (32768.0, 1));
        while scale.overflowed() {}
        assert!(scale.scale < SMALLEST);
    }
}
