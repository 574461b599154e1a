//! From human feedback to a trained reward model, and how right it is on what it has not seen.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use serde::Serialize;

use super::{Error, Policy};
use crate::config::Config;
use crate::data::{self, Dataset, PreferencePair, Rating, feedback, splits};
use crate::evaluate::bootstrap;
use crate::hub;
use crate::models::scorer::HeadKind;
use crate::models::{Model, Scorer, weights};
use crate::random::{Purpose, Stream};
use crate::reward::LearnedReward;
use crate::tokenizer::Tokenizer;
use crate::tracking::Tracker;
use crate::trainer::{self, reward_model};
use reward_model::{Evaluation, Example, Text};

/// What people said, as it was read.
#[derive(Clone, Debug, Default)]
pub struct Feedback {
    pairs: Vec<PreferencePair>,
    /// File by file, for two files may rate on different scales: each rating with its normalised
    /// value.
    ratings: Vec<Vec<(Rating, f64)>>,
}

impl Feedback {
    /// The preferences and ratings of some files.
    ///
    /// # Errors
    /// There are none; rows carry human logits of different lengths.
    pub fn of(files: impl IntoIterator<Item = Dataset>) -> Result<Self, Error> {
        let mut all = Self::default();
        let mut rated = Vec::new();
        for file in files {
            all.pairs.extend(file.preferences);
            let normalised = feedback::normalised(&file.ratings);
            rated.extend(file.ratings.iter().cloned());
            let ratings = file.ratings.into_iter().zip(normalised);
            all.ratings.push(ratings.collect());
        }
        feedback::check_logits(&rated)?;
        if all.pairs.is_empty() && rated.is_empty() {
            return Err(Error::Input(
                "the human feedback has neither preferences nor ratings\nhint: a row has prompt,chosen,rejected, or prompt,response,rating[,logits]".into(),
            ));
        }
        Ok(all)
    }

    /// What there is of it, for people.
    pub fn describe(&self) -> String {
        let ratings = self.ratings.iter().map(Vec::len).sum::<usize>();
        match (self.pairs.len(), ratings) {
            (pairs, 0) => format!("{pairs} preferences"),
            (0, ratings) => format!("{ratings} ratings"),
            (pairs, ratings) => format!("{pairs} preferences and {ratings} ratings"),
        }
    }

    /// Every prompt once, in the order of the files.
    fn prompts(&self) -> Vec<String> {
        let of_ratings = self.ratings.iter().flatten();
        let all = self.pairs.iter().map(|pair| &pair.prompt);
        let mut seen = std::collections::HashSet::new();
        all.chain(of_ratings.map(|(rating, _)| &rating.prompt))
            .filter(|prompt| seen.insert(prompt.as_str()))
            .cloned()
            .collect()
    }

    /// The part whose prompts `wanted` accepts.
    fn part(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let of_file = |file: &Vec<(Rating, f64)>| {
            let wanted = file.iter().filter(|(rating, _)| wanted(&rating.prompt));
            wanted.cloned().collect()
        };
        Self {
            pairs: self
                .pairs
                .iter()
                .filter(|pair| wanted(&pair.prompt))
                .cloned()
                .collect(),
            ratings: self.ratings.iter().map(of_file).collect(),
        }
    }

    /// What is trained on and what is held out, by prompts.
    ///
    /// # Errors
    /// All feedback is about one prompt.
    pub fn hold_out(&self, fraction: f64, seed: u64) -> Result<(Self, Self), Error> {
        let (_, held_out) = splits::hold_out(self.prompts(), |prompt| prompt, fraction, seed);
        if held_out.is_empty() {
            return Err(one_prompt());
        }
        Ok(self.divide(&held_out))
    }

    /// Examples that a training on it has, before those without a token are left out.
    pub fn trained_on(&self, config: &Config) -> usize {
        let held = self.hold_out(config.data.eval_fraction, config.seed);
        let train = held.as_ref().map_or(self, |(train, _)| train);
        let of_file = |file: &Vec<(Rating, f64)>| {
            let ratings: Vec<Rating> = file.iter().map(|(rating, _)| rating.clone()).collect();
            ratings.len() + feedback::implied_comparisons(&ratings).len()
        };
        train.pairs.len() + train.ratings.iter().map(of_file).sum::<usize>()
    }

    fn divide(&self, held_out: &[String]) -> (Self, Self) {
        let held: std::collections::HashSet<&str> = held_out.iter().map(String::as_str).collect();
        (
            self.part(|prompt| !held.contains(prompt)),
            self.part(|prompt| held.contains(prompt)),
        )
    }

