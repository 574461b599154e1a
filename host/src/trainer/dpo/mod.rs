//! Direct Preference Optimization: the policy learns from pairs of responses directly, held to
//! the reference by the loss itself.
//!
//! The reference is the model as it is at the start, or without its adapters where it has some.
//! Its log-probabilities are computed once, before the first step: no second model is kept. A pair's prompt is computed once for both of
//! its responses, and the loss of a pair turns into gradients while its logits are at hand.

pub mod loss;

use std::sync::atomic::Ordering;

use super::minibatch::{Pair, pairs};
use super::{Error, Run, Stats, Task, doing};
use crate::config::dpo::Dpo;
use crate::config::training::Training;
use crate::models::{CausalLm, with_reference};
use loss::{PairLogprobs, PairLoss, sigmoid};

/// Pairs whose log-probabilities are computed at once where nothing is trained.
const EVALUATION_PAIRS: usize = 8;

/// How a preference training ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps, interruption, loss.
    pub training: super::Outcome,
    /// On the held-out pairs before the first step.
    pub before: Evaluation,
    /// On the held-out pairs after the last step.
    pub after: Evaluation,
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
    beta: f64,
) -> Result<Evaluation, Error> {
    let policy = logprobs(model, examples, &mut |_| true)?;
    let losses: Vec<PairLoss> = policy
        .iter()
        .zip(reference)
        .map(|(p, r)| sigmoid(*p, *r, beta))
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
    beta: f64,
}

impl Task for Preferences<'_> {
    const NAME: &'static str = "dpo";
    const STAGE: &'static str = "dpo";

    fn len(&self) -> usize {
        self.examples.len()
    }

    fn accumulate(
        &self,
        model: &mut dyn CausalLm,
        step: &[usize],
        micro: &[usize],
        stats: &mut Stats,
    ) -> candle_core::Result<()> {
        let (batch, targets, chosen) = pairs(micro.iter().map(|i| &self.examples[*i]));
        stats.tokens += batch.tokens() as u64;
        let weight = 1.0 / step.len() as f64;
        model.accumulate(&batch, &targets, &mut |pair, logprobs| {
            let policy = sums(logprobs, chosen[pair].len());
            let loss = sigmoid(policy, self.reference[micro[pair]], self.beta);
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
            let d = (loss.d_chosen * weight) as f32;
            (0..logprobs.len())
                .map(|i| if chosen[pair].contains(&i) { d } else { -d })
                .collect()
        })
    }
}

/// Trains on pairs, with the model at the start (without its adapters) as the reference, and
/// evaluates on the held-out pairs before and after.
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
) -> Result<Outcome, Error> {
    if examples.is_empty() {
        return Err(Error::NoExamples {
            trainer: Preferences::NAME,
        });
    }
    let total = examples.len() + held_out.len();
    run.tracker
        .stage("reference log-probabilities", total as u64, "pairs");
    let mut reference_of = |part: &[Pair], before: usize| {
        with_reference(model, |model| {
            logprobs(model, part, &mut |done| {
                run.tracker.progress((before + done) as u64);
                !run.interrupt.load(Ordering::Relaxed)
            })
        })
    };
    let reference = reference_of(examples, 0)?;
    let held_out_reference = reference_of(held_out, examples.len())?;
    if reference.len() + held_out_reference.len() < total {
        let none = Evaluation::of(&[]);
        let outcome = super::Outcome {
            steps: 0,
            interrupted: true,
            final_loss: f64::NAN,
            tokens: 0,
            skipped: 0,
        };
        return Ok(Outcome {
            training: outcome,
            before: none,
            after: none,
        });
    }
    run.tracker.progress(total as u64);
    let log = |run: &mut Run, step: u64, e: &Evaluation| {
        if e.pairs > 0 {
            run.tracker.log(
                step,
                &[
                    ("eval/loss", e.loss),
                    ("eval/rewards/accuracies", e.accuracy),
                    ("eval/rewards/margins", e.margin),
                ],
            );
        }
    };
    let start: Vec<PairLoss> = held_out_reference
        .iter()
        .map(|r| sigmoid(*r, *r, dpo.beta))
        .collect();
    let before = Evaluation::of(&start);
    log(run, 0, &before);
    let outcome = train_against(model, examples, &reference, training, dpo, run)?;
    let after = evaluate(model, held_out, &held_out_reference, dpo.beta)?;
    log(run, outcome.steps, &after);
    Ok(Outcome {
        training: outcome,
        before,
        after,
    })
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
    super::train(
        model,
        &Preferences {
            examples,
            reference,
            beta: dpo.beta,
        },
        training,
        run,
    )
}
