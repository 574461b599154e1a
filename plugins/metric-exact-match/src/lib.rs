#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod exact;

use rlhf_sdk::{Error, Headline, Metric, MetricDescriptor, Need, Sample, Score, export_metric};
use serde::Deserialize;

use crate::exact::Compared;

/// Options as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// `stripped` (default), `tokens` or `text`.
    pub compare: Option<String>,
}

/// Exact match with its options settled.
#[derive(Debug)]
pub struct ExactMatch {
    compared: Compared,
}

impl Metric for ExactMatch {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let Some(name) = options.compare else {
            return Ok(Self {
                compared: Compared::default(),
            });
        };
        let mut names = Compared::NAMES.into_iter();
        match names.find(|(known, _)| *known == name) {
            Some((_, compared)) => Ok(Self { compared }),
            None => Err(Error::bad_option(
                "compare",
                format!("expected `stripped`, `tokens` or `text`, found `{name}`"),
            )),
        }
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new(
            "exact-match",
            env!("CARGO_PKG_VERSION"),
            "whether the response is one of the references",
        )
        .needs([Need::References])
        .headline(Headline::Mean)
        .citation("Lu et al. 2021, https://arxiv.org/abs/2102.04664")
        .signature(format!("case:mixed|compare:{}", self.compared.name()))
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        if sample.references.is_empty() {
            return Err(Error::new(
                "no-references",
                "expected at least one reference, found none",
            ));
        }
        let mut references = sample.references.iter();
        let equal = references.any(|reference| self.compared.equal(&sample.response, reference));
        Ok(Score::new(if equal { 1.0 } else { 0.0 }))
    }
}

export_metric!(ExactMatch);
