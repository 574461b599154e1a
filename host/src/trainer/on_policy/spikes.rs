//! Jumps of the divergence from the reference: the policy has found something that pays, or has
//! broken.

/// Batches before a jump can be told from a beginning. Chosen.
const BATCHES_MIN: u64 = 5;
/// A jump is this many times what it was. Chosen: a policy that learns moves on steadily.
const FACTOR: f64 = 3.0;
/// And this many nats a response more: of nearly nothing a multiple means nothing. Chosen.
const NATS: f64 = 5.0;
/// Weight of a batch in what it was.
const RECENT: f64 = 0.2;

/// The divergence so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spikes {
    pub batches: u64,
    /// Mean over batches, in nats a response; later ones weigh more.
    pub mean: f64,
}

impl Spikes {
    /// Takes the mean divergence of a batch in; what it was before, where it jumped.
    pub fn observe(&mut self, kl: f64) -> Option<f64> {
        let before = self.mean;
        let jumped = self.batches >= BATCHES_MIN && kl > FACTOR * before.max(0.0) + NATS;
        if kl.is_finite() {
            self.mean = match self.batches {
                0 => kl,
                _ => before + RECENT * (kl - before),
            };
            self.batches += 1;
        }
        jumped.then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a policy that learns and is suspected, and a jump that nobody hears of.
    #[test]
    fn jumps_are_told_from_growth() {
        let mut spikes = Spikes::default();
        for step in 0..40 {
            assert_eq!(spikes.observe(0.5 * f64::from(step)), None, "{step}");
        }
        let before = spikes.observe(80.0).expect("a jump");
        assert!((15.0..20.0).contains(&before), "{before}");
        let mut fresh = Spikes::default();
        assert_eq!(fresh.observe(30.0), None);
        assert_eq!(fresh.observe(f64::NAN), None);
        assert_eq!(fresh.batches, 1);
    }
}
