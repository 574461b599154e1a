//! From logits to a token: repetition penalty, temperature, top-k, top-p and min-p, in the order
//! and with the edge cases of transformers' logits processors.

use crate::config::generation::Generation;
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
    /// Only tokens at least this fraction as likely as the most likely one; 0 keeps all.
    pub min_p: f64,
    /// Divides the positive logits of tokens that were seen, multiplies the negative ones
    /// (Keskar et al. 2019, section 4.1); 1 changes nothing.
    pub repetition_penalty: f64,
}

impl Sampling {
    /// What a configuration asks for.
    pub fn of(config: &Generation) -> Self {
        Self {
            temperature: config.temperature,
            top_k: config.top_k,
            top_p: config.top_p,
            min_p: config.min_p,
            repetition_penalty: config.repetition_penalty,
        }
    }

    /// Whether the tokens that were seen matter.
    pub fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0
    }
}

/// A token, and how likely it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    pub id: u32,
    /// Log-probability under the model itself: temperature 1, nothing cut off or penalised.
    pub logprob: f32,
    /// Log-probability under the distribution that it was drawn from; 0 where there was no
    /// choice.
    pub sampling_logprob: f32,
}

/// Draws tokens; keeps its scratch memory between draws.
#[derive(Debug, Default)]
pub struct Sampler {
    candidates: Vec<(f32, u32)>,
    scratch: Vec<f32>,
    penalised: Vec<f32>,
    weights: Vec<f32>,
}

impl Sampler {
    /// Draws a token. `seen` are the tokens of prompt and response so far, each once; they are
    /// looked at where [`Sampling::penalises`].
    pub fn sample(
        &mut self,
        logits: &[f32],
        seen: &[u32],
        sampling: &Sampling,
        rng: &mut Stream,
    ) -> Drawn {
        let mut penalised = std::mem::take(&mut self.penalised);
        let scores = match sampling.penalises() {
            true => {
                penalised.clear();
                penalised.extend_from_slice(logits);
                penalise(&mut penalised, seen, sampling.repetition_penalty as f32);
                &penalised[..]
            }
            false => logits,
        };
        let (id, sampling_logprob) = match sampling.temperature {
            0.0 => (greedy(scores), 0.0),
            _ => self.draw(scores, sampling, rng.uniform()),
        };
        self.penalised = penalised;
        Drawn {
            id,
            logprob: logits[id as usize] - log_sum_exp(logits),
            sampling_logprob,
        }
    }

    /// The token at `u` in `[0, 1)` of the cumulated distribution, ids ascending, and its
    /// log-probability there.
    fn draw(&mut self, logits: &[f32], sampling: &Sampling, u: f64) -> (u32, f32) {
        let logprob = |weight: f32, total: f64| (f64::from(weight) / total).ln() as f32;
        if self.weigh(logits, sampling) {
            let weights = self.candidates.iter().map(|(weight, _)| *weight);
            let (at, total) = pick(weights, u);
            let (weight, id) = self.candidates[at];
            (id, logprob(weight, total))
        } else {
            let (id, total) = pick_block(&self.weights, u);
            (id as u32, logprob(self.weights[id], total))
        }
    }

