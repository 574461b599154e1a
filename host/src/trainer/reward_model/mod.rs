//! The reward model: learns from people's preferences and ratings what a response is worth.
//!
//! Pairs are trained by the Bradley-Terry loss, ratings by regression. Where feedback carries
//! human logits, the model meets them in its states (see [`crate::models::HumanLogits`]); part of
//! them is hidden in training, for a rollout will have none. Everything of a step is a mean over
//! its examples, so that micro-batches add up to the large batch.

pub mod loss;

use super::{Error, Outcome, Run, Stats, Task, doing};
use crate::config::RewardModel;
use crate::config::training::Training;
use crate::models::{Model, Packed, Said, Scorer};
use crate::random::{Purpose, Stream};
use loss::{Slope, bradley_terry, centring, regression};

/// The training's name as the tracker hears it.
pub const STAGE: &str = "reward model";

/// Examples whose scores are computed at once where nothing is trained.
const EVALUATION_EXAMPLES: usize = 8;

/// A prompt and a response as the model reads them, and what people said about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// Token ids, one or more.
    pub ids: Vec<u32>,
    /// Raw scores that people gave; none where nobody was asked.
    pub human_logits: Option<Vec<f32>>,
}

/// What the model learns from.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// Two responses to a prompt, of which people preferred one.
    Pair {
        chosen: Text,
        rejected: Text,
        /// By how much the chosen score must lead; 0 or more.
        margin: f64,
    },
    /// A response and its rating, normalised to mean 0 and deviation 1.
    Rating { text: Text, rating: f64 },
}

impl Example {
    fn texts(&self) -> Vec<&Text> {
        match self {
            Self::Pair {
                chosen, rejected, ..
            } => vec![chosen, rejected],
            Self::Rating { text, .. } => vec![text],
        }
    }

    /// Loss by the scores of its texts.
    fn loss(&self, scores: &[f64], centre: f64) -> Slope {
        match (self, scores) {
            (Self::Pair { margin, .. }, [chosen, rejected]) => {
                bradley_terry(*chosen, *rejected, *margin) + centring(*chosen, *rejected, centre)
            }
            (Self::Rating { rating, .. }, [score]) => regression(*score, *rating),
            _ => unreachable!("a score for each text"),
        }
    }
}

/// The examples as one batch, and the token that stands for each of their texts, in order.
fn batch<'a>(model: &Scorer, examples: impl Iterator<Item = &'a Example>) -> (Packed, Vec<u32>) {
    let mut batch = Packed::default();
    for example in examples {
        match (example, model.backbone().spec().causal()) {
            // What both responses begin with, their prompt as a rule, is computed once.
            (
                Example::Pair {
                    chosen, rejected, ..
                },
                true,
            ) => {
                let (a, b) = (&chosen.ids, &rejected.ids);
                let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
                if common == 0 || common == a.len().min(b.len()) {
                    batch.push(a);
                    batch.push(b);
                } else {
                    batch.push_branches(&a[..common], &[&a[common..], &b[common..]]);
                }
            }
            _ => example.texts().into_iter().for_each(|text| {
                batch.push(&text.ids);
            }),
        }
    }
    let rows = model.rows(&batch);
    (batch, rows)
}

struct Feedback<'a> {
    examples: &'a [Example],
    settings: &'a RewardModel,
    seed: u64,
}

impl Feedback<'_> {
    /// Whether training hides what people said about the texts of an example in a step.
    fn hidden(&self, step: u64, example: usize) -> bool {
        let mut stream = Stream::new(self.seed, Purpose::HumanLogits, step, example as u64);
        stream.uniform() < self.settings.human_logits_dropout
    }
}

impl Task for Feedback<'_> {
    type Model = Scorer;
    const NAME: &'static str = "reward model";
    const STAGE: &'static str = STAGE;

    fn len(&self) -> usize {
        self.examples.len()
    }

    fn accumulate(
        &self,
        model: &mut Scorer,
        step: &[usize],
        micro: &[usize],
        stats: &mut Stats,
    ) -> candle_core::Result<()> {
        let of_step = || step.iter().map(|at| &self.examples[*at]);
        let pairs = of_step()
            .filter(|e| matches!(e, Example::Pair { .. }))
            .count();
        let texts: Vec<&Text> = of_step().flat_map(Example::texts).collect();
        let told = texts.iter().filter(|t| t.human_logits.is_some()).count();
        let entropy_weight = 1.0 / told.max(1) as f64;
        let learns = model.human_logits().is_some();
        let examples: Vec<&Example> = micro.iter().map(|at| &self.examples[*at]).collect();
        let (batch, rows) = batch(model, examples.iter().copied());
        stats.tokens += batch.tokens() as u64;
        let mut said = Vec::with_capacity(rows.len());
        for (at, example) in micro.iter().zip(&examples) {
            let hidden = self.hidden(stats.number, *at);
            said.extend(example.texts().into_iter().map(|text| {
                let logits = text.human_logits.as_deref().filter(|_| learns);
                let weight = self.settings.human_logits_weight * entropy_weight;
                Said {
                    shown: logits.filter(|_| !hidden),
                    learnt: logits.map(|logits| (logits, weight as f32)),
                }
            }));
        }
        let weight = 1.0 / step.len() as f64;
        let entropies = model.accumulate_with(&batch, &rows, &said, &mut |scores| {
            let scores: Vec<f64> = scores.iter().map(|s| f64::from(*s)).collect();
            let mut gradient = Vec::with_capacity(scores.len());
            let mut rest = scores.as_slice();
            for example in &examples {
                let own;
                (own, rest) = rest.split_at(example.texts().len());
                let found = example.loss(own, self.settings.center_rewards_coefficient);
                stats.loss += found.loss * weight;
                gradient.push((found.d * weight) as f32);
                if let [chosen, rejected] = own {
                    gradient.push((found.d_rejected * weight) as f32);
                    let share = 1.0 / pairs as f64;
                    stats.add("accuracy", accuracy(chosen - rejected) * share);
                    stats.add("margin", (chosen - rejected) * share);
                } else {
                    let share = 1.0 / (step.len() - pairs) as f64;
                    stats.add("squared_error", found.loss * share);
                }
                let mean = own.iter().sum::<f64>() / own.len() as f64;
                stats.add("mean_reward", mean * weight);
            }
            gradient
        })?;
        let entropy: f64 = entropies.into_iter().flatten().sum::<f64>() * entropy_weight;
        if learns && told > 0 {
            stats.loss += self.settings.human_logits_weight * entropy;
            stats.add("human_logits/cross_entropy", entropy);
        }
        Ok(())
    }

    fn set_loss_scale(model: &mut Scorer, scale: f32) {
        model.set_loss_scale(scale);
    }
}

