//! Log-probabilities of given responses.

use candle_core::{Result, bail};

use super::Response;
use crate::models::{CausalLm, Packed, Targets};

/// Log-probability of every token of `responses`, each following `prompt`.
///
/// The prompt is computed once for all responses.
///
/// # Errors
/// An empty prompt: the first token would follow nothing.
pub fn response_logprobs(
    model: &dyn CausalLm,
    prompt: &[u32],
    responses: &[&[u32]],
) -> Result<Vec<Vec<f32>>> {
    if prompt.is_empty() {
        bail!("log-probabilities of a response need a prompt of at least one token");
    }
    let (mut batch, mut targets) = (Packed::default(), Targets::default());
    let (prefix, branches) = batch.push_branches(prompt, responses);
    let ranges: Vec<_> = branches
        .into_iter()
        .map(|b| targets.push(&batch, prefix.end - 1, b))
        .collect();
    targets.close_group();
    let all = model.logprobs(&batch, &targets)?;
    Ok(ranges
        .into_iter()
        .map(|range| all[range].to_vec())
        .collect())
}

/// Gives responses the log-probabilities of the model itself, where they grew by rounded weights.
///
/// # Errors
/// A response to no prompt, or a token beyond the vocabulary.
pub fn recompute(
    model: &dyn CausalLm,
    prompts: &[Vec<u32>],
    responses: &mut [Response],
) -> Result<()> {
    for same in responses.chunk_by_mut(|a, b| a.prompt == b.prompt) {
        let Some(prompt) = prompts.get(same[0].prompt) else {
            bail!(
                "a response to prompt {} of {}",
                same[0].prompt,
                prompts.len()
            );
        };
        let ids: Vec<&[u32]> = same.iter().map(|r| r.ids.as_slice()).collect();
        let logprobs = response_logprobs(model, prompt, &ids)?;
        for (response, logprobs) in same.iter_mut().zip(logprobs) {
            response.logprobs = logprobs;
        }
    }
    Ok(())
}
