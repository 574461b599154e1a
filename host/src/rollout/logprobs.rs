//! Log-probabilities of given responses.

use candle_core::{Result, bail};

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
