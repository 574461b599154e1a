//! Judges responses with metric plugins.
//!
//! A metric's *corpus* value comes from the sum of its statistics, its *mean*
//! from the samples' own scores; they differ, and both are reported. Which one
//! is quoted is the metric's own word (its headline). Failures are counted,
//! never scored as zero.

pub mod bootstrap;
pub mod paired;
pub mod pass_at;

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::plugin::metric::{Aggregation, Headline, Score};
use crate::plugin::{Failure, Metric, Sample, Timed};
use crate::random::Stream;

/// A metric's scores of a set of samples.
pub struct Scored {
    /// In the samples' order.
    pub per_sample: Vec<Result<Score, Failure>>,
    /// What each took, in seconds: its share of the calls that it was in.
    pub seconds: Vec<f64>,
    /// Statistics of the samples that were scored; empty for a whole-corpus metric.
    statistics: Vec<Vec<f64>>,
    /// The corpus' score.
    corpus: Result<Score, Failure>,
}

impl Scored {
    /// Statistics in the samples' order; `None` where a sample was not scored,
    /// or the metric does not add.
    fn statistics_by_sample(&self) -> Vec<Option<&[f64]>> {
        let mut statistics = self.statistics.iter();
        self.per_sample
            .iter()
            .map(|score| {
                let scored = score.is_ok().then(|| statistics.next()).flatten();
                scored.map(Vec::as_slice)
            })
            .collect()
    }
}

/// A metric's result over a set of samples, as it is reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricResult {
    pub name: String,
    /// One line that says how the number came about.
    pub signature: String,
    pub headline: Headline,
    /// The headline's value; absent if nothing could be scored.
    pub value: Option<f64>,
    /// 95 % bootstrap interval of the value.
    pub interval: Option<[f64; 2]>,
    pub corpus: Option<f64>,
    pub mean: Option<f64>,
    /// Components of the headline's value.
    pub components: BTreeMap<String, f64>,
    pub higher_is_better: bool,
    pub samples: usize,
    /// Failures by kind; their samples are in none of the values.
    pub failures: BTreeMap<String, usize>,
    /// The first failure in full, with its sample.
    pub first_failure: Option<String>,
}

impl MetricResult {
    /// Of a metric that can't be computed at all, with the reason.
    pub fn not_computed(name: &str, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            signature: String::new(),
            headline: Headline::Mean,
            value: None,
            interval: None,
            corpus: None,
            mean: None,
            components: BTreeMap::new(),
            higher_is_better: true,
            samples: 0,
            failures: BTreeMap::new(),
            first_failure: Some(reason.to_owned()),
        }
    }
}

/// Scores samples with one metric.
pub fn score(metric: &Metric, samples: &[Sample]) -> Scored {
    let mut scoring = Scoring::new(metric);
    scoring.look_at(samples);
    scoring.add(samples);
    scoring.finish()
}

/// A set of samples that is scored block by block.
///
/// Of a sample its scores and statistics are kept, not its texts: except for metrics that only
/// score a whole corpus.
pub struct Scoring<'a> {
    metric: &'a Metric,
    per_sample: Vec<Result<Score, Failure>>,
    seconds: Vec<f64>,
    statistics: Vec<Vec<f64>>,
    /// For metrics that don't add.
    whole: Vec<Sample>,
    /// Why the metric could not look at the references before.
    unfit: Option<Failure>,
}

impl<'a> Scoring<'a> {
    /// Nothing scored yet.
    pub fn new(metric: &'a Metric) -> Self {
        metric.forget();
        Self {
            metric,
            per_sample: Vec::new(),
            seconds: Vec::new(),
            statistics: Vec::new(),
            whole: Vec::new(),
            unfit: None,
        }
    }

    /// Shows a block to a metric that has to see the references of all before it scores any; such
    /// a metric ([`Descriptor::fits`](crate::plugin::metric::Descriptor::fits)) is shown every
    /// block once before the first is added.
    pub fn look_at(&mut self, samples: &[Sample]) {
        if self.unfit.is_none() {
            self.unfit = self.metric.fit(samples).err();
        }
    }

    /// Scores a block; what became of its samples, in their order.
    pub fn add(&mut self, samples: &[Sample]) -> &[Result<Score, Failure>] {
        let before = self.per_sample.len();
        match &self.unfit {
            Some(failure) => {
                let failed = samples.iter().map(|_| Err(failure.clone()));
                self.per_sample.extend(failed);
                self.seconds.resize(self.per_sample.len(), 0.0);
            }
            None if self.metric.descriptor().aggregation == Aggregation::Whole => {
                for sample in samples {
                    let start = Instant::now();
                    let score = self.metric.score_whole(std::slice::from_ref(sample));
                    self.per_sample.push(score);
                    self.seconds.push(start.elapsed().as_secs_f64());
                }
                self.whole.extend_from_slice(samples);
            }
            None => self.add_measured(samples),
        }
        &self.per_sample[before..]
    }

