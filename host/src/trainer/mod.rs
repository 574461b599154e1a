//! The loops that change a model: supervised warm-up, preference optimisation, reward models,
//! policy gradients.
//!
//! A trainer takes tokenised examples, settings and a seed, changes the model in place, and tells
//! a [`Tracker`] what happens. It prints nothing and opens no files but checkpoints. Everything
//! random follows from the seed: equal runs give equal bytes, and a run continued from a
//! checkpoint gives those of the run that was never interrupted.

pub mod checkpoint;
pub mod dpo;
pub mod grpo;
pub mod loss_scale;
pub mod minibatch;
pub mod on_policy;
pub mod optimizer;
pub mod ppo;
pub mod reward_model;
pub mod sft;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::training::Training;
use crate::models::{CausalLm, Model, weights};
use crate::random::{Purpose, Stream};
use crate::tracking::Tracker;
use checkpoint::{Keeper, State};
use loss_scale::LossScale;
use optimizer::{AdamW, LearningRate};

pub use minibatch::{Demonstration, Pair};

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{trainer}: no training examples")]
    NoExamples { trainer: &'static str },
    #[error("{trainer}: {what} is {value} at step {step}")]
    NotFinite {
        trainer: &'static str,
        what: &'static str,
        value: f64,
        step: u64,
    },
    #[error(
        "{trainer}: {count} batches in a row could not be learned from, the last one at step {step}: {reason}"
    )]
    BadBatches {
        trainer: &'static str,
        count: u64,
        step: u64,
        reason: String,
    },
    #[error(
        "{trainer}: `training.metric_for_best_model` is `{metric}`, which nothing has; there are {known}"
    )]
    NoSuchMetric {
        trainer: &'static str,
        metric: String,
        known: String,
    },
    #[error("{trainer}: the held-out number `{metric}`: {reason}")]
    NotJudged {
        trainer: &'static str,
        metric: String,
        reason: String,
    },
    #[error("checkpoint `{}` belongs to another run: {message}", .folder.display())]
    OtherRun { folder: PathBuf, message: String },
    #[error("checkpoint `{}`: {message}", .folder.display())]
    BrokenCheckpoint { folder: PathBuf, message: String },
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error("{doing}: {source}")]
    Tensor {
        doing: String,
        source: candle_core::Error,
    },
}

impl Error {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFinite { .. } | Self::BadBatches { .. } => {
                Some("a lower `training.learning_rate` or `training.max_grad_norm` may help".into())
            }
            Self::OtherRun { .. } => Some(
                "resume with the settings, data and seed that the checkpoint was made with".into(),
            ),
            Self::BrokenCheckpoint { .. } => Some(
                "`--resume auto` takes the newest checkpoint that is whole; an earlier one can be named"
                    .into(),
            ),
            Self::NoSuchMetric { .. } => {
                Some("names are those of `metrics.jsonl`; see --metric-for-best-model".into())
            }
            Self::Weights(error) => error.hint(),
            Self::NoExamples { .. } | Self::NotJudged { .. } | Self::Tensor { .. } => None,
        }
    }
}

/// Says what was being done when a tensor operation failed.
pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(candle_core::Error) -> Error {
    move |source| Error::Tensor {
        doing: what.into(),
        source,
    }
}

/// What a run hands to each of its trainers.
pub struct Run<'a> {
    /// Decides everything random.
    pub seed: u64,
    /// When it becomes true, training stops after the step at hand, with a checkpoint.
    pub interrupt: &'a AtomicBool,
    /// Hears the numbers of every step.
    pub tracker: &'a mut dyn Tracker,
    /// Where checkpoints go; none are written without it.
    pub checkpoints: Option<Checkpoints<'a>>,
}

/// Where checkpoints go and come from.
pub struct Checkpoints<'a> {
    /// `checkpoint-N` folders are made here.
    pub folder: &'a Path,
    /// A checkpoint to continue from.
    pub resume: Option<PathBuf>,
    /// Adds files to each checkpoint (the tokenizer's), so that it is a whole model folder.
    pub extras: &'a dyn Fn(&Path) -> io::Result<()>,
    /// Judges the policy on what it is not trained on.
    pub judge: Option<&'a dyn Judge>,
}

/// Finds numbers of the policy on held-out examples that the trainer knows nothing of.
pub trait Judge {
    /// Their names, under which `training.metric_for_best_model` has them.
    fn tags(&self) -> Vec<&str>;

