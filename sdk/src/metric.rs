//! Metrics: samples into scores.
//!
//! Three traits, from simple to general:
//!
//! | trait | you write | corpus score | intervals and paired tests |
//! | --- | --- | --- | --- |
//! | [`Metric`] | a score per sample | their mean | yes |
//! | [`AdditiveMetric`] | statistics per sample, a score from statistics | from the sum of the statistics | yes |
//! | [`CorpusMetric`] | a score of all samples together | what you return | no |
//!
//! The host scores in parallel, in batches and more than once, and expects the
//! same numbers each time: a metric reads nothing but its options and its
//! sample.

use serde::de::DeserializeOwned;

use crate::bindings::host::rlhf::plugin::types;
use crate::bindings::metric::exports::rlhf::plugin::metric as wit;
use crate::component::Holder;
use crate::options;
use crate::types::{Error, NamedValue, Sample, named};

/// A metric whose corpus score is the mean of its sample scores.
///
/// See the crate's first page for a whole one.
pub trait Metric: Sized + 'static {
    /// Parsed from the run's configuration; [`NoOptions`](options::NoOptions) if there are none.
    type Options: DeserializeOwned + Default;

    /// The configured metric. `Self::Options::default()` must work: the host
    /// asks for the description before there are options.
    ///
    /// # Errors
    /// An option's value is out of range: [`Error::bad_option`].
    fn new(options: Self::Options) -> Result<Self, Error>;

    /// Name, range, what it needs.
    fn describe(&self) -> MetricDescriptor;

    /// The score of one sample, with the components that `describe` names, in its order.
    ///
    /// # Errors
    /// The sample can't be scored. It is reported and counted, the other
    /// samples are not affected.
    fn score(&self, sample: &Sample) -> Result<Score, Error>;

    /// The scores of many samples, in their order: for metrics that ask the host's
    /// [`encoder`](crate::host::encoder), which is faster with many texts at once. A sample's
    /// score must not depend on its neighbours. By default one after the other.
    fn score_all(&self, samples: &[Sample]) -> Vec<Result<Score, Error>> {
        samples.iter().map(|sample| self.score(sample)).collect()
    }
}

/// A metric whose corpus score comes from summed statistics: matches and
/// totals, say. BLEU's corpus score is one, and not the mean of sentence scores.
pub trait AdditiveMetric: Sized + 'static {
    /// Parsed from the run's configuration; [`NoOptions`](options::NoOptions) if there are none.
    type Options: DeserializeOwned + Default;

    /// The configured metric. `Self::Options::default()` must work: the host
    /// asks for the description before there are options.
    ///
    /// # Errors
    /// An option's value is out of range: [`Error::bad_option`].
    fn new(options: Self::Options) -> Result<Self, Error>;

    /// Name, range, what it needs.
    fn describe(&self) -> MetricDescriptor;

    /// How many numbers `measure` returns, always.
    fn statistics_length(&self) -> usize;

    /// The statistics of one sample. They must *add*: the statistics of a
    /// corpus are the sums over its samples.
    ///
    /// # Errors
    /// The sample can't be measured. It is reported and counted, the other
    /// samples are not affected.
    fn measure(&self, sample: &Sample) -> Result<Vec<f64>, Error>;

    /// The score that follows from one sample's statistics or from their sum,
    /// as `level` says; some metrics smooth the two differently.
    ///
    /// # Errors
    /// No score follows from these statistics.
    fn score(&self, statistics: &[f64], level: Level) -> Result<Score, Error>;
}

/// A metric that is only defined on all samples together: diversity, a
/// correlation. Prefer the others where they fit; see the module's table.
pub trait CorpusMetric: Sized + 'static {
    /// Parsed from the run's configuration; [`NoOptions`](options::NoOptions) if there are none.
    type Options: DeserializeOwned + Default;

    /// The configured metric. `Self::Options::default()` must work: the host
    /// asks for the description before there are options.
    ///
    /// # Errors
    /// An option's value is out of range: [`Error::bad_option`].
    fn new(options: Self::Options) -> Result<Self, Error>;

    /// Name, range, what it needs.
    fn describe(&self) -> MetricDescriptor;

    /// The score of all samples together.
    ///
    /// # Errors
    /// There is no score for these samples.
    fn score_corpus(&self, samples: &[Sample]) -> Result<Score, Error>;
}

