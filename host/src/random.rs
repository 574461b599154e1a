//! Random streams: one seed a run, one independent stream a purpose.
//!
//! Streams never share state, so that drawing more for one purpose changes
//! nothing for another.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for. The numbers are part of reproducibility: never reuse one.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Purpose {
    Split = 1,
    Preferences = 2,
    Bootstrap = 3,
    Sampling = 4,
}

/// A stream of random numbers.
pub struct Stream(ChaCha8Rng);

/// The stream of a purpose.
pub fn stream(seed: u64, purpose: Purpose) -> Stream {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose as u64);
    Stream(rng)
}

/// A seed for code that owns its streams.
pub fn derive(seed: u64, purpose: Purpose) -> u64 {
    stream(seed, purpose).0.next_u64()
}

impl Stream {
    /// A whole number below `end`, without the bias of a plain remainder
    /// (Lemire 2019, <https://arxiv.org/abs/1805.10941>). `end` is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(end);
            let low = product as u64;
            if low >= end.wrapping_neg() % end {
                return (product >> 64) as usize;
            }
        }
    }

    /// Fisher–Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