    /// Steps between two judgements in the middle of a training, given those of an epoch; none:
    /// only where a number decides which checkpoint is the best.
    fn every(&self, steps_per_epoch: u64) -> Option<u64>;

    /// The numbers in the order of their names, or why there is none.
    ///
    /// # Errors
    /// The policy can't be judged at all.
    fn judge(&self, policy: &dyn CausalLm) -> Result<Vec<Result<f64, String>>, String>;
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Optimizer steps done, those before a resumed checkpoint included.
    pub steps: u64,
    /// Whether it was interrupted before its last step.
    pub interrupted: bool,
    /// Loss of the last step; NaN if there was none.
    pub final_loss: f64,
    /// Tokens trained on, prompts included.
    pub tokens: u64,
    /// Steps whose gradients overflowed in f16 and that were left out.
    pub skipped: u64,
}

/// One kind of training, as the common loop sees it.
trait Task {
    /// What is trained.
    type Model: Model + ?Sized;

    /// The trainer's name: in messages, in the tracker's stage, in checkpoints.
    const NAME: &'static str;

    /// What a person reads beside the progress bar.
    const STAGE: &'static str;

    /// Number of examples.
    fn len(&self) -> usize;

    /// Adds the gradients of the examples `micro`, a part of `step`'s: the loss is a mean over
    /// all of `step`, so that micro-batches add up to the large batch.
    fn accumulate(
        &self,
        model: &mut Self::Model,
        step: &[usize],
        micro: &[usize],
        stats: &mut Stats,
    ) -> candle_core::Result<()>;

    /// Multiplies the gradients that follow: with half-precision activations small ones would
    /// become zero.
    fn set_loss_scale(model: &mut Self::Model, scale: f32);

    /// Numbers on held-out examples that [`Task::held_out`] can find.
    fn held_out_tags(&self) -> &'static [&'static str] {
        &[]
    }

    /// Numbers on held-out examples under their tags, `eval/…`.
    fn held_out(&self, _model: &Self::Model) -> Result<Vec<(&'static str, f64)>, Error> {
        Ok(Vec::new())
    }

    /// The model, where somebody else can judge it.
    fn policy(_model: &Self::Model) -> Option<&dyn CausalLm> {
        None
    }
}

/// What judges the policy, as far as the trainer can't itself.
fn judged<'a>(run: &Run<'a>) -> Option<&'a dyn Judge> {
    run.checkpoints.as_ref().and_then(|c| c.judge)
}

/// Numbers of one step, summed over its micro-batches.
#[derive(Debug, Default)]
struct Stats {
    /// The optimizer step at hand, counted from 1.
    number: u64,
    loss: f64,
    tokens: u64,
    /// Further numbers under their tags; each is already divided by what it is a mean over.
    means: Vec<(&'static str, f64)>,
}

impl Stats {
    fn add(&mut self, tag: &'static str, value: f64) {
        match self.means.iter_mut().find(|(t, _)| *t == tag) {
            Some((_, sum)) => *sum += value,
            None => self.means.push((tag, value)),
        }
    }
}

/// How many optimizer steps a training has, and which examples each takes.
struct Plan {
    examples: usize,
    per_step: usize,
    steps_per_epoch: usize,
    steps: u64,
    seed: u64,
}

impl Plan {
    fn new(examples: usize, training: &Training, seed: u64) -> Self {
        let per_step = training.batch_size.max(1) * training.gradient_accumulation_steps.max(1);
        Self::of(examples, per_step, training, seed)
    }

    /// A plan whose steps take `per_step` examples each.
    fn of(examples: usize, per_step: usize, training: &Training, seed: u64) -> Self {
        let steps_per_epoch = examples.div_ceil(per_step);
        let all = (training.epochs as u64).saturating_mul(steps_per_epoch as u64);
        let steps = if training.steps > 0 {
            all.min(training.steps as u64)
        } else {
            all
        };
        Self {
            examples,
            per_step,
            steps_per_epoch,
            steps,
            seed,
        }
    }