    /// Weighs the tokens that can be drawn: `candidates`, where the result is true, else all of
    /// `weights` in the order of their ids.
    fn weigh(&mut self, logits: &[f32], sampling: &Sampling) -> bool {
        let temperature = sampling.temperature as f32;
        let cut_k = sampling.top_k > 0 && sampling.top_k < logits.len();
        if !cut_k && sampling.top_p >= 1.0 && sampling.min_p == 0.0 {
            // Nothing is cut off: no list of candidates is needed.
            self.weights.clear();
            self.weights.resize(logits.len(), 0.0);
            exponentials(logits, 1.0 / temperature, &mut self.weights);
            return false;
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
        if sampling.min_p > 0.0 {
            // The most likely one has weight 1, whatever was cut off before.
            let least = sampling.min_p as f32;
            self.candidates.retain(|(weight, _)| *weight >= least);
        }
        true
    }
}

/// Applies the repetition penalty to the scores of `seen`, each of them once.
pub(super) fn penalise(scores: &mut [f32], seen: &[u32], penalty: f32) {
    for id in seen {
        let Some(score) = scores.get_mut(*id as usize) else {
            continue;
        };
        *score = match *score < 0.0 {
            true => *score * penalty,
            false => *score / penalty,
        };
    }
}

/// Adds a token to those seen, unless it is there.
pub(super) fn see(seen: &mut Vec<u32>, id: u32) {
    if let Err(at) = seen.binary_search(&id) {
        seen.insert(at, id);
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

/// [`pick`] from many: whole blocks are summed first, and those before the threshold passed over.
fn pick_block(weights: &[f32], u: f64) -> (usize, f64) {
    let sums: Vec<f64> = weights
        .chunks(BLOCK)
        .map(|b| f64::from(block_sum(b)))
        .collect();
    let total: f64 = sums.iter().sum();
    let threshold = u * total;
    let (mut block, mut before, mut end) = (0, 0.0, 0.0);
    for (i, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
        (block, before) = (i, end);
        end += sum;
        if end > threshold {
            break;
        }
    }
    let first = block * BLOCK;
    let inside = &weights[first..(first + BLOCK).min(weights.len())];
    let (at, _) = pick(inside.iter().copied(), (threshold - before) / sums[block]);
    (first + at, total)
}

/// Weights that are summed together. Chosen: two hundred blocks of a vocabulary's size.
const BLOCK: usize = 256;

simd! {
    fn block_sum(weights: &[f32]) -> f32 { crate::ops::simd::sum(weights) }
}

/// The index where the cumulated weights pass `u` of their sum, and the sum.
fn pick(weights: impl Iterator<Item = f32> + Clone, u: f64) -> (usize, f64) {
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
    (last, total)
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
        let mut logprobs = vec![f32::NEG_INFINITY; logits.len()];
        let mut sampler = Sampler::default();
        for step in 0..10_000 {
            let (id, logprob) = sampler.draw(logits, &sampling, (f64::from(step) + 0.5) / 10_000.0);
            counts[id as usize] += 1e-4;
            logprobs[id as usize] = logprob;
        }
        for (count, logprob) in counts.iter().zip(logprobs) {
            assert!(
                (f64::from(logprob.exp()) - count).abs() < 2e-4,
                "{count} {logprob}"
            );
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
                min_p: 0.0,
                repetition_penalty: 1.0,
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
        let sampling = Sampling {
            temperature: 0.0,
            top_k: 1,
            top_p: 0.1,
            min_p: 0.0,
            repetition_penalty: 1.0,
        };
        let drawn = Sampler::default().sample(&logits, &[], &sampling, &mut rng);
        let (id, logprob) = (drawn.id, drawn.logprob);
        assert_eq!(id, 2);
        assert!((logprob - (5f32 / 8.0).ln()).abs() < 1e-6);
    }

    /// Probabilities of all tokens.
    fn probabilities(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
        let mut sampler = Sampler::default();
        let mut all = vec![0.0; logits.len()];
        match sampler.weigh(logits, sampling) {
            true => {
                for (weight, id) in &sampler.candidates {
                    all[*id as usize] = f64::from(*weight);
                }
            }
            false => all.copy_from_slice(
                &sampler
                    .weights
                    .iter()
                    .map(|w| f64::from(*w))
                    .collect::<Vec<_>>(),
            ),
        }
        let total: f64 = all.iter().sum();
        all.iter().map(|weight| weight / total).collect()
    }

    // Would catch a processor that is wrong, or in another place of their row. Sums of forty f32:
    // tolerance 1e-6.
    #[test]
    fn processors_are_transformers() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/generation/expected.json"
        );
        let text = std::fs::read_to_string(path).expect("golden file");
        let golden: serde_json::Value = serde_json::from_str(&text).expect("golden file is JSON");
        let mut cases = 0;
        for case in golden["distributions"].as_array().expect("cases") {
            let number = |key: &str, default: f64| case[key].as_f64().unwrap_or(default);
            let numbers = |key: &str| -> Vec<f64> {
                let all = case[key].as_array().expect("a list").iter();
                all.map(|x| x.as_f64().expect("a number")).collect()
            };
            let sampling = Sampling {
                temperature: number("temperature", 1.0),
                top_k: number("top_k", 0.0) as usize,
                top_p: number("top_p", 1.0),
                min_p: number("min_p", 0.0),
                repetition_penalty: number("repetition_penalty", 1.0),
            };
            let mut logits: Vec<f32> = numbers("logits").iter().map(|x| *x as f32).collect();
            let mut seen = Vec::new();
            for id in numbers("context") {
                see(&mut seen, id as u32);
            }
            penalise(&mut logits, &seen, sampling.repetition_penalty as f32);
            let found = probabilities(&logits, &sampling);
            for (id, (a, b)) in found.iter().zip(numbers("probabilities")).enumerate() {
                assert!(
                    (a - b).abs() < 1e-6 && (*a == 0.0) == (b == 0.0),
                    "{sampling:?}, {id}: {a} {b}"
                );
            }
            cases += 1;
        }
        assert_eq!(cases, 45);
    }
}
