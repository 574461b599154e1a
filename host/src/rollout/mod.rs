//! Responses sampled from a model or searched with beams, with the log-probability of every token.

mod beams;
pub mod kl;
pub mod logprobs;
pub mod sampling;

use std::sync::Arc;

use candle_core::{Result, bail};
use rayon::prelude::*;

use crate::config::generation::{Generation, Weights};
use crate::models::{Cache, CausalLm, PREFILL_TOKENS};
use crate::ops::matmul::{SKINNY_ROWS_MAX, rows_stand_alone};
use crate::ops::rounded::Storage;
use crate::random::{Purpose, Stream};
use sampling::{Drawn, Sampler, Sampling, see};

/// Rows that are decoded at once at most; see [`SKINNY_ROWS_MAX`].
pub const ROWS_MAX: usize = SKINNY_ROWS_MAX;

/// What ends a response before its length does.
pub struct Stop<'a> {
    /// Any of these tokens.
    pub tokens: &'a [u32],
    /// Any of these texts, as soon as it is complete.
    pub strings: &'a [String],
    /// Text of token ids, for `strings`; not called without them.
    pub decode: &'a (dyn Fn(&[u32]) -> String + Sync),
}

impl Stop<'_> {
    /// Stops at tokens only.
    pub fn tokens(tokens: &[u32]) -> Stop<'_> {
        Stop {
            tokens,
            strings: &[],
            decode: &|_| String::new(),
        }
    }

    fn reason(&self, ids: &[u32]) -> Option<FinishReason> {
        let last = ids.last()?;
        if self.tokens.contains(last) {
            return Some(FinishReason::Eos);
        }
        let longest = self.strings.iter().map(String::len).max()?;
        // A token is at least one byte of text, or none: what the last token completes lies in
        // the last `longest` tokens that have text, so a few more are looked at.
        let tail = (self.decode)(&ids[ids.len().saturating_sub(longest + 8)..]);
        let found = self
            .strings
            .iter()
            .position(|s| !s.is_empty() && tail.contains(s.as_str()))?;
        Some(FinishReason::StopString(found))
    }
}

/// Why a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// One of the stop tokens, which is the response's last.
    Eos,
    /// A stop string, by its number; the response's text contains it.
    StopString(usize),
    /// `max_new_tokens`, or the model's context.
    Length,
}

/// One response.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Which prompt it answers.
    pub prompt: usize,
    /// Which of the prompt's samples it is.
    pub sample: usize,
    /// Its tokens, with the stop token where one ended it.
    pub ids: Vec<u32>,
    /// Log-probability of each token under the model that drew it: temperature 1, nothing cut off
    /// or penalised. Where `generation.weights` rounds, that is the rounded model;
    /// [`logprobs::recompute`] puts the model's own in place.
    pub logprobs: Vec<f32>,
    /// Log-probability of each token under the distribution that it was drawn from, which
    /// temperature, cut-offs, penalty and rounded weights shape; 0 where the most likely was taken, or searched.
    pub sampling_logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// A row of the cache while it grows.
struct Row {
    slot: usize,
    prompt: usize,
    sample: usize,
    rng: Stream,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    sampling_logprobs: Vec<f32>,
    /// Tokens of prompt and response, each once, where they matter.
    seen: Vec<u32>,
}

/// What happens while responses grow.
pub enum Event<'a> {
    /// A response has one more token.
    Token {
        prompt: usize,
        sample: usize,
        /// All of its tokens so far.
        ids: &'a [u32],
    },
    /// A step is over, and so many responses are done.
    Step { done: usize },
}