    /// `count` ways of holding out, such that each prompt is held out once.
    ///
    /// # Errors
    /// There are fewer prompts than folds.
    pub fn folds(&self, count: usize, seed: u64) -> Result<Vec<(Self, Self)>, Error> {
        let mut prompts = self.prompts();
        if prompts.len() < count {
            return Err(Error::Input(format!(
                "{} prompts can't make {count} folds\nhint: fewer --folds, or more feedback",
                prompts.len()
            )));
        }
        Stream::new(seed, Purpose::Folds, 0, 0).shuffle(&mut prompts);
        let of_fold = |fold: usize| -> Vec<String> {
            prompts.iter().skip(fold).step_by(count).cloned().collect()
        };
        Ok((0..count).map(|fold| self.divide(&of_fold(fold))).collect())
    }

    /// As the model reads it: pairs, ratings, and the pairs that ratings imply.
    fn examples(
        &self,
        model: &Scorer,
        tokenizer: &Tokenizer,
        config: &Config,
    ) -> Result<Vec<Example>, Error> {
        let spec = model.backbone().spec();
        let max_length = config.training.max_length.min(spec.context);
        let text = |prompt: &str, response: &str, logits: &[f64]| -> Result<Text, Error> {
            let ids = tokenizer.encode_judged(prompt, response, spec.causal(), max_length)?;
            let logits = logits.iter().map(|x| *x as f32).collect::<Vec<_>>();
            Ok(Text {
                ids,
                human_logits: (!logits.is_empty()).then_some(logits),
            })
        };
        let mut examples = Vec::new();
        for pair in &self.pairs {
            examples.push(Example::Pair {
                chosen: text(&pair.prompt, &pair.chosen, &[])?,
                rejected: text(&pair.prompt, &pair.rejected, &[])?,
                margin: 0.0,
            });
        }
        for file in &self.ratings {
            let ratings: Vec<Rating> = file.iter().map(|(rating, _)| rating.clone()).collect();
            let mut texts = Vec::with_capacity(file.len());
            for (rating, _) in file {
                texts.push(text(&rating.prompt, &rating.response, &rating.logits)?);
            }
            for (best, other) in feedback::implied_comparisons(&ratings) {
                examples.push(Example::Pair {
                    chosen: texts[best].clone(),
                    rejected: texts[other].clone(),
                    margin: config.reward_model.margin * (file[best].1 - file[other].1),
                });
            }
            let rated = texts.into_iter().zip(file);
            examples.extend(rated.map(|(text, (_, rating))| Example::Rating {
                text,
                rating: *rating,
            }));
        }
        // A tokenizer without an end token makes nothing of empty texts.
        examples.retain(|example| match example {
            Example::Pair {
                chosen, rejected, ..
            } => !chosen.ids.is_empty() && !rejected.ids.is_empty(),
            Example::Rating { text, .. } => !text.ids.is_empty(),
        });
        Ok(examples)
    }

    /// Whether the shorter response is the preferred one, of each pair, implied ones included; in
    /// characters, equal ones count one half.
    fn shorter_wins(&self) -> Vec<f64> {
        let mut pairs = self.pairs.clone();
        for file in &self.ratings {
            let ratings: Vec<Rating> = file.iter().map(|(rating, _)| rating.clone()).collect();
            pairs.extend(feedback::implied_pairs(&ratings));
        }
        let length = |text: &str| text.chars().count();
        pairs
            .iter()
            .map(
                |pair| match length(&pair.chosen).cmp(&length(&pair.rejected)) {
                    std::cmp::Ordering::Less => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Greater => 0.0,
                },
            )
            .collect()
    }
}

fn one_prompt() -> Error {
    Error::Input(
        "all feedback is about the same prompt, so none can be held out\nhint: at least two prompts are needed".into(),
    )
}

/// A share of pairs that are ranked right, with its 95 % interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Accuracy {
    /// Number of pairs; the rest is none where there are no pairs.
    pub pairs: usize,
    pub value: Option<f64>,
    pub interval: Option<[f64; 2]>,
}

/// Resamples behind an interval: `evaluation.bootstrap_samples`' default.
const RESAMPLES: usize = 1000;

impl Accuracy {
    fn of(right: &[f64], seed: u64) -> Self {
        let count = right.len();
        let stream = Stream::new(seed, Purpose::Bootstrap, 0, 0);
        Self {
            pairs: count,
            value: (count > 0).then(|| right.iter().sum::<f64>() / count as f64),
            interval: bootstrap::of_mean(right, RESAMPLES, stream),
        }
    }
}

