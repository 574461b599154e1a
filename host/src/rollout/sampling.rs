//! From logits to a token: temperature, top-k, top-p, in the order and with the edge cases of
//! transformers' logits processors.

use crate::ops::cross_entropy::log_sum_exp;
use crate::random::Stream;

/// How a token is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Only the k most likely tokens, and those as likely as the k-th; 0 keeps all.
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities reach p; 1 keeps all.
    pub top_p: f64,
}

/// Draws tokens; keeps its scratch memory between draws.
#[derive(Debug, Default)]
pub struct Sampler {
    candidates: Vec<(f32, u32)>,
    scratch: Vec<f32>,
    weights: Vec<f32>,
}

impl Sampler {
    /// A token and its log-probability under the unchanged logits.
    pub fn sample(&mut self, logits: &[f32], sampling: &Sampling, rng: &mut Stream) -> (u32, f32) {
        let id = if sampling.temperature == 0.0 {
            greedy(logits)
        } else {
            self.draw(logits, sampling, rng.uniform())
        };
        (id, logits[id as usize] - log_sum_exp(logits))
    }

    /// The token at `u` in `[0, 1)` of the cumulated distribution, ids ascending.
    fn draw(&mut self, logits: &[f32], sampling: &Sampling, u: f64) -> u32 {
        let temperature = sampling.temperature as f32;
        let cut_k = sampling.top_k > 0 && sampling.top_k < logits.len();
        if !cut_k && sampling.top_p >= 1.0 {
            // Nothing is cut off: no list of candidates is needed.
            self.weights.clear();
            self.weights.resize(logits.len(), 0.0);
            exponentials(logits, 1.0 / temperature, &mut self.weights);
            return pick(self.weights.iter().copied(), u) as u32;
        }
        self.candidates.clear();
        if cut_k {
            self.scratch.clear();
            self.scratch.extend_from_slice(logits);
            let at = sampling.top_k - 1;
            let (_, kth, _) = self
                .scratch
                .select_nth_unstable_by(at, |a, b| b.total_cmp(a));
            let kth = *kth;
            self.candidates.extend(
                (0..)
                    .zip(logits)
                    .filter(|(_, x)| **x >= kth)
                    .map(|(id, x)| (*x, id)),
            );
        } else {
            self.candidates
                .extend((0..).zip(logits).map(|(id, x)| (*x, id)));
        }
        let largest = self
            .candidates
            .iter()
            .fold(f32::NEG_INFINITY, |m, (x, _)| m.max(*x));
        for (x, _) in &mut self.candidates {
            *x = ((*x - largest) / temperature).exp();
        }
        if sampling.top_p < 1.0 {
            let total: f64 = self.candidates.iter().map(|(w, _)| f64::from(*w)).sum();
            // From the least likely on, all whose sum stays within 1 − p go; one always stays.
            self.candidates
                .sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            let mut sum = 0.0;
            let cut = self.candidates.iter().take_while(|(w, _)| {
                sum += f64::from(*w) / total;
                sum <= 1.0 - sampling.top_p
            });
            let cut = cut.count().min(self.candidates.len() - 1);
            self.candidates.drain(..cut);
            self.candidates.sort_unstable_by_key(|(_, id)| *id);
        }
        self.candidates[pick(self.candidates.iter().map(|(w, _)| *w), u)].1
    }
}

/// The first of the largest.
fn greedy(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// The index where the cumulated weights pass `u` of their sum.
fn pick(weights: impl Iterator<Item = f32> + Clone, u: f64) -> usize {
    let total: f64 = weights.clone().map(f64::from).sum();
    let threshold = u * total;
    let (mut sum, mut last) = (0.0, 0);
    for (i, weight) in weights.enumerate() {
        sum += f64::from(weight);
        if weight > 0.0 {
            last = i;
            if sum > threshold {
                break;
            }
        }
    }
    last
}

simd! {
    fn exponentials(logits: &[f32], inverse_temperature: f32, weights: &mut [f32]) {
        let shift = crate::ops::simd::max(logits);
        for (w, x) in weights.iter_mut().zip(logits) {
            *w = crate::ops::simd::exp((x - shift) * inverse_temperature);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    /// Which tokens can be drawn, and how often, of ten thousand even steps of `u`.
    fn shares(logits: &[f32], sampling: Sampling) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let mut sampler = Sampler::default();
        for step in 0..10_000 {
            counts[sampler.draw(logits, &sampling, (f64::from(step) + 0.5) / 10_000.0) as usize] +=
                1e-4;
        }
        counts
    }

    #[track_caller]
    fn check(logits: &[f32], (temperature, top_k, top_p): (f64, usize, f64), expected: &[f64]) {
        let found = shares(
            logits,
            Sampling {
                temperature,
                top_k,
                top_p,
            },
        );
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 2e-4, "{found:?} for {expected:?}");
        }
    }

    // Would catch filters in another order than transformers', and wrong edges: the k-th's
    // equals stay, a sum that just reaches 1 − p goes, one token always stays.
    #[test]
    fn the_distribution_is_transformers() {
        let ln = |p: &[f32]| p.iter().map(|p| p.ln()).collect::<Vec<_>>();
        let p = ln(&[0.1, 0.4, 0.2, 0.3]);
        check(&p, (1.0, 0, 1.0), &[0.1, 0.4, 0.2, 0.3]);
        check(&p, (0.5, 0, 1.0), &[0.0333, 0.5333, 0.1333, 0.3]);
        check(&p, (1.0, 2, 1.0), &[0.0, 0.5714, 0.0, 0.4286]);
        check(&p, (1.0, 9, 1.0), &[0.1, 0.4, 0.2, 0.3]);
        check(
            &ln(&[0.25, 0.25, 0.4, 0.1]),
            (1.0, 2, 1.0),
            &[0.2778, 0.2778, 0.4444, 0.0],
        );
        check(&p, (1.0, 0, 0.95), &[0.1, 0.4, 0.2, 0.3]);
        check(&p, (1.0, 0, 0.85), &[0.0, 0.4444, 0.2222, 0.3333]);
        check(&p, (1.0, 0, 0.01), &[0.0, 1.0, 0.0, 0.0]);
        // After top-k the rest is renormalised: 0.4286 of it is more than 1 − 0.6.
        check(&p, (1.0, 2, 0.6), &[0.0, 0.5714, 0.0, 0.4286]);
        check(&p, (1.0, 2, 0.57), &[0.0, 1.0, 0.0, 0.0]);
    }

    // Would catch a log-probability of the tempered distribution.
    #[test]
    fn the_logprob_is_untempered() {
        let logits = [0.0, 2f32.ln(), 5f32.ln()];
        let mut rng = Stream::new(1, Purpose::Sampling, 0, 0);
        let (id, logprob) = Sampler::default().sample(
            &logits,
            &Sampling {
                temperature: 0.0,
                top_k: 1,
                top_p: 0.1,
            },
            &mut rng,
        );
        assert_eq!(id, 2);
        assert!((logprob - (5f32 / 8.0).ln()).abs() < 1e-6);
    }
}