/// Samples `samples_per_prompt` responses to each prompt, or searches the most likely ones with
/// `config.num_beams`; ordered by prompt and sample.
///
/// `config.batch_size` rows (at most 64) are decoded at once. A row that ends leaves and the next one takes
/// its place; prompts are computed together, and samples of one share its computation. Each row draws from a stream of its
/// own, and its numbers do not depend on its neighbours: a response depends on the model, its
/// prompt, the seed, and its indices alone.
///
/// `progress` hears how many responses are done; when it returns false the rest is left out.
///
/// # Errors
/// A prompt is empty or fills the model's context; more responses than beams are asked for.
pub fn generate(
    model: &dyn CausalLm,
    prompts: &[Vec<u32>],
    samples_per_prompt: usize,
    config: &Generation,
    stop: &Stop,
    seed: u64,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Response>> {
    let mut observe = |event: Event| match event {
        Event::Step { done } => progress(done),
        Event::Token { .. } => true,
    };
    generate_observed(
        model,
        prompts,
        samples_per_prompt,
        config,
        stop,
        seed,
        &mut observe,
    )
}

/// [`generate`], whose `observe` hears of every token as well. What it returns for a token is not
/// looked at. A search shows no tokens: it does not know its responses before it ends.
///
/// # Errors
/// As for [`generate`].
pub fn generate_observed(
    model: &dyn CausalLm,
    prompts: &[Vec<u32>],
    samples_per_prompt: usize,
    config: &Generation,
    stop: &Stop,
    seed: u64,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<Vec<Response>> {
    let total = prompts.len() * samples_per_prompt;
    if total == 0 || config.max_new_tokens == 0 {
        return Ok(Vec::new());
    }
    let context = model.context();
    if let Some(i) = prompts
        .iter()
        .position(|p| p.is_empty() || p.len() >= context)
    {
        bail!(
            "prompt {i} has {} tokens, the model's context {context}",
            prompts[i].len()
        );
    }
    if config.num_beams > 1 {
        return beams::search_all(model, prompts, samples_per_prompt, config, stop, observe);
    }
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let capacity = (longest + config.max_new_tokens).min(context);
    let slots = config.batch_size.min(ROWS_MAX).clamp(1, total);
    // One slot more holds the prompt that is being sampled from: its later samples copy it.
    let mut cache = model.cache(slots + usize::from(samples_per_prompt > 1), capacity)?;
    if let Some(storage) = rounding(model, config) {
        model.round_weights(&mut cache, storage)?;
    }
    let mut decoder = Decoder {
        sampling: Sampling::of(config),
        stop,
        config,
        capacity,
        rows: Vec::new(),
        free: (0..slots).rev().collect(),
        done: Vec::with_capacity(total),
    };
    let mut waiting = Waiting {
        prompts,
        next: (0, 0),
        samples: samples_per_prompt,
        spare: slots,
        kept: None,
    };
    loop {
        while !decoder.free.is_empty()
            && let Some(prefilled) = waiting.prefill(model, &mut cache, &mut decoder.free)?
        {
            for (slot, prompt, sample, logits) in prefilled {
                let row = Row {
                    slot,
                    prompt,
                    sample,
                    rng: Stream::new(seed, Purpose::Sampling, prompt as u64, sample as u64),
                    ids: Vec::new(),
                    logprobs: Vec::new(),
                    sampling_logprobs: Vec::new(),
                    seen: seen_in(&prompts[prompt], config),
                };
                decoder.start(row, &logits, prompts[prompt].len(), observe);
            }
        }
        let done = decoder.done.len();
        if !observe(Event::Step { done }) || decoder.rows.is_empty() {
            break;
        }
        decoder.step(model, &mut cache, prompts, observe)?;
    }
    let mut done = decoder.done;
    done.sort_by_key(|r| (r.prompt, r.sample));
    Ok(done)
}

/// How the weights are stored while responses grow, where not as they are.
fn rounding(model: &dyn CausalLm, config: &Generation) -> Option<Storage> {
    match config.weights {
        _ if !model.device().is_cpu() => None,
        Weights::F32 => None,
        Weights::Bf16 => Some(Storage::Bf16),
        Weights::Int8 => Some(Storage::Int8),
    }
}

/// The tokens of a prompt, each once, where a penalty looks at them.
fn seen_in(prompt: &[u32], config: &Generation) -> Vec<u32> {
    if config.repetition_penalty == 1.0 {
        return Vec::new();
    }
    let mut seen = prompt.to_vec();
    seen.sort_unstable();
    seen.dedup();
    seen
}

/// Responses that wait for a row.
struct Waiting<'a> {
    prompts: &'a [Vec<u32>],
    /// The first of them: its prompt and its number among the prompt's samples.
    next: (usize, usize),
    /// Of each prompt.
    samples: usize,
    /// The cache row that keeps a prompt some of whose samples wait.
    spare: usize,
    /// That prompt, and the logits after it.
    kept: Option<(usize, Arc<Vec<f32>>)>,
}

/// A cache row that holds a prompt, the prompt, the number of its sample and the logits after it.
type Prefilled = (usize, usize, usize, Arc<Vec<f32>>);

impl Waiting<'_> {
    /// Fills free rows with the next prompts, as many as are computed together; none where
    /// nothing waits.
    fn prefill(
        &mut self,
        model: &dyn CausalLm,
        cache: &mut Cache,
        free: &mut Vec<usize>,
    ) -> Result<Option<Vec<Prefilled>>> {
        // Which rows each prompt goes to, and which of its samples is the first.
        let mut taken: Vec<(usize, usize, Vec<usize>)> = Vec::new();
        let mut tokens = 0;
        while self.next.0 < self.prompts.len() && !free.is_empty() {
            let (prompt, first) = self.next;
            let kept = self.kept.as_ref().is_some_and(|(p, _)| *p == prompt);
            let length = if kept { 0 } else { self.prompts[prompt].len() };
            if tokens > 0 && tokens + length > prefill_tokens_max() {
                break;
            }
            tokens += length;
            let count = (self.samples - first).min(free.len());
            taken.push((prompt, first, free.split_off(free.len() - count)));
            self.next = match first + count {
                last if last == self.samples => (prompt + 1, 0),
                last => (prompt, last),
            };
        }
        if taken.is_empty() {
            return Ok(None);
        }
        let kept = self.kept.take_if(|(prompt, _)| *prompt == taken[0].0);
        let new = &taken[usize::from(kept.is_some())..];
        let rows: Vec<(usize, &[u32])> = new
            .iter()
            .map(|(prompt, _, slots)| (slots[0], self.prompts[*prompt].as_slice()))
            .collect();
        let mut logits = Vec::with_capacity(taken.len());
        if let Some((_, kept)) = kept {
            cache.copy_row(self.spare, taken[0].2[0])?;
            logits.push(kept);
        }
        if !rows.is_empty() {
            let computed = model.prefill(cache, &rows)?.to_vec2::<f32>()?;
            logits.extend(computed.into_iter().map(Arc::new));
        }
        let mut all = Vec::new();
        for ((prompt, first, slots), logits) in taken.iter().zip(&logits) {
            for (i, slot) in slots.iter().enumerate() {
                cache.copy_row(slots[0], *slot)?;
                all.push((*slot, *prompt, first + i, Arc::clone(logits)));
            }
        }
        if let Some((prompt, _, slots)) = taken.last().filter(|(p, ..)| *p == self.next.0) {
            cache.copy_row(slots[0], self.spare)?;
            let logits = logits.last().expect("of every prompt").clone();
            self.kept = Some((*prompt, logits));
        }
        Ok(Some(all))
    }
}

