//! Direct Preference Optimization: the policy learns from pairs of responses directly, held to
//! the reference by the loss itself.
//!
//! The reference is the model as it is at the start, or without its adapters where it has some.
//! Its log-probabilities are computed once, before the first step, and kept on disk for the next run:
//! no second model is needed. A pair's prompt is computed once for both of its responses, and the loss of a pair turns into gradients while its logits are at hand.

pub mod loss;
mod reference;

use std::path::Path;
use std::sync::atomic::Ordering;

use super::minibatch::{Pair, pairs};
use super::{Error, Run, Stats, Task, doing};
use crate::config::dpo::Dpo;
use crate::config::training::Training;
use crate::models::{CausalLm, with_reference};
use loss::{Objective, PairLogprobs, PairLoss};
use reference::Stored;

/// Pairs whose log-probabilities are computed at once where nothing is trained.
const EVALUATION_PAIRS: usize = 8;

/// How a preference training ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps, interruption, loss.
    pub training: super::Outcome,
    /// On the held-out pairs before the first step.
    pub before: Evaluation,
    /// On the held-out pairs after the last step; of no pairs where that was not reached.
    pub after: Evaluation,
}

impl Outcome {
    /// Of a training that was interrupted before its first step.
    fn interrupted() -> Self {
        let none = Evaluation::of(&[]);
        Self {
            training: super::Outcome {
                steps: 0,
                interrupted: true,
                final_loss: f64::NAN,
                tokens: 0,
                skipped: 0,
            },
            before: none,
            after: none,
        }
    }
}

/// The loss on pairs that are not trained on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Number of pairs; the rest is 0 where there are none.
    pub pairs: usize,
    /// Mean loss.
    pub loss: f64,
    /// Share of pairs whose chosen response has the higher reward; equal ones count one half.
    pub accuracy: f64,
    /// Mean margin of the rewards.
    pub margin: f64,
}

impl Evaluation {
    fn of(losses: &[PairLoss]) -> Self {
        let mean = |f: fn(&PairLoss) -> f64| {
            losses.iter().map(f).sum::<f64>() / losses.len().max(1) as f64
        };
        Self {
            pairs: losses.len(),
            loss: mean(|l| l.loss),
            accuracy: mean(PairLoss::accuracy),
            margin: mean(PairLoss::margin),
        }
    }

    /// As the tracker hears it.
    fn tags(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("eval/loss", self.loss),
            ("eval/rewards/accuracies", self.accuracy),
            ("eval/rewards/margins", self.margin),
        ]
    }
}

/// Log-probabilities of both responses of every pair, summed over their tokens.
///
/// # Errors
/// A token beyond the model's vocabulary.
pub fn logprobs(
    model: &dyn CausalLm,
    examples: &[Pair],
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<PairLogprobs>, Error> {
    let mut all = Vec::with_capacity(examples.len());
    for chunk in examples.chunks(EVALUATION_PAIRS) {
        if !progress(all.len()) {
            break;
        }
        let (batch, targets, chosen) = pairs(chunk.iter());
        let logprobs = model.logprobs(&batch, &targets).map_err(doing(format!(
            "dpo: log-probabilities of {} pairs",
            chunk.len()
        )))?;
        all.extend(
            targets
                .groups
                .into_iter()
                .zip(chosen)
                .map(|(g, c)| sums(&logprobs[g], c.len())),
        );
    }
    Ok(all)
}

/// The loss of `model` on pairs, against the reference's log-probabilities of the same pairs.
///
/// # Errors
/// As for [`logprobs`].
pub fn evaluate(
    model: &dyn CausalLm,
    examples: &[Pair],
    reference: &[PairLogprobs],
    objective: &Objective,
) -> Result<Evaluation, Error> {
    let policy = logprobs(model, examples, &mut |_| true)?;
    let losses: Vec<PairLoss> = policy
        .iter()
        .zip(reference)
        .zip(examples)
        .map(|((p, r), pair)| objective.of_pair(*p, *r, pair.response_tokens()))
        .collect();
    Ok(Evaluation::of(&losses))
}

fn sums(logprobs: &[f32], chosen: usize) -> PairLogprobs {
    let sum = |x: &[f32]| x.iter().map(|x| f64::from(*x)).sum();
    PairLogprobs {
        chosen: sum(&logprobs[..chosen]),
        rejected: sum(&logprobs[chosen..]),
    }
}

struct Preferences<'a> {
    examples: &'a [Pair],
    reference: &'a [PairLogprobs],
    objective: Objective,
    /// Pairs that are not trained on, and their reference.
    held_out: (&'a [Pair], &'a [PairLogprobs]),
}

impl<'a> Task for Preferences<'a> {
    type Model = dyn CausalLm + 'a;

    const NAME: &'static str = "dpo";
    const STAGE: &'static str = "dpo";

    fn len(&self) -> usize {
        self.examples.len()
    }

    fn accumulate(
        &self,
        model: &mut Self::Model,
        step: &[usize],
        micro: &[usize],
        stats: &mut Stats,
    ) -> candle_core::Result<()> {
        let (batch, targets, chosen) = pairs(micro.iter().map(|i| &self.examples[*i]));
        stats.tokens += batch.tokens() as u64;
        let weight = 1.0 / step.len() as f64;
        model.accumulate(&batch, &targets, &mut |pair, logprobs| {
            let policy = sums(logprobs, chosen[pair].len());
            let at = micro[pair];
            let tokens = self.examples[at].response_tokens();
            let loss = self.objective.of_pair(policy, self.reference[at], tokens);
            stats.loss += loss.loss * weight;
            for (tag, value) in [
                ("rewards/chosen", loss.chosen_reward),
                ("rewards/rejected", loss.rejected_reward),
                (
                    "rewards/accuracies",
                    f64::from(u8::from(loss.margin() > 0.0)),
                ),
                ("rewards/margins", loss.margin()),
                ("logps/chosen", policy.chosen),
                ("logps/rejected", policy.rejected),
            ] {
                stats.add(tag, value * weight);
            }
            let [of_chosen, of_rejected] =
                [loss.d_chosen, loss.d_rejected].map(|d| (d * weight) as f32);
            (0..logprobs.len())
                .map(|i| match chosen[pair].contains(&i) {
                    true => of_chosen,
                    false => of_rejected,
                })
                .collect()
        })?;
        Ok(())
    }