    /// Examples of step `step`, counted from 0. Each epoch has an order of its own.
    fn examples(&self, step: u64) -> Vec<usize> {
        let (epoch, within) = (
            step / self.steps_per_epoch as u64,
            step as usize % self.steps_per_epoch,
        );
        let order = Stream::new(self.seed, Purpose::Shuffle, epoch, 0).permutation(self.examples);
        let start = within * self.per_step;
        order[start..(start + self.per_step).min(self.examples)].to_vec()
    }
}

/// Optimizer steps of a training on `examples`, of which each step takes `per_step`: what `epochs`
/// and `steps` say, whichever ends first. For PPO, GRPO and RLOO, batches of responses.
pub fn steps(examples: usize, per_step: usize, training: &Training) -> u64 {
    Plan::of(examples, per_step.max(1), training, 0).steps
}

/// The loop that all trainers share.
fn train<T: Task>(
    model: &mut T::Model,
    task: &T,
    training: &Training,
    run: &mut Run,
) -> Result<Outcome, Error> {
    let loss_scale = LossScale::of(model.backbone().compute());
    train_scaled(model, task, training, run, loss_scale)
}

fn train_scaled<T: Task>(
    model: &mut T::Model,
    task: &T,
    training: &Training,
    run: &mut Run,
    loss_scale: Option<LossScale>,
) -> Result<Outcome, Error> {
    let plan = Plan::new(task.len(), training, run.seed);
    if plan.steps == 0 {
        return Err(Error::NoExamples { trainer: T::NAME });
    }
    let schedule = LearningRate::new(training, plan.steps);
    let fingerprint =
        checkpoint::Fingerprint::new(T::NAME, task.len(), plan.steps, run.seed, training, model);
    let mut held_out: Vec<&str> = task.held_out_tags().to_vec();
    held_out.extend(judged(run).map(Judge::tags).into_iter().flatten());
    let keeps = run.checkpoints.is_some();
    let mut keeper = Keeper::new(training, T::NAME, plan.steps, keeps, &held_out)?;
    let mut state = State {
        step: 0,
        tokens: 0,
        loss: f64::NAN,
        loss_scale,
    };
    model.train().map_err(doing("making room for gradients"))?;
    let mut optimizer =
        AdamW::new(model, training).map_err(doing("making room for the optimizer"))?;
    if let Some(folder) = run.checkpoints.as_ref().and_then(|c| c.resume.clone()) {
        let kept;
        (state, kept) = checkpoint::load(&folder, model, &mut optimizer, &fingerprint)?;
        run.resume_keeping(&mut keeper, state.step, &kept);
    }
    run.tracker.stage(T::STAGE, plan.steps, "steps");
    run.tracker.progress(state.step);
    let mut interrupted = false;
    while state.step < plan.steps {
        if run.interrupt.load(Ordering::Relaxed) {
            interrupted = true;
            break;
        }
        let learning_rate = schedule.at(state.step);
        let scale = state.loss_scale.map_or(1.0, |s| s.scale);
        T::set_loss_scale(model, scale as f32);
        let stats = one_step(
            model,
            task,
            &plan.examples(state.step),
            training,
            state.step + 1,
        )?;
        let norm = optimizer
            .step(model, learning_rate, training.max_grad_norm, scale)
            .map_err(doing(format!(
                "{}: optimizer step {}",
                T::NAME,
                state.step + 1
            )))?;
        let skipped =
            !norm.is_finite() && state.loss_scale.as_mut().is_some_and(|s| s.overflowed());
        if !skipped && !norm.is_finite() {
            return Err(Error::NotFinite {
                trainer: T::NAME,
                what: "the gradient's norm",
                value: norm,
                step: state.step + 1,
            });
        }
        if !skipped && let Some(scale) = &mut state.loss_scale {
            scale.done();
        }
        state = State {
            step: state.step + 1,
            tokens: state.tokens + stats.tokens,
            loss: stats.loss,
            loss_scale: state.loss_scale,
        };
        let mut values = vec![
            ("loss", stats.loss),
            ("grad_norm", norm),
            ("learning_rate", learning_rate),
            ("epoch", state.step as f64 / plan.steps_per_epoch as f64),
            ("num_tokens", state.tokens as f64),
        ];
        values.extend(&stats.means);
        if let Some(scale) = state.loss_scale {
            values.push(("loss_scale", scale.scale));
            values.push(("skipped_steps", scale.skipped as f64));
        }
        run.tracker.log(state.step, &values);
        keeper.observe(T::NAME, &values)?;
        let number = held_out_number(task, model, &keeper, run, &plan, state.step)?;
        run.tracker.progress(state.step);
        if keeper.is_due(state.step) {
            keeper.compare(state.step, number);
            save(run, &mut keeper, model, &optimizer, &state, &fingerprint)?;
        }
    }
    T::set_loss_scale(model, 1.0);
    // Where it was interrupted; nothing is compared, since the uninterrupted run has none here.
    save(run, &mut keeper, model, &optimizer, &state, &fingerprint)?;
    if let Some(best) = run.best_to_load(&keeper, state.step, interrupted) {
        checkpoint::restore_best(&best, model)?;
    }
    Ok(Outcome {
        steps: state.step,
        interrupted,
        final_loss: state.loss,
        tokens: state.tokens,
        skipped: state.loss_scale.map_or(0, |s| s.skipped),
    })
}

/// Writes a checkpoint where there is none of this step yet.
fn save<M: Model + ?Sized>(
    run: &mut Run,
    keeper: &mut Keeper,
    model: &M,
    optimizer: &AdamW,
    state: &State,
    fingerprint: &checkpoint::Fingerprint,
) -> Result<(), Error> {
    if !keeper.is_unsaved(state.step) {
        return Ok(());
    }
    let Some(checkpoints) = &run.checkpoints else {
        return Ok(());
    };
    let told = checkpoint::save(checkpoints, keeper, model, optimizer, state, fingerprint)?;
    told.iter().for_each(|message| run.tracker.warn(message));
    Ok(())
}

/// Judges the policy on held-out examples where that is due after a step, and logs what is found;
/// the number that decides which checkpoint is the best, where there is one. The last step's are
/// logged by whoever trains.
fn held_out_number<T: Task>(
    task: &T,
    model: &T::Model,
    keeper: &Keeper,
    run: &mut Run,
    plan: &Plan,
    step: u64,
) -> Result<Option<f64>, Error> {
    let is_due = run.is_judgement_due(plan, step);
    let wanted = keeper.wants_held_out().filter(|_| keeper.is_due(step));
    let own = wanted.is_some_and(|tag| task.held_out_tags().contains(&tag));
    let mut number = None;
    if (is_due || own) && !task.held_out_tags().is_empty() {
        let found = task.held_out(model)?;
        if step < plan.steps {
            run.tracker.log(step, &found);
        }
        let mut found = found.iter();
        number = found
            .find_map(|(tag, number)| (tag.strip_prefix("eval/") == wanted).then_some(*number));
    }
    if is_due || (wanted.is_some() && !own) {
        let judged = run.judge(T::NAME, T::policy(model), plan, step, wanted)?;
        number = number.or(judged);
    }
    Ok(number)
}

impl Run<'_> {
    /// Whether the policy is judged after a step that is not the last.
    fn is_judgement_due(&self, plan: &Plan, step: u64) -> bool {
        let every = judged(self).and_then(|judge| judge.every(plan.steps_per_epoch as u64));
        step < plan.steps && every.is_some_and(|every| step.is_multiple_of(every))
    }