/// Tokens of prompts that are computed together; one prompt at a time where a row's bits would
/// depend on the others.
fn prefill_tokens_max() -> usize {
    if rows_stand_alone() {
        PREFILL_TOKENS
    } else {
        1
    }
}

struct Decoder<'a> {
    sampling: Sampling,
    stop: &'a Stop<'a>,
    config: &'a Generation,
    capacity: usize,
    rows: Vec<Row>,
    free: Vec<usize>,
    done: Vec<Response>,
}

impl Decoder<'_> {
    fn start(
        &mut self,
        mut row: Row,
        logits: &[f32],
        prompt_len: usize,
        observe: &mut dyn FnMut(Event) -> bool,
    ) {
        let mut sampler = Sampler::default();
        row.draw(&mut sampler, logits, &self.sampling);
        self.place(row, prompt_len, observe);
    }

    /// One token for every row.
    fn step(
        &mut self,
        model: &dyn CausalLm,
        cache: &mut Cache,
        prompts: &[Vec<u32>],
        observe: &mut dyn FnMut(Event) -> bool,
    ) -> Result<()> {
        let slots: Vec<usize> = self.rows.iter().map(|r| r.slot).collect();
        let ids: Vec<u32> = self
            .rows
            .iter()
            .map(|r| *r.ids.last().expect("a started row has a token"))
            .collect();
        let logits = model
            .decode(cache, &slots, &ids)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let sampling = self.sampling;
        self.rows
            .par_iter_mut()
            .zip(logits.par_chunks(model.vocabulary()))
            .for_each_init(Sampler::default, |sampler, (row, logits)| {
                row.draw(sampler, logits, &sampling)
            });
        for row in std::mem::take(&mut self.rows) {
            let prompt_len = prompts[row.prompt].len();
            self.place(row, prompt_len, observe);
        }
        Ok(())
    }

    /// Keeps a row that goes on; finishes one that does not.
    fn place(&mut self, row: Row, prompt_len: usize, observe: &mut dyn FnMut(Event) -> bool) {
        observe(Event::Token {
            prompt: row.prompt,
            sample: row.sample,
            ids: &row.ids,
        });
        let full = row.ids.len() >= self.config.max_new_tokens
            || prompt_len + row.ids.len() >= self.capacity;
        let finish = self
            .stop
            .reason(&row.ids)
            .or(full.then_some(FinishReason::Length));
        match finish {
            None => self.rows.push(row),
            Some(finish) => {
                self.free.push(row.slot);
                let Row {
                    prompt,
                    sample,
                    ids,
                    logprobs,
                    sampling_logprobs,
                    ..
                } = row;
                self.done.push(Response {
                    prompt,
                    sample,
                    ids,
                    logprobs,
                    sampling_logprobs,
                    finish,
                });
            }
        }
    }
}

