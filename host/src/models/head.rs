//! The vocabulary head: from final states to log-probabilities of targets, a chunk of rows at a
//! time, so that logits of a whole batch never exist.

use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};

use super::{Objective, Targets};
use crate::ops::cross_entropy::{
    target_logprobs, target_logprobs_backward, target_logprobs_entropy_backward,
};
use crate::ops::embedding::{gather, scatter_add};
use crate::ops::matmul::{linear, linear_input_gradient, linear_weight_gradient};

/// Logits held at once, in elements: 48 MiB in f32, 256 rows of a vocabulary of 49152. Chosen: half
/// of a pass's tokens ([`super::PASS_TOKENS`]), with which products run at full speed.
const CHUNK_ELEMENTS: usize = 12 << 20;

/// Rows of a chunk.
pub(super) fn chunk_rows(vocabulary: usize) -> usize {
    (CHUNK_ELEMENTS / vocabulary.max(1)).clamp(1, 512)
}

/// The type of what is summed: f32 for half precision.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// Logits in full precision: a half-precision sum over the vocabulary would lose its tail.
fn logits(states: &Tensor, w: &Tensor) -> Result<Tensor> {
    let logits = linear(states, w)?;
    logits.to_dtype(wide(logits.dtype()))
}

/// Log-probabilities of the targets. `hidden` `[T, H]` are final states, `w` `[V, H]`, of one
/// type.
pub fn logprobs(hidden: &Tensor, w: &Tensor, targets: &Targets) -> Result<Vec<f32>> {
    let step = chunk_rows(w.dim(0)?);
    let mut all = Vec::with_capacity(targets.ids.len());
    for (rows, ids) in targets.rows.chunks(step).zip(targets.ids.chunks(step)) {
        let logits = logits(&gather(hidden, rows)?, w)?;
        all.extend(target_logprobs(&logits, ids)?.0);
    }
    Ok(all)
}

/// Gradient of the final states `[T, H]`, in f32 where `hidden` is of less; adds the head's to
/// `dw` where it is trained. Also the entropies' part of the loss, `Σ slope · entropy`.
///
/// `loss_scale` multiplies the slopes of entropies; what `objective` returns has it already.
///
/// Groups that fit into a chunk are done in one pass: their logits turn into gradients where
/// they lie. A group that does not is computed twice, first for its log-probabilities.
pub fn backward(
    hidden: &Tensor,
    w: &Tensor,
    dw: Option<&mut Tensor>,
    targets: &Targets,
    objective: &mut Objective,
    loss_scale: f32,
) -> Result<(Tensor, f64)> {
    let slopes = targets.entropy_slopes.len();
    if slopes != 0 && slopes != targets.ids.len() {
        bail!(
            "{slopes} slopes of entropies for {} targets",
            targets.ids.len()
        );
    }
    if targets.groups.last().map_or(0, |g| g.end) != targets.ids.len() {
        bail!(
            "{} targets in groups up to {:?}",
            targets.ids.len(),
            targets.groups.last()
        );
    }
    let step = chunk_rows(w.dim(0)?);
    let mut pass = Pass {
        hidden,
        w,
        dw,
        targets,
        d_hidden: Tensor::zeros(hidden.shape(), wide(hidden.dtype()), hidden.device())?,
        loss_scale,
        entropies: 0.0,
    };
    let mut first = 0;
    while first < targets.groups.len() {
        let start = targets.groups[first].start;
        let mut last = first + 1;
        while last < targets.groups.len() && targets.groups[last].end - start <= step {
            last += 1;
        }
        let groups = &targets.groups[first..last];
        let mut describe = |logprobs: &[f32]| -> Result<Vec<f32>> {
            let mut all = Vec::with_capacity(logprobs.len());
            for (i, group) in groups.iter().enumerate() {
                let d = objective(first + i, &logprobs[group.start - start..group.end - start]);
                if d.len() != group.len() {
                    bail!("{} gradients for {} targets", d.len(), group.len());
                }
                all.extend(d);
            }
            Ok(all)
        };
        let rows = start..groups[groups.len() - 1].end;
        if rows.len() <= step {
            let (states, logits) = pass.logits(&rows)?;
            let (logprobs, lse) = target_logprobs(&logits, &targets.ids[rows.clone()])?;
            let d = describe(&logprobs)?;
            pass.back(&rows, states, logits, &lse, &d)?;
        } else {
            let chunks = || {
                rows.clone()
                    .step_by(step)
                    .map(|at| at..(at + step).min(rows.end))
            };
            let (mut logprobs, mut lse) = (Vec::new(), Vec::new());
            for chunk in chunks() {
                let (_, logits) = pass.logits(&chunk)?;
                let (chunk_logprobs, chunk_lse) = target_logprobs(&logits, &targets.ids[chunk])?;
                logprobs.extend(chunk_logprobs);
                lse.extend(chunk_lse);
            }
            let d = describe(&logprobs)?;
            for chunk in chunks() {
                let (states, logits) = pass.logits(&chunk)?;
                let part = chunk.start - start..chunk.end - start;
                pass.back(&chunk, states, logits, &lse[part.clone()], &d[part])?;
            }
        }
        first = last;
    }
    Ok((pass.d_hidden, pass.entropies))
}

struct Pass<'a> {
    hidden: &'a Tensor,
    w: &'a Tensor,
    dw: Option<&'a mut Tensor>,
    targets: &'a Targets,
    d_hidden: Tensor,
    loss_scale: f32,
    /// `Σ slope · entropy` so far.
    entropies: f64,
}

impl Pass<'_> {
    fn logits(&self, rows: &Range<usize>) -> Result<(Tensor, Tensor)> {
        let states = gather(self.hidden, &self.targets.rows[rows.clone()])?;
        let logits = logits(&states, self.w)?;
        Ok((states, logits))
    }

    fn back(
        &mut self,
        rows: &Range<usize>,
        states: Tensor,
        logits: Tensor,
        lse: &[f32],
        d: &[f32],
    ) -> Result<()> {
        let ids = &self.targets.ids[rows.clone()];
        let d_logits = match self.targets.entropy_slopes.get(rows.clone()) {
            Some(slopes) => {
                let scaled: Vec<f32> = slopes.iter().map(|s| s * self.loss_scale).collect();
                let (d_logits, entropies) =
                    target_logprobs_entropy_backward(logits, lse, ids, d, &scaled)?;
                let terms = slopes.iter().zip(&entropies);
                self.entropies += terms.map(|(s, e)| f64::from(s * e)).sum::<f64>();
                d_logits
            }
            None if d.iter().all(|d| *d == 0.0) => return Ok(()),
            None => target_logprobs_backward(logits, lse, ids, d)?,
        };
        let d_logits = d_logits.to_dtype(self.w.dtype())?;
        if let Some(dw) = self.dw.as_deref_mut() {
            linear_weight_gradient(dw, &d_logits, &states)?;
        }
        let d_states = linear_input_gradient(None, &d_logits, self.w)?;
        let d_states = d_states.to_dtype(self.d_hidden.dtype())?;
        scatter_add(
            &mut self.d_hidden,
            &self.targets.rows[rows.clone()],
            &d_states,
        )
    }
}
