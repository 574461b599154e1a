#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod chrf;
pub mod ngrams;
pub mod options;

use rlhf_sdk::{
    AdditiveMetric, Error, Level, MetricDescriptor, Need, Sample, Score, export_additive_metric,
};

use crate::options::{Options, Settings};

/// chrF with its options settled.
#[derive(Debug)]
pub struct Chrf {
    settings: Settings,
}

impl AdditiveMetric for Chrf {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let settings = options
            .settings()
            .map_err(|bad| Error::bad_option(bad.key, bad.message))?;
        Ok(Self { settings })
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new(
            "chrf",
            env!("CARGO_PKG_VERSION"),
            "F-score of the character n-grams in common with the reference",
        )
        .components(["precision", "recall"])
        .needs([Need::References])
        .range(0.0, 100.0)
        .unit("%")
        .citation("Popović 2015, https://aclanthology.org/W15-3049")
        .signature(self.settings.signature())
    }

    fn statistics_length(&self) -> usize {
        3 * self.settings.orders()
    }

    fn measure(&self, sample: &Sample) -> Result<Vec<f64>, Error> {
        let statistics = chrf::statistics(&sample.response, &sample.references, &self.settings);
        statistics.ok_or_else(|| {
            Error::new(
                "no-references",
                "expected at least one reference, found none",
            )
        })
    }

    fn score(&self, statistics: &[f64], _level: Level) -> Result<Score, Error> {
        let score = chrf::score(statistics, &self.settings);
        Ok(Score::new(score.value)
            .component("precision", score.precision)
            .component("recall", score.recall))
    }
}

export_additive_metric!(Chrf);