    fn add_measured(&mut self, samples: &[Sample]) {
        let measured = measure(self.metric, samples);
        let vectors: Vec<Vec<f64>> = measured
            .iter()
            .filter_map(|one| one.result.as_ref().ok().cloned())
            .collect();
        let mut scores = self.metric.score_samples(&vectors).into_iter();
        for one in measured {
            self.seconds.push(one.seconds);
            let score = match one.result {
                Ok(vector) => {
                    let score = scores.next().expect("one score per vector of statistics");
                    // A sample whose statistics can't be scored must not weigh in the corpus either.
                    if score.is_ok() {
                        self.statistics.push(vector);
                    }
                    score
                }
                Err(failure) => Err(failure),
            };
            self.per_sample.push(score);
        }
    }

    /// The scores of all blocks together.
    pub fn finish(self) -> Scored {
        let corpus = if let Some(failure) = self.unfit {
            Err(failure)
        } else if self.metric.descriptor().aggregation == Aggregation::Whole {
            self.metric.score_whole(&self.whole)
        } else if self.statistics.is_empty() {
            Err(Failure::BadResult {
                message: "no sample could be scored".into(),
            })
        } else {
            self.metric
                .score_corpora(&[bootstrap::sum(&self.statistics)])
                .pop()
                .expect("one corpus has one score")
        };
        Scored {
            per_sample: self.per_sample,
            seconds: self.seconds,
            statistics: self.statistics,
            corpus,
        }
    }
}

/// Statistics of each sample, or what it lacks.
fn measure(metric: &Metric, samples: &[Sample]) -> Vec<Timed<Vec<f64>>> {
    let lacking = |sample: &Sample| {
        metric
            .descriptor()
            .needs
            .iter()
            .find(|field| match field.as_str() {
                "references" => sample.references.is_empty(),
                "tests" => sample.tests.is_empty(),
                "prompt" => sample.prompt.is_empty(),
                "language" => sample.language.is_empty(),
                _ => false,
            })
            .map(|field| Failure::Plugin {
                code: "missing-field".into(),
                message: format!("the sample has no {field}"),
            })
    };
    let lacks: Vec<Option<Failure>> = samples.iter().map(lacking).collect();
    if lacks.iter().all(Option::is_none) {
        return metric.measure_timed(samples);
    }
    let complete: Vec<Sample> = samples
        .iter()
        .zip(&lacks)
        .filter(|(_, lack)| lack.is_none())
        .map(|(sample, _)| sample.clone())
        .collect();
    let mut complete = metric.measure_timed(&complete).into_iter();
    lacks
        .into_iter()
        .map(|lack| match lack {
            Some(failure) => Timed {
                result: Err(failure),
                seconds: 0.0,
            },
            None => complete.next().expect("one result per complete sample"),
        })
        .collect()
}

/// Puts a metric's scores into what is reported, with `resamples` behind the interval. `ids`
/// names the samples, in order.
pub fn summarise<I: AsRef<str>>(
    metric: &Metric,
    ids: &[I],
    scored: &Scored,
    resamples: usize,
    rng: Stream,
) -> MetricResult {
    let descriptor = metric.descriptor();
    let values: Vec<&Score> = scored
        .per_sample
        .iter()
        .filter_map(|score| score.as_ref().ok())
        .collect();
    let singles: Vec<f64> = values.iter().map(|score| score.value).collect();
    let mean = (!singles.is_empty()).then(|| mean(&singles));
    let corpus = scored.corpus.as_ref().ok();
    let (value, interval, components) = match descriptor.headline {
        Headline::Mean => (
            mean,
            bootstrap::of_mean(&singles, resamples, rng),
            mean_components(&values, descriptor.components.len()),
        ),
        Headline::Corpus => (
            corpus.map(|score| score.value),
            bootstrap::of_corpus(metric, &scored.statistics, resamples, rng),
            corpus
                .map(|score| score.components.clone())
                .unwrap_or_default(),
        ),
    };
    let mut failures = BTreeMap::new();
    let mut first_failure = None;
    for (score, id) in scored.per_sample.iter().zip(ids) {
        if let Err(failure) = score {
            *failures.entry(failure.kind().to_owned()).or_insert(0) += 1;
            first_failure.get_or_insert_with(|| format!("sample `{}`: {failure}", id.as_ref()));
        }
    }
    if let (Err(failure), None) = (&scored.corpus, &first_failure) {
        first_failure = Some(format!("corpus: {failure}"));
    }
    MetricResult {
        name: metric.name().to_owned(),
        signature: metric.signature(),
        headline: descriptor.headline,
        value,
        interval,
        corpus: corpus.map(|score| score.value),
        mean,
        components: descriptor
            .components
            .iter()
            .cloned()
            .zip(components)
            .collect(),
        higher_is_better: descriptor.higher_is_better,
        samples: ids.len(),
        failures,
        first_failure,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn mean_components(scores: &[&Score], count: usize) -> Vec<f64> {
    if scores.is_empty() {
        return Vec::new();
    }
    (0..count)
        .map(|at| {
            let column: Vec<f64> = scores.iter().map(|score| score.components[at]).collect();
            mean(&column)
        })
        .collect()
}
