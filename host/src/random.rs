//! Random numbers of the run: ChaCha8 streams that follow from the seed and a name.
//!
//! candle's generators cannot be seeded on the CPU, and one shared generator would make every
//! number depend on all that was drawn before it. Here each purpose has a stream of its own.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for. The numbers are part of the meaning of a seed: never reuse one.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Initial weights.
    Initialisation = 1,
    /// Order of the training examples.
    Shuffle = 2,
    /// Sampled tokens.
    Sampling = 3,
    /// Which examples are held out.
    Split = 4,
    /// Which prompts are sampled, and the seeds of their responses.
    Preferences = 5,
    /// Resamples behind an interval.
    Bootstrap = 6,
    /// Initial weights of adapters.
    AdapterInitialisation = 10,
    /// Which inputs of an adapter are dropped.
    Dropout = 11,
    /// Seeds of the responses that a policy learns from.
    Rollouts = 20,
    /// Which of them share an update.
    Minibatches = 21,
    /// Initial weights of a value model's head.
    ValueHead = 22,
    /// Which prompts take the place of those that teach nothing.
    Resampling = 23,
    /// Which human logits training hides.
    HumanLogits = 30,
    /// Which prompts are held out together.
    Folds = 31,
}

/// A stream of random numbers; a clone gives the same ones again.
#[derive(Clone)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of a purpose; `a` and `b` tell streams of one purpose apart (an epoch, a
    /// prompt and its sample).
    pub fn new(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        let mut key = [0u8; 32];
        for (slot, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`, 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n`, without bias.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        // The largest multiple of n: draws above it would favour small results.
        let limit = u64::MAX - u64::MAX % n;
        loop {
            let x = self.0.next_u64();
            if x < limit {
                return (x % n) as usize;
            }
        }
    }

    /// A seed for code that makes its own streams.
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Two independent standard normal numbers (Box and Muller 1958).
    pub fn normal_pair(&mut self) -> (f64, f64) {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        (radius * cos, radius * sin)
    }

    /// `n` normal numbers with mean 0.
    pub fn normal(&mut self, n: usize, standard_deviation: f64) -> Vec<f32> {
        let mut values = Vec::with_capacity(n + 1);
        while values.len() < n {
            let (a, b) = self.normal_pair();
            values.push((a * standard_deviation) as f32);
            values.push((b * standard_deviation) as f32);
        }
        values.truncate(n);
        values
    }

    /// Puts items into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// A random order of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch streams that share numbers, and a stream that is not the same twice.
    #[test]
    fn streams_are_apart_and_repeatable() {
        let draw = |a, b| Stream::new(7, Purpose::Sampling, a, b).uniform();
        assert_eq!(draw(0, 1), draw(0, 1));
        assert_ne!(draw(0, 1), draw(1, 0));
        assert_ne!(draw(0, 1), Stream::new(7, Purpose::Shuffle, 0, 1).uniform());
    }

    // Would catch a wrong scale: four standard errors around mean 0 and deviation 0.02.
    #[test]
    fn normal_numbers_have_their_moments() {
        let x = Stream::new(1, Purpose::Initialisation, 0, 0).normal(40_001, 0.02);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32;
        assert_eq!(x.len(), 40_001);
        assert!(mean.abs() < 4.0 * 0.02 / 200.0, "{mean}");
        assert!(
            (variance.sqrt() - 0.02).abs() < 4.0 * 0.02 / 283.0,
            "{variance}"
        );
    }

    // Would catch an element lost or an order that never changes.
    #[test]
    fn permutations_hold_everything() {
        let order = Stream::new(1, Purpose::Shuffle, 0, 0).permutation(50);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_ne!(order, sorted);
    }
}