    /// Asks whoever judges the policy, and logs the answers; that with the `wanted` name. Those
    /// after the last step are logged by whoever trains: by then the weights may be the best
    /// checkpoint's.
    fn judge(
        &mut self,
        trainer: &'static str,
        policy: Option<&dyn CausalLm>,
        plan: &Plan,
        step: u64,
        wanted: Option<&str>,
    ) -> Result<Option<f64>, Error> {
        let (Some(judge), Some(policy)) = (judged(self), policy) else {
            return Ok(None);
        };
        let not_judged = |metric: &str, reason: String| Error::NotJudged {
            trainer,
            metric: metric.to_owned(),
            reason,
        };
        let tags = judge.tags();
        let numbers = judge
            .judge(policy)
            .map_err(|reason| not_judged(wanted.unwrap_or("eval"), reason))?;
        let (mut values, mut number) = (Vec::new(), None);
        for (tag, found) in tags.into_iter().zip(numbers) {
            match found {
                Ok(found) => {
                    number = number.or((wanted == Some(tag)).then_some(found));
                    values.push((format!("eval/{tag}"), found));
                }
                Err(reason) if wanted == Some(tag) => return Err(not_judged(tag, reason)),
                // What can't be computed is said where all is judged, before and after.
                Err(_) => {}
            }
        }
        let values: Vec<(&str, f64)> = values.iter().map(|(t, v)| (t.as_str(), *v)).collect();
        if !values.is_empty() && step < plan.steps {
            self.tracker.log(step, &values);
        }
        Ok(number)
    }