    fn set_loss_scale(model: &mut Self::Model, scale: f32) {
        model.set_loss_scale(scale);
    }

    fn held_out_tags(&self) -> &'static [&'static str] {
        match self.held_out.0 {
            [] => &[],
            _ => &["loss", "rewards/accuracies", "rewards/margins"],
        }
    }

    fn held_out(&self, model: &Self::Model) -> Result<Vec<(&'static str, f64)>, Error> {
        let (pairs, reference) = self.held_out;
        Ok(evaluate(model, pairs, reference, &self.objective)?.tags())
    }

    fn policy(model: &Self::Model) -> Option<&dyn CausalLm> {
        Some(model)
    }
}

/// Trains on pairs, with the model at the start (without its adapters) as the reference, and
/// evaluates on the held-out pairs before and after. The reference's log-probabilities are taken
/// from the folder `cache` where it has them, and left there.
///
/// Held-out numbers are logged as `eval/loss`, `eval/rewards/accuracies` and
/// `eval/rewards/margins`.
///
/// # Errors
/// No pairs, a loss that is not finite, or a checkpoint that cannot be read or written.
pub fn train(
    model: &mut dyn CausalLm,
    examples: &[Pair],
    held_out: &[Pair],
    training: &Training,
    dpo: &Dpo,
    run: &mut Run,
    cache: Option<&Path>,
) -> Result<Outcome, Error> {
    if examples.is_empty() {
        return Err(Error::NoExamples {
            trainer: Preferences::NAME,
        });
    }
    let Some([reference, held_out_reference]) =
        reference(model, [examples, held_out], dpo, run, cache)?
    else {
        return Ok(Outcome::interrupted());
    };
    let log = |run: &mut Run, step: u64, e: &Evaluation| {
        if e.pairs > 0 {
            run.tracker.log(step, &e.tags());
        }
    };
    let objective = Objective::of(dpo);
    let before = match dpo.reference_free {
        true => evaluate(model, held_out, &held_out_reference, &objective)?,
        false => {
            let start: Vec<PairLoss> = held_out_reference
                .iter()
                .zip(held_out)
                .map(|(r, pair)| objective.of_pair(*r, *r, pair.response_tokens()))
                .collect();
            Evaluation::of(&start)
        }
    };
    log(run, 0, &before);
    let task = Preferences {
        examples,
        reference: &reference,
        objective,
        held_out: (held_out, &held_out_reference),
    };
    let outcome = super::train::<Preferences>(model, &task, training, run)?;
    // Where it was interrupted there is no end to be judged, and a run that goes on logs no such row.
    let after = match outcome.interrupted {
        true => Evaluation::of(&[]),
        false => evaluate(model, held_out, &held_out_reference, &objective)?,
    };
    log(run, outcome.steps, &after);
    Ok(Outcome {
        training: outcome,
        before,
        after,
    })
}

/// The reference's log-probabilities of some parts: from the cache, or computed and left there.
/// None where the run was interrupted meanwhile.
fn reference<const N: usize>(
    model: &mut dyn CausalLm,
    parts: [&[Pair]; N],
    dpo: &Dpo,
    run: &mut Run,
    cache: Option<&Path>,
) -> Result<Option<[Vec<PairLogprobs>; N]>, Error> {
    let mut all = parts.map(|part| vec![PairLogprobs::default(); part.len()]);
    if dpo.reference_free {
        return Ok(Some(all));
    }
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let stage = "reference log-probabilities";
    run.tracker.stage(stage, total as u64, "pairs");
    let mut before = 0;
    for (part, found) in parts.into_iter().zip(&mut all) {
        let stored = match cache {
            Some(folder) => Some(Stored::of(folder, model, part)?),
            None => None,
        };
        *found = match stored.as_ref().and_then(Stored::read) {
            Some(known) => known,
            None => {
                let computed = with_reference(model, |model| {
                    logprobs(model, part, &mut |done| {
                        run.tracker.progress((before + done) as u64);
                        !run.interrupt.load(Ordering::Relaxed)
                    })
                })?;
                if computed.len() < part.len() {
                    return Ok(None);
                }
                if let Some(Err(error)) = stored.map(|stored| stored.write(&computed)) {
                    let message = format!("the {stage} could not be kept for later: {error}");
                    run.tracker.warn(&message);
                }
                computed
            }
        };
        before += part.len();
        run.tracker.progress(before as u64);
    }
    Ok(Some(all))
}

/// Trains on pairs against the log-probabilities of any reference, in the order of `examples`.
///
/// # Errors
/// As for [`train`].
pub fn train_against(
    model: &mut dyn CausalLm,
    examples: &[Pair],
    reference: &[PairLogprobs],
    training: &Training,
    dpo: &Dpo,
    run: &mut Run,
) -> Result<super::Outcome, Error> {
    assert_eq!(
        examples.len(),
        reference.len(),
        "one reference for each pair"
    );
    super::train::<Preferences>(
        model,
        &Preferences {
            examples,
            reference,
            objective: Objective::of(dpo),
            held_out: (&[], &[]),
        },
        training,
        run,
    )
}