/// 1 for a chosen response that leads, one half where both are equal.
fn accuracy(margin: f64) -> f64 {
    match margin {
        m if m > 0.0 => 1.0,
        0.0 => 0.5,
        _ => 0.0,
    }
}

/// Scores of texts, in the order of the examples: a pair's chosen, then its rejected one. With
/// `human_logits`, what people said is shown to the model.
///
/// # Errors
/// A token beyond the vocabulary, a text beyond the context; other human logits than the model
/// knows.
pub fn scores(
    model: &Scorer,
    examples: &[Example],
    human_logits: bool,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Vec<f64>>, Error> {
    let mut all = Vec::with_capacity(examples.len());
    for chunk in examples.chunks(EVALUATION_EXAMPLES) {
        if !progress(all.len()) {
            break;
        }
        let (batch, rows) = batch(model, chunk.iter());
        let texts = chunk.iter().flat_map(Example::texts);
        let said: Vec<Said> = texts
            .map(|text| Said {
                shown: text.human_logits.as_deref().filter(|_| human_logits),
                learnt: None,
            })
            .collect();
        let found = model.scores_with(&batch, &rows, &said);
        let found = found.map_err(doing(format!("scores of {} examples", chunk.len())))?;
        let mut found = found.into_iter().map(f64::from);
        all.extend(
            chunk
                .iter()
                .map(|e| found.by_ref().take(e.texts().len()).collect()),
        );
    }
    Ok(all)
}

/// A model on examples that it was not trained on.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Mean loss of pairs and ratings.
    pub loss: f64,
    /// Of each pair: 1 where the chosen response leads, one half for equals, else 0.
    pub pairs: Vec<f64>,
    /// Mean lead of the chosen responses.
    pub margin: f64,
    /// Number of ratings.
    pub ratings: usize,
    /// Mean squared error of the normalised ratings; 0 where there are none.
    pub squared_error: f64,
}

impl Evaluation {
    /// Share of pairs whose chosen response leads; none without pairs.
    pub fn accuracy(&self) -> Option<f64> {
        let count = self.pairs.len();
        (count > 0).then(|| self.pairs.iter().sum::<f64>() / count as f64)
    }
}

/// The model's losses and accuracy on examples, with or without showing it what people said.
///
/// # Errors
/// As for [`scores`].
pub fn evaluate(
    model: &Scorer,
    examples: &[Example],
    settings: &RewardModel,
    human_logits: bool,
) -> Result<Evaluation, Error> {
    let scores = scores(model, examples, human_logits, &mut |_| true)?;
    let mut found = Evaluation::default();
    let (mut margins, mut errors) = (0.0, 0.0);
    for (example, scores) in examples.iter().zip(&scores) {
        let loss = example
            .loss(scores, settings.center_rewards_coefficient)
            .loss;
        found.loss += loss / examples.len() as f64;
        if let [chosen, rejected] = scores.as_slice() {
            found.pairs.push(accuracy(chosen - rejected));
            margins += chosen - rejected;
        } else {
            found.ratings += 1;
            errors += loss;
        }
    }
    found.margin = margins / found.pairs.len().max(1) as f64;
    found.squared_error = errors / found.ratings.max(1) as f64;
    Ok(found)
}

/// Optimizer settings of a reward model: its own numbers in the place of the policy's.
pub fn training(settings: &RewardModel, training: &Training) -> Training {
    Training {
        learning_rate: settings.learning_rate,
        batch_size: settings.batch_size,
        epochs: settings.epochs,
        steps: settings.steps,
        gradient_accumulation_steps: 1,
        // Those are about the policy's.
        metric_for_best_model: None,
        load_best_model_at_end: false,
        ..training.clone()
    }
}

/// Trains on feedback. Where some of it carries human logits and the model has no layer for them,
/// it gets one; without any, the model is the plain one.
///
/// # Errors
/// No examples, a loss that is not finite, human logits of different lengths, or a checkpoint
/// that cannot be read or written.
pub fn train(
    model: &mut Scorer,
    examples: &[Example],
    settings: &RewardModel,
    training: &Training,
    run: &mut Run,
) -> Result<Outcome, Error> {
    let texts = examples.iter().flat_map(Example::texts);
    let count = texts
        .filter_map(|t| t.human_logits.as_ref())
        .map(Vec::len)
        .next();
    if let (Some(count), None) = (count, model.human_logits()) {
        model
            .add_human_logits(count, settings.human_logits_layer, run.seed)
            .map_err(doing("making room for human logits"))?;
    }
    if let Some(layer) = model.human_logits_mut() {
        layer.joint = settings.human_logits_joint;
    }
    let seed = run.seed;
    let task = Feedback {
        examples,
        settings,
        seed,
    };
    super::train(model, &task, training, run)
}
