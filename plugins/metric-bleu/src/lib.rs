#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod bleu;
pub mod options;
pub mod sacrebleu;

use rlhf_sdk::{
    AdditiveMetric, Error, Headline, Level, MetricDescriptor, Need, Sample, Score,
    export_additive_metric,
};

use crate::bleu::Counts;
use crate::options::{Options, Variant};

/// BLEU with its options settled.
#[derive(Debug)]
pub struct Bleu {
    variant: Variant,
    /// Names of the components; every score has its own copy.
    components: Vec<String>,
}

impl AdditiveMetric for Bleu {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let variant = options
            .variant()
            .map_err(|bad| Error::bad_option(bad.key, bad.message))?;
        let precisions = (1..=variant.order_max()).map(|n| format!("precision_{n}"));
        Ok(Self {
            components: precisions.chain(["brevity_penalty".to_owned()]).collect(),
            variant,
        })
    }

    fn describe(&self) -> MetricDescriptor {
        let descriptor = MetricDescriptor::new(
            "bleu",
            env!("CARGO_PKG_VERSION"),
            "clipped n-gram precision with a penalty for short responses",
        )
        .components(self.components.iter().cloned())
        .needs([Need::References])
        .citation("Papineni et al. 2002, https://aclanthology.org/P02-1040")
        .signature(self.variant.signature());
        match self.variant {
            Variant::Nltk { .. } => descriptor.headline(Headline::Mean),
            Variant::Sacrebleu { .. } => descriptor
                .headline(Headline::Corpus)
                .range(0.0, 100.0)
                .unit("%"),
        }
    }

    fn statistics_length(&self) -> usize {
        2 + 2 * self.variant.order_max()
    }

    fn measure(&self, sample: &Sample) -> Result<Vec<f64>, Error> {
        let order_max = self.variant.order_max();
        let counts = match self.variant {
            Variant::Nltk { .. } => Counts::new(&sample.response, &sample.references, order_max)
                .map(Counts::with_totals_of_one),
            Variant::Sacrebleu { .. } => {
                sacrebleu::counts(&sample.response, &sample.references, order_max)
            }
        };
        counts.map(|counts| counts.to_statistics()).ok_or_else(|| {
            Error::new(
                "no-references",
                "expected at least one reference, found none",
            )
        })
    }

    fn score(&self, statistics: &[f64], level: Level) -> Result<Score, Error> {
        let counts = Counts::from_statistics(statistics)
            .ok_or_else(|| Error::new("bad-statistics", "not the statistics of this metric"))?;
        let (score, precisions, penalty) = match &self.variant {
            Variant::Nltk { weights, smoothing } => {
                let precisions = bleu::precisions(&counts, *smoothing);
                let score = bleu::score(&counts, weights, &precisions);
                (score, precisions, bleu::penalty(&counts))
            }
            Variant::Sacrebleu { smoothing, .. } => {
                let precisions = sacrebleu::precisions(&counts, *smoothing);
                let score = sacrebleu::score(&counts, &precisions, level == Level::Sample);
                (score, precisions.values, sacrebleu::penalty(&counts))
            }
        };
        let mut result = Score::new(score);
        result.components.reserve_exact(self.components.len());
        for (name, value) in self
            .components
            .iter()
            .zip(precisions.into_iter().chain([penalty]))
        {
            result = result.component(name, value);
        }
        Ok(result)
    }
}

export_additive_metric!(Bleu);