/// What training a reward model came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Pairs and ratings trained on; of several folds, in the mean.
    pub examples_trained: usize,
    /// On held-out pairs, without human logits: what rollouts will see.
    pub accuracy: Accuracy,
    /// The same where the model is shown the human logits; none where it has not learnt from any.
    pub accuracy_with_human_logits: Option<Accuracy>,
    /// Of the rule that the shorter response is the better one, on the same pairs.
    pub shorter_wins: Accuracy,
    /// Of each fold, where there are several.
    pub folds: Vec<Accuracy>,
    /// Mean held-out loss of pairs and ratings, without human logits, and with them.
    pub loss: f64,
    pub loss_with_human_logits: Option<f64>,
    /// Mean squared error of normalised held-out ratings; none without ratings.
    pub squared_error: Option<f64>,
}

/// How right a trained model was on what it had not seen.
struct Judged {
    /// Examples trained on.
    examples: usize,
    without: Evaluation,
    with: Option<Evaluation>,
}

/// What a reward model is made of.
#[derive(Clone, Copy)]
pub enum Beginning<'a> {
    /// `model.reward_model_name`.
    Named,
    /// A copy of the policy as it is, as InstructGPT's began with the supervised model (Ouyang et
    /// al. 2022, section 3.5).
    Policy(&'a Policy),
}

impl Beginning<'_> {
    fn model(self, config: &Config, device: &Device) -> Result<(Scorer, Tokenizer), Error> {
        match self {
            Self::Named => {
                let folder = hub::resolve(&config.model.reward_model_name)?;
                let model = Scorer::load_usual(&folder, config.seed, device)?;
                Ok((model, Tokenizer::from_folder(&folder)?))
            }
            Self::Policy(policy) => {
                let scorer = policy.model.scorer(HeadKind::Score, config.seed);
                let scorer = scorer.map_err(|source| Error::Tensor {
                    doing: "making a reward model of the policy".into(),
                    source,
                })?;
                Ok((scorer, policy.tokenizer.clone()))
            }
        }
    }
}

/// Where a training leaves things, and finds those of one that was ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// Folder of the trained model.
    pub last: Option<&'a Path>,
    /// Folder of the checkpoints; none are written without it.
    pub checkpoints: Option<&'a Path>,
    /// The checkpoint to go on from.
    pub resume: Option<&'a Path>,
}

fn train_one(
    config: &Config,
    device: &Device,
    beginning: Beginning,
    (train, held_out): (&Feedback, &Feedback),
    place: Place,
    tracker: &mut dyn Tracker,
    interrupt: &AtomicBool,
) -> Result<(Scorer, Tokenizer, Judged), Error> {
    let (mut model, tokenizer) = beginning.model(config, device)?;
    let dtype = super::policy::compute_type(config.model.precision, device);
    let backbone = model.backbone_mut();
    backbone.set_compute(dtype);
    backbone.set_gradient_checkpointing(config.model.gradient_checkpointing);
    if config.model.lora.rank > 0 {
        let adapted = model.add_adapters(&config.model.lora, config.seed);
        adapted.map_err(|error| Error::Input(error.to_string()))?;
    }
    let examples = train.examples(&model, &tokenizer, config)?;
    let unseen = held_out.examples(&model, &tokenizer, config)?;
    let settings = &config.reward_model;
    let training = reward_model::training(settings, &config.training);
    let extras = |folder: &Path| tokenizer.save(folder);
    let checkpoints = place.checkpoints.map(|folder| trainer::Checkpoints {
        folder,
        resume: place.resume.map(Path::to_owned),
        extras: &extras,
        judge: None,
    });
    let mut run = trainer::Run {
        seed: config.seed,
        interrupt,
        tracker,
        checkpoints,
    };
    let outcome = reward_model::train(&mut model, &examples, settings, &training, &mut run)?;
    model.freeze();
    if outcome.interrupted {
        return Err(Error::Interrupted {
            folder: config.run_folder(),
        });
    }
    if config.model.lora.rank > 0 {
        let absorbed = model.absorb_adapters();
        absorbed.map_err(|source| Error::Tensor {
            doing: "merging the adapters".into(),
            source,
        })?;
    }
    let without = reward_model::evaluate(&model, &unseen, settings, false)?;
    let with = match model.human_logits() {
        Some(_) => Some(reward_model::evaluate(&model, &unseen, settings, true)?),
        None => None,
    };
    let mut values = vec![("eval/loss", without.loss)];
    values.extend(
        without
            .accuracy()
            .map(|accuracy| ("eval/accuracy", accuracy)),
    );
    run.tracker.log(outcome.steps, &values);
    let judged = Judged {
        examples: examples.len(),
        without,
        with,
    };
    Ok((model, tokenizer, judged))
}