/// What a metric says about itself.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MetricDescriptor {
    /// Lower case, kebab-case: `bleu`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// Smallest value a score can take; 0 unless [`range`](Self::range) says otherwise.
    pub minimum: f64,
    /// Largest value a score can take; 1 unless [`range`](Self::range) says otherwise.
    pub maximum: f64,
    /// Whether a larger score is better; yes unless [`lower_is_better`](Self::lower_is_better).
    pub higher_is_better: bool,
    /// Unit of the value; empty for a plain fraction.
    pub unit: String,
    /// Names of the components of a score, in order.
    pub components: Vec<String>,
    /// Which corpus value is quoted first.
    pub headline: Headline,
    /// Fields of a sample that must not be empty.
    pub needs: Vec<Need>,
    /// How to cite it; empty if there is nothing to cite.
    pub citation: String,
    /// Options that change the numbers, in the manner of sacrebleu's signature.
    pub signature: String,
    /// For keys that the contract has no field for; see [`fit_references`](Self::fit_references).
    pub extra: Vec<(String, String)>,
}

impl MetricDescriptor {
    /// A metric from 0 to 1 of which more is better. Pass
    /// `env!("CARGO_PKG_VERSION")` as the version.
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            minimum: 0.0,
            maximum: 1.0,
            higher_is_better: true,
            unit: String::new(),
            components: Vec::new(),
            headline: Headline::Corpus,
            needs: Vec::new(),
            citation: String::new(),
            signature: String::new(),
            extra: Vec::new(),
        }
    }

    /// Smallest and largest value a score can take.
    #[must_use]
    pub fn range(mut self, minimum: f64, maximum: f64) -> Self {
        (self.minimum, self.maximum) = (minimum, maximum);
        self
    }

    /// A smaller score is better: a distance, an error rate.
    #[must_use]
    pub fn lower_is_better(mut self) -> Self {
        self.higher_is_better = false;
        self
    }

    /// Unit of the value: `edits`, `nats`.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Names of the components of a score, in order.
    #[must_use]
    pub fn components<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.components = names.into_iter().map(Into::into).collect();
        self
    }

    /// Which corpus value is quoted first.
    #[must_use]
    pub fn headline(mut self, headline: Headline) -> Self {
        self.headline = headline;
        self
    }

    /// Fields of a sample that must not be empty. The host reports a sample
    /// that lacks one as not scored and doesn't call the metric with it.
    #[must_use]
    pub fn needs(mut self, needs: impl IntoIterator<Item = Need>) -> Self {
        self.needs = needs.into_iter().collect();
        self
    }

    /// How to cite it: a link to the paper.
    #[must_use]
    pub fn citation(mut self, citation: impl Into<String>) -> Self {
        self.citation = citation.into();
        self
    }

    /// The host's encoder learns the references of the whole set before any sample is measured,
    /// so that [`matches`](crate::host::Encoder::matches) weights tokens by how rare they are
    /// there: a plugin sees only a few samples at a time, and can't do that itself.
    #[must_use]
    pub fn fit_references(mut self) -> Self {
        self.extra.push(("fit".into(), "references".into()));
        self
    }

    /// Options that change the numbers: `smooth:method1|tok:split`.
    #[must_use]
    pub fn signature(mut self, signature: impl Into<String>) -> Self {
        self.signature = signature.into();
        self
    }
}

/// Which corpus value is quoted first; the host reports both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headline {
    /// The score of the summed statistics.
    Corpus,
    /// The mean of the sample scores.
    Mean,
}

/// A field of a sample that a plugin can't do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// [`Sample::references`]
    References,
    /// [`Sample::tests`]
    Tests,
    /// [`Sample::prompt`]
    Prompt,
    /// [`Sample::language`]
    Language,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::References => "references",
            Self::Tests => "tests",
            Self::Prompt => "prompt",
            Self::Language => "language",
        }
    }
}

