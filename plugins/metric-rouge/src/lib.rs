#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod options;
pub mod porter;
pub mod rouge;
pub mod tokens;

use rlhf_sdk::{Error, Headline, Metric, MetricDescriptor, Need, Sample, Score, export_metric};

use crate::options::Options;
use crate::rouge::Variant;
use crate::tokens::{Mode, Vocabulary};

/// ROUGE with its options settled.
#[derive(Debug)]
pub struct Rouge {
    variant: Variant,
    stemmer: bool,
    mode: Mode,
}

impl Metric for Rouge {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let variant = options
            .variant()
            .map_err(|message| Error::bad_option("variant", message))?;
        Ok(Self {
            variant,
            stemmer: options.stemmer,
            mode: options.mode,
        })
    }

    fn describe(&self) -> MetricDescriptor {
        let components = Variant::ALL.iter().flat_map(|variant| {
            ["precision", "recall", "fmeasure"].map(|part| format!("{}_{part}", variant.name()))
        });
        let stemmer = if self.stemmer { "porter" } else { "none" };
        let variant = self.variant.name();
        // In strict mode there is no reference that gives these numbers.
        let mode = match self.mode {
            Mode::Compat => "compat|ref:rouge-score-0.1.2",
            Mode::Strict => "strict",
        };
        MetricDescriptor::new(
            "rouge",
            env!("CARGO_PKG_VERSION"),
            "tokens in common with the reference, singly, in pairs or in sequence",
        )
        .components(components)
        .needs([Need::References])
        .headline(Headline::Mean)
        .citation("Lin 2004, https://aclanthology.org/W04-1013")
        .signature(format!(
            "case:lc|variant:{variant}|stem:{stemmer}|mode:{mode}"
        ))
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        let vocabulary = Vocabulary::new(self.stemmer, self.mode);
        let scores = rouge::scores(&sample.response, &sample.references, vocabulary);
        let scores = scores.ok_or_else(|| {
            Error::new(
                "no-references",
                "expected at least one reference, found none",
            )
        })?;
        let mut result = Score::new(scores[self.variant as usize].fmeasure);
        for (variant, score) in Variant::ALL.iter().zip(scores) {
            let name = variant.name();
            result = result
                .component(format!("{name}_precision"), score.precision)
                .component(format!("{name}_recall"), score.recall)
                .component(format!("{name}_fmeasure"), score.fmeasure);
        }
        Ok(result)
    }
}

export_metric!(Rouge);