    /// Has a keeper go on from what a checkpoint says of it.
    fn resume_keeping(&mut self, keeper: &mut Keeper, step: u64, state: &serde_json::Value) {
        let Some(checkpoints) = &self.checkpoints else {
            return;
        };
        if let Some(message) = keeper.resume(checkpoints.folder, step, state) {
            self.tracker.warn(&message);
        }
    }

    /// The checkpoint whose weights a training ends with, where they are not those at hand.
    fn best_to_load(&self, keeper: &Keeper, step: u64, interrupted: bool) -> Option<PathBuf> {
        let checkpoints = self.checkpoints.as_ref().filter(|_| !interrupted)?;
        keeper.best_to_load(checkpoints.folder, step)
    }
}

fn one_step<T: Task>(
    model: &mut T::Model,
    task: &T,
    examples: &[usize],
    training: &Training,
    number: u64,
) -> Result<Stats, Error> {
    let mut stats = Stats {
        number,
        ..Stats::default()
    };
    model.backbone_mut().begin_step(number);
    for micro in examples.chunks(training.batch_size.max(1)) {
        task.accumulate(model, examples, micro, &mut stats)
            .map_err(doing(format!(
                "{}: step {number}, {} examples",
                T::NAME,
                micro.len()
            )))?;
        if !stats.loss.is_finite() {
            return Err(Error::NotFinite {
                trainer: T::NAME,
                what: "the loss",
                value: stats.loss,
                step: number,
            });
        }
    }
    Ok(stats)
}