/// Whether statistics come from one sample or are a sum over many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One sample's own.
    Sample,
    /// A sum over the samples of a corpus.
    Corpus,
}

/// A value and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Finite and within the descriptor's range.
    pub value: f64,
    /// Named as the descriptor's components, in its order.
    pub components: Vec<NamedValue>,
}

impl Score {
    /// A score without components.
    pub fn new(value: f64) -> Self {
        Self {
            value,
            components: Vec::new(),
        }
    }

    /// Adds the next component, in the descriptor's order.
    #[must_use]
    pub fn component(mut self, name: impl Into<String>, value: f64) -> Self {
        self.components.push(NamedValue::new(name, value));
        self
    }
}

impl From<f64> for Score {
    fn from(value: f64) -> Self {
        Self::new(value)
    }
}

/// A metric as the host calls it: what the three traits have in common.
/// `plugin!` export macros and [`testing`](crate::testing) work on this one.
pub trait Implementation: Sized + 'static {
    /// Options as one JSON object.
    fn configure(options: &str) -> Result<Self, Error>;
    /// What the author wrote.
    fn describe(&self) -> MetricDescriptor;
    /// 0 for a metric that doesn't add.
    fn statistics_length(&self) -> usize;
    /// Checked statistics of one sample.
    fn measure(&self, sample: &Sample) -> Result<Vec<f64>, Error>;
    /// The same of many samples, in their order.
    fn measure_all(&self, samples: &[Sample]) -> Vec<Result<Vec<f64>, Error>> {
        samples.iter().map(|sample| self.measure(sample)).collect()
    }
    /// Checked score of statistics.
    fn score(&self, statistics: &[f64], level: Level) -> Result<Score, Error>;
    /// Checked score of all samples.
    fn score_corpus(&self, samples: &[Sample]) -> Result<Score, Error>;
}

/// [`Metric`] as an additive one.
///
/// Statistics: the number of samples, the sum of the values, the sum of each
/// component. A sample's score is its own mean, exactly: x / 1 = x.
#[derive(Debug)]
pub struct Mean<M> {
    metric: M,
    components: Vec<String>,
}

impl<M: Metric> Mean<M> {
    fn statistics(&self, score: Score) -> Result<Vec<f64>, Error> {
        let score = checked_score(score, &self.components)?;
        let mut statistics = Vec::with_capacity(2 + self.components.len());
        statistics.extend([1.0, score.value]);
        statistics.extend(score.components.iter().map(|component| component.value));
        Ok(statistics)
    }
}

impl<M: Metric> Implementation for Mean<M> {
    fn configure(options: &str) -> Result<Self, Error> {
        let metric = M::new(options::parse(options)?)?;
        let components = metric.describe().components;
        Ok(Self { metric, components })
    }

    fn describe(&self) -> MetricDescriptor {
        self.metric.describe()
    }

    fn statistics_length(&self) -> usize {
        2 + self.components.len()
    }

    fn measure(&self, sample: &Sample) -> Result<Vec<f64>, Error> {
        self.statistics(self.metric.score(sample)?)
    }

    fn measure_all(&self, samples: &[Sample]) -> Vec<Result<Vec<f64>, Error>> {
        let scores = self.metric.score_all(samples).into_iter();
        scores.map(|score| self.statistics(score?)).collect()
    }

    fn score(&self, statistics: &[f64], _level: Level) -> Result<Score, Error> {
        check_length(statistics, self.statistics_length())?;
        let count = statistics[0];
        if count == 0.0 {
            return Err(Error::new(
                "no-samples",
                "a mean of no samples is not defined",
            ));
        }
        let mut score = Score::new(statistics[1] / count);
        for (name, sum) in self.components.iter().zip(&statistics[2..]) {
            score.components.push(NamedValue::new(name, sum / count));
        }
        Ok(score)
    }

    fn score_corpus(&self, _samples: &[Sample]) -> Result<Score, Error> {
        Err(not_whole())
    }
}