fn report(judged: &[Judged], held_out: &[&Feedback], seed: u64) -> Report {
    let all = |of: &dyn Fn(&Judged) -> Option<Vec<f64>>| -> Option<Vec<f64>> {
        let parts: Option<Vec<Vec<f64>>> = judged.iter().map(of).collect();
        Some(parts?.concat())
    };
    let count = judged.len() as f64;
    let mean = |of: &dyn Fn(&Judged) -> f64| judged.iter().map(of).sum::<f64>() / count;
    let without = all(&|t| Some(t.without.pairs.clone())).unwrap_or_default();
    let with = all(&|t| t.with.as_ref().map(|with| with.pairs.clone()));
    let shorter: Vec<f64> = held_out
        .iter()
        .flat_map(|part| part.shorter_wins())
        .collect();
    let told = with.is_some();
    let folds = match judged {
        [_] => Vec::new(),
        several => several
            .iter()
            .map(|t| Accuracy::of(&t.without.pairs, seed))
            .collect(),
    };
    Report {
        examples_trained: mean(&|t| t.examples as f64).round() as usize,
        accuracy: Accuracy::of(&without, seed),
        accuracy_with_human_logits: with.map(|with| Accuracy::of(&with, seed)),
        shorter_wins: Accuracy::of(&shorter, seed),
        folds,
        loss: mean(&|t| t.without.loss),
        loss_with_human_logits: told
            .then(|| mean(&|t| t.with.as_ref().map_or(0.0, |with| with.loss))),
        squared_error: judged
            .iter()
            .any(|t| t.without.ratings > 0)
            .then(|| mean(&|t| t.without.squared_error)),
    }
}

/// Trains what it begins with on all but the held-out prompts, saves it where `place` says so,
/// and hands it over as a part of the reward.
///
/// # Errors
/// The model can't be loaded or trained, or the folder not be written.
pub fn train(
    config: &Config,
    device: &Device,
    (beginning, feedback): (Beginning, &Feedback),
    place: Place,
    tracker: &mut dyn Tracker,
    interrupt: &AtomicBool,
) -> Result<(LearnedReward, Report), Error> {
    let (part, held_out) = feedback.hold_out(config.data.eval_fraction, config.seed)?;
    let parts = (&part, &held_out);
    let (model, tokenizer, judged) =
        train_one(config, device, beginning, parts, place, tracker, interrupt)?;
    let report = report(&[judged], &[&held_out], config.seed);
    if let Some(folder) = place.last {
        model.save(folder, &|folder| tokenizer.save(folder))?;
    }
    let learned = LearnedReward::new(model, tokenizer, config.training.max_length);
    Ok((learned, report))
}

/// Trains once a fold and judges each model by the fold it has not seen; no model is kept.
///
/// # Errors
/// As for [`train`].
pub fn cross_validate(
    config: &Config,
    device: &Device,
    feedback: &Feedback,
    folds: usize,
    tracker: &mut dyn Tracker,
    interrupt: &AtomicBool,
) -> Result<Report, Error> {
    let folds = feedback.folds(folds, config.seed)?;
    let mut judged = Vec::with_capacity(folds.len());
    for (train, held_out) in &folds {
        let parts = (train, held_out);
        let (named, place) = (Beginning::Named, Place::default());
        let (_, _, one) = train_one(config, device, named, parts, place, tracker, interrupt)?;
        judged.push(one);
    }
    let held_out: Vec<&Feedback> = folds.iter().map(|(_, held_out)| held_out).collect();
    Ok(report(&judged, &held_out, config.seed))
}

/// The folder of `model.reward_model_name`, where that is a trained reward model: one with a head
/// for sequence classification. Any other model has to be trained first.
pub fn trained(config: &Config) -> Option<PathBuf> {
    let folder = Path::new(&config.model.reward_model_name);
    let settings = weights::read_config(folder).ok()?;
    let class = settings.get("architectures")?.get(0)?.as_str()?;
    class
        .ends_with("ForSequenceClassification")
        .then(|| folder.to_owned())
}

/// Reads feedback files.
///
/// # Errors
/// A file can't be read, or has nothing that a reward model could learn from.
pub fn read_feedback(
    adapters: &data::sources::Adapters,
    config: &Config,
    files: &[&Path],
) -> Result<Feedback, Error> {
    let columns: Vec<(String, String)> = config.data.columns.clone().into_iter().collect();
    let mut read = Vec::with_capacity(files.len());
    for file in files {
        read.push(adapters.read(file, &columns, config.data.on_bad_row)?);
    }
    Feedback::of(read)
}