impl Row {
    fn draw(&mut self, sampler: &mut Sampler, logits: &[f32], sampling: &Sampling) {
        let Drawn {
            id,
            logprob,
            sampling_logprob,
        } = sampler.sample(logits, &self.seen, sampling, &mut self.rng);
        self.ids.push(id);
        self.logprobs.push(logprob);
        self.sampling_logprobs.push(sampling_logprob);
        if sampling.penalises() {
            see(&mut self.seen, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{LanguageModel, LlamaConfig};
    use crate::ops::testing::{device, on};
    use candle_core::Device;

    fn model() -> LanguageModel {
        let config = LlamaConfig {
            vocab_size: 30,
            hidden_size: 24,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 12,
            max_position_embeddings: 24,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: false,
            bos_token_id: None,
            eos_token_id: vec![2],
            pad_token_id: None,
        };
        config.init(5, &device()).expect("init")
    }

    fn config(batch_size: usize, temperature: f64) -> Generation {
        Generation {
            max_new_tokens: 9,
            temperature,
            top_k: 0,
            top_p: 1.0,
            batch_size,
            ..Generation::default()
        }
    }

    fn prompts() -> Vec<Vec<u32>> {
        vec![vec![3, 4, 5], vec![6], vec![7, 8, 9, 10, 11]]
    }

    fn run(config: &Generation, stop: &Stop) -> Vec<Response> {
        generate(&model(), &prompts(), 3, config, stop, 11, &mut |_| true).expect("generates")
    }

    // Would catch rows that get each other's numbers, and samples that repeat each other. The bits are
    // a promise of the CPU's products.
    #[test]
    fn a_response_does_not_depend_on_its_batch() {
        let run = |config: &Generation, stop: &Stop| on(&Device::Cpu, || run(config, stop));
        let alone = run(&config(1, 1.0), &Stop::tokens(&[2]));
        for batch in [2, 4, 9] {
            assert_eq!(run(&config(batch, 1.0), &Stop::tokens(&[2])), alone);
        }
        let order: Vec<_> = alone.iter().map(|r| (r.prompt, r.sample)).collect();
        assert_eq!(
            order,
            (0..3)
                .flat_map(|p| (0..3).map(move |s| (p, s)))
                .collect::<Vec<_>>()
        );
        assert!(alone[0].ids != alone[1].ids);
    }

    // Would catch log-probabilities that belong to another token or to the tempered distribution.
    #[test]
    fn logprobs_are_the_models_own() {
        for temperature in [0.0, 0.5] {
            for response in run(&config(4, temperature), &Stop::tokens(&[2])) {
                let again = logprobs::response_logprobs(
                    &model(),
                    &prompts()[response.prompt],
                    &[&response.ids],
                )
                .expect("computes");
                for (a, b) in response.logprobs.iter().zip(&again[0]) {
                    assert!((a - b).abs() < 1e-5, "{a} {b}");
                }
            }
        }
    }

    // Would catch log-probabilities that stay those of the rounded weights, rounding that does
    // nothing, and a row that depends on its neighbours then. Weights are rounded on the CPU only.
    #[test]
    fn rounded_weights_only_draw() {
        on(&Device::Cpu, rounded_weights_only_draw_there);
    }

    fn rounded_weights_only_draw_there() {
        for weights in [Weights::Bf16, Weights::Int8] {
            let rounded = |batch_size| Generation {
                weights,
                ..config(batch_size, 1.0)
            };
            let mut responses = run(&rounded(4), &Stop::tokens(&[2]));
            assert_eq!(run(&rounded(1), &Stop::tokens(&[2])), responses);
            for response in &responses {
                for (own, drawn) in response.logprobs.iter().zip(&response.sampling_logprobs) {
                    assert!((own - drawn).abs() < 1e-5, "{own} {drawn}");
                }
            }
            logprobs::recompute(&model(), &prompts(), &mut responses).expect("computes");
            let mut apart = 0f32;
            for response in &responses {
                let again = logprobs::response_logprobs(
                    &model(),
                    &prompts()[response.prompt],
                    &[&response.ids],
                );
                assert_eq!(response.logprobs.len(), response.ids.len());
                let again = again.expect("computes");
                for (i, (own, again)) in response.logprobs.iter().zip(&again[0]).enumerate() {
                    assert!((own - again).abs() < 1e-5, "{own} {again}");
                    // The first token is drawn from the prompt's logits, which are not rounded.
                    let drawn = response.sampling_logprobs[i];
                    assert!(i > 0 || (drawn - own).abs() < 1e-5);
                    apart = apart.max((drawn - own).abs());
                }
            }
            assert!((1e-6..0.05).contains(&apart), "{weights:?}: {apart}");
        }
    }

    // Would catch a row that goes on after its end, or ends without a reason.
    #[test]
    fn responses_end_as_they_should() {
        for response in run(&config(4, 1.0), &Stop::tokens(&[2, 3])) {
            let stops = response.ids.iter().filter(|id| [2, 3].contains(id)).count();
            match response.finish {
                FinishReason::Eos => {
                    assert!(stops == 1 && [2, 3].contains(response.ids.last().expect("tokens")))
                }
                _ => assert!(stops == 0 && response.ids.len() == 9),
            }
        }
        let decode = |ids: &[u32]| {
            ids.iter()
                .map(|id| char::from(b'a' + *id as u8))
                .collect::<String>()
        };
        let free = run(&config(4, 1.0), &Stop::tokens(&[]));
        let text = decode(&free[0].ids);
        let strings = ["never".to_owned(), text[3..5].to_owned()];
        let stop = Stop {
            tokens: &[],
            strings: &strings,
            decode: &decode,
        };
        let stopped = &run(&config(4, 1.0), &stop)[0];
        assert_eq!(stopped.finish, FinishReason::StopString(1));
        assert!(
            decode(&stopped.ids).ends_with(&text[3..5]) && text.starts_with(&decode(&stopped.ids))
        );
        // The context of 24 tokens ends a response as well.
        let long = Generation {
            max_new_tokens: 100,
            ..config(4, 1.0)
        };
        for response in run(&long, &Stop::tokens(&[])) {
            assert_eq!(response.ids.len() + prompts()[response.prompt].len(), 24);
            assert_eq!(response.finish, FinishReason::Length);
        }
    }

    // Would catch an interrupt that is not heard.
    #[test]
    fn an_interrupt_keeps_what_is_done() {
        let some = generate(
            &model(),
            &prompts(),
            3,
            &config(2, 1.0),
            &Stop::tokens(&[2]),
            11,
            &mut |done| done < 4,
        )
        .expect("generates");
        assert!((4..9).contains(&some.len()), "{}", some.len());
        assert!(
            generate(
                &model(),
                &[vec![]],
                1,
                &config(2, 1.0),
                &Stop::tokens(&[]),
                1,
                &mut |_| true
            )
            .is_err()
        );
    }

    // Would catch a cache that is read from the wrong place on the device, rows that leave it, and
    // responses that change from run to run.
    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a CUDA device"]
    fn cuda_generates_what_the_cpu_does() {
        use crate::models::Model;
        use crate::ops::{cuda, without_fused_kernels};
        use candle_core::DType;

        let device = cuda::device(0).expect("a CUDA device");
        let run = |dtype: DType, temperature: f64| {
            let mut model = model();
            model.backbone_mut().set_compute(dtype);
            let stop = Stop::tokens(&[2, 7, 11]);
            let config = config(3, temperature);
            generate(&model, &prompts(), 3, &config, &stop, 11, &mut |_| true).expect("generates")
        };
        let there = |dtype, temperature| on(&device, || run(dtype, temperature));
        for temperature in [0.0, 1.0] {
            let expected = run(DType::F32, temperature);
            let ways = [
                there(DType::F32, temperature),
                without_fused_kernels(|| there(DType::F32, temperature)),
            ];
            for found in ways {
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!(found.ids, expected.ids);
                    for (a, b) in found.logprobs.iter().zip(&expected.logprobs) {
                        assert!((a - b).abs() < 1e-4, "{a} for {b}");
                    }
                }
            }
            // Rounded logits may choose otherwise where two are near: the first token's do not.
            for dtype in [DType::BF16, DType::F16] {
                let found = there(dtype, temperature);
                assert_eq!(found, there(dtype, temperature), "{dtype:?}");
                for (found, expected) in found.iter().zip(&expected) {
                    let (a, b) = (found.logprobs[0], expected.logprobs[0]);
                    assert!(
                        found.ids[0] != expected.ids[0] || (a - b).abs() < 0.05,
                        "{a} {b}"
                    );
                }
            }
        }
    }
}
