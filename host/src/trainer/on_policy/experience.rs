//! Sampled responses, and what is known of them when the policy learns.

use candle_core::Result;
use serde_json::{Value, json};

use crate::models::{CausalLm, PASS_TOKENS, Packed, Targets};
use crate::rollout::{FinishReason, Response};

/// A sampled response with all that its training needs; per token where it is a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Experience {
    /// Which prompt of the run it answers.
    pub task: usize,
    /// Which of the prompt's responses it is.
    pub sample: usize,
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// The response's, with the stop token where one ended it.
    pub response: Vec<u32>,
    /// Whether it ended before its length did it.
    pub ended: bool,
    /// Under the policy that sampled it.
    pub logprobs: Vec<f32>,
    /// Under the reference; empty where there is none.
    pub ref_logprobs: Vec<f32>,
    /// Of the value model before each token; empty where there is none.
    pub values: Vec<f32>,
    /// What the whole response is worth.
    pub score: f64,
    /// What of the score belongs to each token; empty where all of it is the last one's.
    pub token_scores: Vec<f64>,
    /// How much better each token was than expected.
    pub advantages: Vec<f64>,
    /// What each value should have been; empty where there is no value model.
    pub returns: Vec<f64>,
}

impl Experience {
    pub(in crate::trainer) fn new(
        task: usize,
        prompt: &[u32],
        response: &Response,
        score: f64,
    ) -> Self {
        Self {
            task,
            sample: response.sample,
            prompt: prompt.to_vec(),
            response: response.ids.clone(),
            ended: response.finish != FinishReason::Length,
            logprobs: response.logprobs.clone(),
            ref_logprobs: Vec::new(),
            values: Vec::new(),
            score,
            token_scores: Vec::new(),
            advantages: Vec::new(),
            returns: Vec::new(),
        }
    }

    /// Number of the response's tokens.
    pub fn tokens(&self) -> usize {
        self.response.len()
    }

    /// Whether all numbers that were computed of it are numbers.
    pub(super) fn is_finite(&self) -> bool {
        let singles = [&self.logprobs, &self.ref_logprobs, &self.values];
        let doubles = [&self.token_scores, &self.advantages, &self.returns];
        self.score.is_finite()
            && singles.into_iter().flatten().all(|x| x.is_finite())
            && doubles.into_iter().flatten().all(|x| x.is_finite())
    }

    /// For a person who wants to know why a batch was bad; what is no number becomes null.
    pub(super) fn dump(&self) -> Value {
        json!({
            "task": self.task,
            "sample": self.sample,
            "prompt": self.prompt,
            "response": self.response,
            "ended": self.ended,
            "logprobs": self.logprobs,
            "ref_logprobs": self.ref_logprobs,
            "values": self.values,
            "score": self.score,
            "token_scores": self.token_scores,
            "advantages": self.advantages,
            "returns": self.returns,
        })
    }
}

/// A batch of responses, a group of targets each; neighbours that answer one prompt share it.
pub(super) fn pack(responses: &[&Experience]) -> (Packed, Targets) {
    let (mut batch, mut targets) = (Packed::default(), Targets::default());
    for group in responses.chunk_by(|a, b| a.task == b.task) {
        let branches: Vec<&[u32]> = group.iter().map(|e| e.response.as_slice()).collect();
        let (prefix, branches) = batch.push_branches(&group[0].prompt, &branches);
        for branch in branches {
            targets.push(&batch, prefix.end - 1, branch);
            targets.close_group();
        }
    }
    (batch, targets)
}

/// Responses that a model learns from at once, as [`crate::models::CausalLm::accumulate`] cuts a
/// batch: with their prompts no more than [`PASS_TOKENS`] tokens.
pub(super) fn passes<'a, 'b>(
    mut responses: &'b [&'a Experience],
) -> impl Iterator<Item = &'b [&'a Experience]> {
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fit = responses.iter().take_while(|one| {
            tokens += one.prompt.len() + one.response.len();
            tokens <= PASS_TOKENS
        });
        let count = fit.count().max(1).min(responses.len());
        let (pass, rest) = responses.split_at(count);
        responses = rest;
        (!pass.is_empty()).then_some(pass)
    })
}

/// Log-probabilities of each response's tokens, `micro` responses at once.
pub(super) fn logprobs(
    model: &dyn CausalLm,
    responses: &[Experience],
    micro: usize,
) -> Result<Vec<Vec<f32>>> {
    by_response(responses, micro, |batch, targets| {
        model.logprobs(batch, targets)
    })
}

/// Numbers of each response's tokens, `micro` responses at once.
pub(super) fn by_response(
    responses: &[Experience],
    micro: usize,
    compute: impl Fn(&Packed, &Targets) -> Result<Vec<f32>>,
) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::with_capacity(responses.len());
    let responses: Vec<&Experience> = responses.iter().collect();
    let chunks = responses.chunks(micro.max(1));
    for pass in chunks.flat_map(passes) {
        let (batch, targets) = pack(pass);
        let numbers = compute(&batch, &targets)?;
        all.extend(targets.groups.into_iter().map(|g| numbers[g].to_vec()));
    }
    Ok(all)
}
