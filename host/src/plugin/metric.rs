//! The typed front of the metric world: samples in, statistics and scores out.

use std::sync::Arc;

use super::bindings::v0_1::{self, Level, MetricPlugin};
use super::discovery::{OnFailure, Spec};
use super::failure::Failure;
use super::host::Services;
use super::instance::Budget;
use super::world::{ITEMS_PER_CALL_MAX, Loaded, Timed, Used};
use super::{Component, Error, Runtime, Sample};

/// How a corpus score comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// From the sum of the samples' statistics.
    Additive,
    /// From all samples together.
    Whole,
}

/// Which corpus value is quoted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Headline {
    Corpus,
    Mean,
}

/// What a metric says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub minimum: f64,
    pub maximum: f64,
    pub higher_is_better: bool,
    pub unit: String,
    pub components: Vec<String>,
    pub aggregation: Aggregation,
    pub headline: Headline,
    pub statistics_length: usize,
    pub needs: Vec<String>,
    pub citation: String,
    pub signature: String,
    /// Whether the encoder has to learn the references of the whole set before any sample is
    /// measured.
    pub fits: bool,
}

/// A checked score: finite, within the metric's range.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub value: f64,
    /// As long as the descriptor's components, in their order.
    pub components: Vec<f64>,
}

/// Statistics of a sample, or why there are none.
pub type Measured = Result<Vec<f64>, Failure>;

/// A loaded, configured metric.
pub struct Metric {
    name: String,
    descriptor: Descriptor,
    on_failure: OnFailure,
    loaded: Loaded<MetricPlugin>,
}

impl Metric {
    /// Finds and loads a metric, with nothing to offer but what every plugin gets.
    ///
    /// # Errors
    /// Those of [`Metric::of`], or there is no such file.
    pub fn load(runtime: &Arc<Runtime>, spec: &Spec) -> Result<Self, Error> {
        let component = Component::find(runtime, spec)?;
        Self::of(component, spec, &Services::default())
    }

    /// Configures the metric in a component and asks it to describe itself.
    ///
    /// # Errors
    /// It is no metric, asks for what it was not granted, or fails in `describe` or `configure`.
    pub fn of(component: Component, spec: &Spec, services: &Services) -> Result<Self, Error> {
        let (loaded, instance, descriptor) =
            Loaded::<MetricPlugin>::ready(component, spec, services)?;
        loaded.keep(instance);
        Ok(Self {
            name: spec.name.clone().unwrap_or_else(|| descriptor.name.clone()),
            descriptor,
            on_failure: spec.on_failure,
            loaded,
        })
    }

    /// What a new instance that has no options yet says about itself.
    ///
    /// # Errors
    /// It fails, or what it says can't be.
    pub fn describe_unconfigured(&self) -> Result<Descriptor, Failure> {
        self.loaded.describe_unconfigured()
    }

    /// Name in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub fn component(&self) -> &Component {
        &self.loaded.component
    }

    /// What becomes of a reward that it can't give.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// What its calls have used so far.
    pub fn used(&self) -> Used {
        self.loaded.used()
    }

    /// One line that says how a number came about, in the manner of sacrebleu:
    /// `codebleu|corpus|weights:…|version:0.1.0`.
    pub fn signature(&self) -> String {
        let headline = match self.descriptor.headline {
            Headline::Corpus => "corpus",
            Headline::Mean => "mean",
        };
        let encoder = self.loaded.encoder().map(|encoder| encoder.signature());
        [
            self.name.as_str(),
            headline,
            self.descriptor.signature.as_str(),
            encoder.as_deref().unwrap_or_default(),
            &format!("version:{}", self.descriptor.version),
        ]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("|")
    }

    /// Forgets the set whose references the encoder learned.
    pub fn forget(&self) {
        *self.loaded.frequencies() = None;
    }

    /// Lets the encoder learn the references of the samples that will be measured, if the metric
    /// wants that: all at once, or some more each time.
    ///
    /// # Errors
    /// The encoder failed, or the metric was granted none.
    pub fn fit(&self, samples: &[Sample]) -> Result<(), Failure> {
        if !self.descriptor.fits {
            return Ok(());
        }
        let failed = |message: String| Failure::Plugin {
            code: "encoder-failed".into(),
            message,
        };
        let encoder = self.loaded.encoder();
        let encoder = encoder.ok_or_else(|| failed("the run granted no encoder".into()))?;
        let references = samples.iter().flat_map(|sample| &sample.references);
        let references: Vec<String> = references.cloned().collect();
        let mut frequencies = self.loaded.frequencies();
        let learned = encoder.fit(&references, frequencies.as_deref());
        *frequencies = Some(learned.map_err(failed)?);
        Ok(())
    }

    /// Statistics of each sample, in their order, measured in parallel.
    pub fn measure(&self, samples: &[Sample]) -> Vec<Measured> {
        let timed = self.measure_timed(samples).into_iter();
        timed.map(|one| one.result).collect()
    }

    /// The same, with the time of each.
    pub fn measure_timed(&self, samples: &[Sample]) -> Vec<Timed<Vec<f64>>> {
        self.loaded.batch(
            samples,
            self.loaded.samples_per_call(),
            async |world, store, samples| world.call_measure(store, samples).await,
            |_, measured| self.check_statistics(measured.map_err(v0_1::failure)?),
        )
    }

    fn check_statistics(&self, statistics: Vec<f64>) -> Measured {
        let expected = self.descriptor.statistics_length;
        if statistics.len() != expected {
            return Err(Failure::BadResult {
                message: format!("{} statistics, expected {expected}", statistics.len()),
            });
        }
        match statistics.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Failure::BadResult {
                message: format!("statistic {at} is {}", statistics[at]),
            }),
            None => Ok(statistics),
        }
    }

    /// Scores of single samples from their statistics, in order.
    pub fn score_samples(&self, statistics: &[Vec<f64>]) -> Vec<Result<Score, Failure>> {
        self.score(statistics, Level::Sample)
    }

    /// Scores of corpora from sums of statistics, in order.
    pub fn score_corpora(&self, sums: &[Vec<f64>]) -> Vec<Result<Score, Failure>> {
        self.score(sums, Level::Corpus)
    }

    fn score(&self, statistics: &[Vec<f64>], level: Level) -> Vec<Result<Score, Failure>> {
        let timed = self.loaded.batch(
            statistics,
            ITEMS_PER_CALL_MAX,
            async |world, store, statistics| world.call_score(store, statistics, level).await,
            |_, score| v0_1::score(score.map_err(v0_1::failure)?, &self.descriptor),
        );
        timed.into_iter().map(|one| one.result).collect()
    }

    /// The score of a corpus, for metrics that do not add.
    ///
    /// # Errors
    /// The plugin failed, or its score is not one.
    pub fn score_whole(&self, samples: &[Sample]) -> Result<Score, Failure> {
        let budget = Budget::for_samples(&self.loaded.limits, samples.len());
        let score = self.loaded.reuse(budget, async |world, store| {
            world.call_score_corpus(store, samples).await
        })?;
        v0_1::score(score.map_err(v0_1::failure)?, &self.descriptor)
    }
}