/// [`AdditiveMetric`] with its results checked.
#[derive(Debug)]
pub struct Additive<M> {
    metric: M,
    components: Vec<String>,
    length: usize,
}

impl<M: AdditiveMetric> Implementation for Additive<M> {
    fn configure(options: &str) -> Result<Self, Error> {
        let metric = M::new(options::parse(options)?)?;
        let components = metric.describe().components;
        let length = metric.statistics_length();
        Ok(Self {
            metric,
            components,
            length,
        })
    }

    fn describe(&self) -> MetricDescriptor {
        self.metric.describe()
    }

    fn statistics_length(&self) -> usize {
        self.length
    }

    fn measure(&self, sample: &Sample) -> Result<Vec<f64>, Error> {
        let statistics = self.metric.measure(sample)?;
        check_length(&statistics, self.length)?;
        match statistics.iter().position(|number| !number.is_finite()) {
            None => Ok(statistics),
            Some(index) => Err(Error::bad_result(format!(
                "statistic {index}: expected a finite number, found {}",
                statistics[index]
            ))),
        }
    }

    fn score(&self, statistics: &[f64], level: Level) -> Result<Score, Error> {
        check_length(statistics, self.length)?;
        checked_score(self.metric.score(statistics, level)?, &self.components)
    }

    fn score_corpus(&self, _samples: &[Sample]) -> Result<Score, Error> {
        Err(not_whole())
    }
}

/// [`CorpusMetric`] with its results checked.
#[derive(Debug)]
pub struct Whole<M> {
    metric: M,
    components: Vec<String>,
}

impl<M: CorpusMetric> Implementation for Whole<M> {
    fn configure(options: &str) -> Result<Self, Error> {
        let metric = M::new(options::parse(options)?)?;
        let components = metric.describe().components;
        Ok(Self { metric, components })
    }

    fn describe(&self) -> MetricDescriptor {
        self.metric.describe()
    }

    fn statistics_length(&self) -> usize {
        0
    }

    fn measure(&self, _sample: &Sample) -> Result<Vec<f64>, Error> {
        Err(not_additive())
    }

    fn score(&self, _statistics: &[f64], _level: Level) -> Result<Score, Error> {
        Err(not_additive())
    }

    fn score_corpus(&self, samples: &[Sample]) -> Result<Score, Error> {
        checked_score(self.metric.score_corpus(samples)?, &self.components)
    }
}

fn not_whole() -> Error {
    Error::new(
        "unsupported",
        "this metric adds: call `measure` and `score`",
    )
}

fn not_additive() -> Error {
    Error::new(
        "unsupported",
        "this metric doesn't add: call `score-corpus`",
    )
}

fn check_length(statistics: &[f64], expected: usize) -> Result<(), Error> {
    if statistics.len() == expected {
        return Ok(());
    }
    Err(Error::bad_result(format!(
        "statistics: expected {expected} numbers, found {}",
        statistics.len()
    )))
}

/// The host checks as well, but can't say which line of the plugin to look at.
fn checked_score(score: Score, components: &[String]) -> Result<Score, Error> {
    if !score.value.is_finite() {
        return Err(Error::bad_result(format!(
            "score: expected a finite value, found {}",
            score.value
        )));
    }
    let names = score
        .components
        .iter()
        .map(|component| component.name.as_str());
    if !names.eq(components.iter().map(String::as_str)) {
        let found: Vec<&str> = score
            .components
            .iter()
            .map(|component| component.name.as_str())
            .collect();
        return Err(Error::bad_result(format!(
            "score: expected the components that `describe` names, {components:?}, found {found:?}"
        )));
    }
    match score
        .components
        .iter()
        .find(|component| !component.value.is_finite())
    {
        None => Ok(score),
        Some(component) => Err(Error::bad_result(format!(
            "component `{}`: expected a finite value, found {}",
            component.name, component.value
        ))),
    }
}