#[cfg(test)]
mod equal;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::dpo::Dpo;
    use crate::config::model::Lora;
    use crate::config::training::Schedule;
    use crate::models::{LanguageModel, LlamaConfig, Model};
    use crate::ops::testing::device;

    pub(super) fn model() -> LanguageModel {
        let config = LlamaConfig {
            vocab_size: 40,
            hidden_size: 32,
            intermediate_size: 48,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 8,
            max_position_embeddings: 64,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            bos_token_id: None,
            eos_token_id: vec![2],
            pad_token_id: None,
        };
        config.init(5, &device()).expect("init")
    }

    /// Copy the last prompt token twice.
    pub(super) fn demonstrations() -> Vec<Demonstration> {
        let one =
            |i: u32| Demonstration::new(&[3, 4 + i * 7 % 30, 4 + i], &[4 + i, 4 + i], Some(2), 16);
        (0..22).map(|i| one(i).expect("fits")).collect()
    }

    /// Prefer two tokens to one other, whatever the prompt.
    pub(super) fn preferences() -> Vec<Pair> {
        let one = |i: u32| Pair::new(&[3, 4 + i], &[30, 31], &[32], Some(2), 16);
        (0..22).map(|i| one(i).expect("fits")).collect()
    }

    pub(super) fn training() -> Training {
        Training {
            learning_rate: 1e-2,
            batch_size: 4,
            epochs: 10,
            schedule: Schedule::Cosine,
            ..Training::default()
        }
    }

    /// Remembers what it hears, and raises the interrupt at a step.
    pub(super) struct Recorder<'a> {
        pub losses: Vec<f64>,
        tags: Vec<String>,
        interrupt: &'a AtomicBool,
        at: u64,
    }

    impl<'a> Recorder<'a> {
        pub fn new(interrupt: &'a AtomicBool) -> Self {
            Self {
                losses: Vec::new(),
                tags: Vec::new(),
                interrupt,
                at: u64::MAX,
            }
        }
    }

    impl Tracker for Recorder<'_> {
        fn stage(&mut self, _name: &str, _total: u64, _unit: &str) {}
        fn progress(&mut self, _done: u64) {}
        fn log(&mut self, step: u64, values: &[(&str, f64)]) {
            self.losses.extend(
                values
                    .iter()
                    .filter(|(tag, _)| *tag == "loss")
                    .map(|(_, v)| *v),
            );
            self.tags = values.iter().map(|(tag, _)| (*tag).to_owned()).collect();
            if step == self.at {
                self.interrupt.store(true, Ordering::Relaxed);
            }
        }
        fn warn(&mut self, _message: &str) {}
    }

    pub(super) fn bits(model: &LanguageModel) -> Vec<u32> {
        let values = |t: &candle_core::Tensor| {
            t.flatten_all()
                .and_then(|t| t.to_vec1::<f32>())
                .expect("f32")
        };
        model
            .parameters()
            .iter()
            .flat_map(|p| values(&p.value))
            .map(f32::to_bits)
            .collect()
    }

    /// Trains a fresh model on demonstrations; its losses and weights.
    fn warm_up(
        training: &Training,
        checkpoints: Option<Checkpoints>,
        stop_at: u64,
    ) -> (Vec<f64>, Vec<u32>, Outcome) {
        let interrupt = AtomicBool::new(false);
        let mut tracker = Recorder {
            at: stop_at,
            ..Recorder::new(&interrupt)
        };
        let mut model = model();
        let mut run = Run {
            seed: 3,
            interrupt: &interrupt,
            tracker: &mut tracker,
            checkpoints,
        };
        let outcome =
            sft::train(&mut model, &demonstrations(), training, &mut run).expect("trains");
        (tracker.losses, bits(&model), outcome)
    }

    // Would catch training that does not learn, and two equal runs that differ in a bit.
    #[test]
    fn warm_up_learns_and_repeats() {
        let (losses, weights, outcome) = warm_up(&training(), None, u64::MAX);
        assert_eq!(
            (losses.len(), outcome.steps, outcome.interrupted),
            (60, 60, false)
        );
        assert!(losses[0] > 3.0 && outcome.final_loss < 1.2, "{losses:?}");
        assert_eq!(weights, warm_up(&training(), None, u64::MAX).1);
    }

    // Would catch a mean taken per micro-batch. 1e-6: f32 sums in another order.
    #[test]
    fn accumulation_equals_the_large_batch() {
        let large = warm_up(&training(), None, u64::MAX).0;
        let small = Training {
            batch_size: 1,
            gradient_accumulation_steps: 4,
            ..training()
        };
        let small = warm_up(&small, None, u64::MAX).0;
        assert!((large[0] - small[0]).abs() < 1e-6 && (large[1] - small[1]).abs() < 1e-5);
        for (a, b) in large.iter().zip(&small) {
            assert!((a - b).abs() < 1e-2 * a.max(0.1), "{a} {b}");
        }
    }

    // Would catch gradients that are means of micro-batches where examples differ in length: those
    // of eight micro-batches are the large batch's. 1e-6 of their norm: f32 sums in another order.
    #[test]
    fn accumulated_gradients_are_the_large_batchs() {
        let one = |i: u32| {
            let response: Vec<u32> = (0..1 + i % 5).map(|at| 4 + at + i).collect();
            Demonstration::new(&[3, 4 + i], &response, Some(2), 16).expect("fits")
        };
        let examples: Vec<Demonstration> = (0..8).map(one).collect();
        let gradients = |batch_size| {
            let mut model = model();
            model.train().expect("room");
            let settings = Training {
                batch_size,
                ..training()
            };
            let task = sft::Supervised(&examples);
            let all: Vec<usize> = (0..examples.len()).collect();
            let policy: &mut dyn crate::models::CausalLm = &mut model;
            one_step(policy, &task, &all, &settings, 1).expect("a step");
            let flat = |p: &&crate::models::Parameter| {
                let gradient = p.gradient.as_ref().expect("trained").flatten_all();
                gradient.and_then(|g| g.to_vec1::<f32>()).expect("f32")
            };
            model.trainable().iter().flat_map(flat).collect::<Vec<_>>()
        };
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let large = gradients(8);
        let whole = norm(&mut large.iter().map(|x| f64::from(*x)));
        for batch_size in [1, 3] {
            let small = gradients(batch_size);
            let pairs = large.iter().zip(&small);
            let apart = norm(&mut pairs.map(|(a, b)| f64::from(a - b)));
            assert!(
                whole > 0.1 && apart < 1e-6 * whole,
                "{batch_size}: {apart} of {whole}"
            );
        }
    }

    // Would catch any state that a checkpoint forgets: the continued run must give the same bits.
    #[test]
    fn a_resumed_run_is_the_same() {
        let (losses, weights, _) = warm_up(&training(), None, u64::MAX);
        let root = tempfile::tempdir().expect("temporary folder");
        let extras = |folder: &Path| std::fs::write(folder.join("tokenizer.json"), "{}");
        let checkpoints = |resume| {
            Some(Checkpoints {
                folder: root.path(),
                resume,
                extras: &extras,
                judge: None,
            })
        };
        let (first, _, outcome) = warm_up(&training(), checkpoints(None), 17);
        assert_eq!((outcome.steps, outcome.interrupted), (17, true));
        let folder = checkpoint::latest(root.path()).expect("a checkpoint");
        assert!(folder.ends_with("checkpoint-17") && folder.join("tokenizer.json").is_file());
        let (second, resumed, outcome) = warm_up(&training(), checkpoints(Some(folder)), u64::MAX);
        assert_eq!((outcome.steps, outcome.interrupted), (60, false));
        assert_eq!([first, second].concat(), losses);
        assert_eq!(resumed, weights);
    }

    // Would catch adapters or their dropout that a checkpoint forgets, weights below them that
    // move, and a run with other adapters that is taken for this one.
    #[test]
    fn a_resumed_run_with_adapters_is_the_same() {
        let lora = |dropout| Lora {
            rank: 8,
            dropout,
            ..Lora::default()
        };
        let root = tempfile::tempdir().expect("temporary folder");
        let run = |resume: Option<PathBuf>, stop_at: u64, lora: Lora| {
            let interrupt = AtomicBool::new(false);
            let mut tracker = Recorder {
                at: stop_at,
                ..Recorder::new(&interrupt)
            };
            // Adapters need something to build on: the frozen head of random weights says little.
            let mut model = model();
            let settings = Training {
                steps: 20,
                ..training()
            };
            let mut unheard = Recorder::new(&interrupt);
            let mut run = Run {
                seed: 4,
                interrupt: &interrupt,
                tracker: &mut unheard,
                checkpoints: None,
            };
            sft::train(&mut model, &demonstrations(), &settings, &mut run).expect("trains");
            let before = bits(&model);
            model.freeze();
            model.add_adapters(&lora, 9).expect("fits");
            let mut run = Run {
                seed: 3,
                interrupt: &interrupt,
                tracker: &mut tracker,
                checkpoints: Some(Checkpoints {
                    folder: root.path(),
                    resume,
                    extras: &|_| Ok(()),
                    judge: None,
                }),
            };
            sft::train(&mut model, &demonstrations(), &training(), &mut run)?;
            let after = bits(&model);
            assert_eq!(after[..before.len()], before);
            Ok::<_, Error>((tracker.losses, after))
        };
        let (losses, weights) = run(None, u64::MAX, lora(0.2)).expect("trains");
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (start, end) = (mean(&losses[..10]), mean(&losses[50..]));
        assert!(end < 0.95 * start, "{losses:?}");
        let (first, _) = run(None, 17, lora(0.2)).expect("trains");
        let folder = root.path().join("checkpoint-17");
        let (second, resumed) = run(Some(folder.clone()), u64::MAX, lora(0.2)).expect("trains");
        assert_eq!([first, second].concat(), losses);
        assert_eq!(resumed, weights);
        let refused = run(Some(folder), u64::MAX, lora(0.1)).expect_err("refused");
        assert!(
            refused.to_string().contains("lora.dropout is 0.2 there"),
            "{refused}"
        );
    }

    // Would catch an overflow that is trained on, a scale that reaches the optimizer, and a
    // moment that a step left out has changed. f16: the losses follow those of f32 to 1e-2.
    #[test]
    fn steps_that_overflow_are_left_out() {
        let interrupt = AtomicBool::new(false);
        let mut tracker = Recorder::new(&interrupt);
        let mut model = model();
        model.backbone_mut().set_compute(candle_core::DType::F16);
        let mut run = Run {
            seed: 3,
            interrupt: &interrupt,
            tracker: &mut tracker,
            checkpoints: None,
        };
        let settings = Training {
            schedule: Schedule::Constant,
            warmup_ratio: 0.0,
            ..training()
        };
        let scale = LossScale {
            scale: 2f64.powi(24),
            steps: 0,
            skipped: 0,
        };
        let demonstrations = demonstrations();
        let task = sft::Supervised(&demonstrations);
        let outcome = crate::ops::without_fused_kernels(|| {
            train_scaled::<sft::Supervised>(&mut model, &task, &settings, &mut run, Some(scale))
                .expect("trains")
        });
        let skipped = outcome.skipped as usize;
        assert!((2..20).contains(&skipped), "{skipped} steps left out");
        assert!(tracker.tags.contains(&"skipped_steps".to_owned()));
        assert!(outcome.final_loss < 1.5, "{}", outcome.final_loss);
        // Steps that were left out leave the weights alone: their examples' losses are the start's.
        assert!(tracker.losses[..skipped].iter().all(|loss| *loss > 3.0));
    }

    // Would catch a checkpoint of another run that is taken for this one's.
    #[test]
    fn another_runs_checkpoint_is_refused() {
        let root = tempfile::tempdir().expect("temporary folder");
        let checkpoints = |resume| {
            Some(Checkpoints {
                folder: root.path(),
                resume,
                extras: &|_| Ok(()),
                judge: None,
            })
        };
        warm_up(&training(), checkpoints(None), 2);
        let folder = checkpoint::latest(root.path()).expect("a checkpoint");
        let refused = |training: &Training, folder: &Path| {
            let interrupt = AtomicBool::new(false);
            let mut tracker = Recorder::new(&interrupt);
            let checkpoints = checkpoints(Some(folder.to_owned()));
            let mut run = Run {
                seed: 3,
                interrupt: &interrupt,
                tracker: &mut tracker,
                checkpoints,
            };
            sft::train(&mut model(), &demonstrations(), training, &mut run).expect_err("refused")
        };
        let other = refused(
            &Training {
                learning_rate: 0.5,
                ..training()
            },
            &folder,
        );
        assert!(
            other
                .to_string()
                .ends_with("training.learning_rate is 0.01 there and 0.5 here"),
            "{other}"
        );
        std::fs::remove_file(folder.join("optimizer.safetensors")).expect("remove");
        let broken = refused(&training(), &folder);
        assert!(
            broken.to_string().contains("optimizer.safetensors"),
            "{broken}"
        );
        let missing = refused(&training(), &root.path().join("checkpoint-99"));
        assert!(
            missing.to_string().contains("trainer_state.json"),
            "{missing}"
        );
    }

    // Would catch preferences that are not learnt, a reference that moves, and missing tags.
    #[test]
    fn preferences_are_learnt() {
        let interrupt = AtomicBool::new(false);
        let mut tracker = Recorder::new(&interrupt);
        let mut model = model();
        let (train, held_out) = (&preferences()[..16], &preferences()[16..]);
        let mut run = Run {
            seed: 3,
            interrupt: &interrupt,
            tracker: &mut tracker,
            checkpoints: None,
        };
        let training = Training {
            learning_rate: 2e-3,
            ..training()
        };
        let outcome = dpo::train(
            &mut model,
            train,
            held_out,
            &training,
            &Dpo::default(),
            &mut run,
            None,
        )
        .expect("trains");
        assert_eq!(
            (
                outcome.before.pairs,
                outcome.before.accuracy,
                outcome.before.margin
            ),
            (6, 0.5, 0.0)
        );
        assert_eq!(outcome.before.loss, 2f64.ln());
        assert!(
            outcome.after.accuracy > 0.9 && outcome.after.loss < 0.5,
            "{:?}",
            outcome.after
        );
        assert!(
            (tracker.losses[0] - 2f64.ln()).abs() < 1e-5,
            "{}",
            tracker.losses[0]
        );
        assert_eq!(tracker.losses.len() as u64, outcome.training.steps);
    }

    // Would catch a tag that dashboards do not know.
    #[test]
    fn steps_are_logged_under_trls_names() {
        let interrupt = AtomicBool::new(false);
        let mut tracker = Recorder::new(&interrupt);
        let mut run = Run {
            seed: 3,
            interrupt: &interrupt,
            tracker: &mut tracker,
            checkpoints: None,
        };
        let training = Training {
            steps: 2,
            ..training()
        };
        dpo::train(
            &mut model(),
            &preferences(),
            &[],
            &training,
            &Dpo::default(),
            &mut run,
            None,
        )
        .expect("trains");
        let expected = [
            "loss",
            "grad_norm",
            "learning_rate",
            "epoch",
            "num_tokens",
            "rewards/chosen",
            "rewards/rejected",
            "rewards/accuracies",
            "rewards/margins",
            "logps/chosen",
            "logps/rejected",
        ];
        assert_eq!(tracker.tags, expected);
    }
}