fn describe<I: Implementation>(metric: &I) -> wit::Descriptor {
    let described = metric.describe();
    let length = metric.statistics_length();
    wit::Descriptor {
        name: described.name,
        version: described.version,
        summary: described.summary,
        minimum: described.minimum,
        maximum: described.maximum,
        higher_is_better: described.higher_is_better,
        unit: described.unit,
        components: described.components,
        aggregation: if length == 0 { "whole" } else { "additive" }.to_owned(),
        headline: match described.headline {
            Headline::Corpus => "corpus",
            Headline::Mean => "mean",
        }
        .to_owned(),
        statistics_length: u32::try_from(length).expect("fits in a component's memory"),
        needs: described
            .needs
            .iter()
            .map(|need| need.name().to_owned())
            .collect(),
        citation: described.citation,
        signature: described.signature,
        extra: described.extra,
    }
}

fn score_out(score: Score) -> wit::MetricScore {
    wit::MetricScore {
        value: score.value,
        components: named(score.components),
        extra: Vec::new(),
    }
}

impl<H: Holder> wit::Guest for H
where
    H::Plugin: Implementation,
{
    fn describe() -> wit::Descriptor {
        let described = H::slot(|slot| {
            slot.get_or_make(|| H::Plugin::configure(""), |metric| describe(metric))
        });
        // There is no way to report it: WIT's `describe` can't fail.
        described.unwrap_or_else(|error| panic!("`new` failed with default options: {error}"))
    }

    fn configure(options: String) -> Result<(), types::Error> {
        let metric = H::Plugin::configure(&options)?;
        H::slot(|slot| slot.set(metric));
        Ok(())
    }

    fn measure(samples: Vec<types::Sample>) -> Vec<Result<Vec<f64>, types::Error>> {
        let samples: Vec<Sample> = samples.into_iter().map(Into::into).collect();
        let measured = H::slot(|slot| {
            slot.get_or_make(
                || H::Plugin::configure(""),
                |metric| metric.measure_all(&samples),
            )
        });
        match measured {
            Ok(measured) => measured
                .into_iter()
                .map(|one| one.map_err(Into::into))
                .collect(),
            Err(error) => samples.iter().map(|_| Err(error.clone().into())).collect(),
        }
    }

    fn score(
        statistics: Vec<Vec<f64>>,
        level: wit::Level,
    ) -> Vec<Result<wit::MetricScore, types::Error>> {
        let level = match level {
            wit::Level::Sample => Level::Sample,
            wit::Level::Corpus => Level::Corpus,
        };
        H::slot(|slot| {
            statistics
                .iter()
                .map(|numbers| {
                    slot.get_or_make(
                        || H::Plugin::configure(""),
                        |metric| metric.score(numbers, level),
                    )
                    .and_then(|scored| scored)
                    .map(score_out)
                    .map_err(Into::into)
                })
                .collect()
        })
    }

    fn score_corpus(samples: Vec<types::Sample>) -> Result<wit::MetricScore, types::Error> {
        let samples: Vec<Sample> = samples.into_iter().map(Into::into).collect();
        H::slot(|slot| {
            slot.get_or_make(
                || H::Plugin::configure(""),
                |metric| metric.score_corpus(&samples),
            )
            .and_then(|scored| scored)
            .map(score_out)
            .map_err(Into::into)
        })
    }
}

/// Makes the crate a component whose metric is this [`Metric`].
#[macro_export]
macro_rules! export_metric {
    ($metric:ty) => {
        $crate::__export!(
            metric,
            $crate::__private::Mean<$metric>,
            $crate::__private::MetricImplementation
        );
    };
}

/// Makes the crate a component whose metric is this [`AdditiveMetric`].
#[macro_export]
macro_rules! export_additive_metric {
    ($metric:ty) => {
        $crate::__export!(
            metric,
            $crate::__private::Additive<$metric>,
            $crate::__private::MetricImplementation
        );
    };
}

/// Makes the crate a component whose metric is this [`CorpusMetric`].
#[macro_export]
macro_rules! export_corpus_metric {
    ($metric:ty) => {
        $crate::__export!(
            metric,
            $crate::__private::Whole<$metric>,
            $crate::__private::MetricImplementation
        );
    };
}
