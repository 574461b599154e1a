#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod similarity;

use rlhf_sdk::{Error, Headline, Metric, MetricDescriptor, Need, Sample, Score, export_metric};
use rlhf_text::strip;
use serde::Deserialize;

use crate::similarity::Variant;

/// Options as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// `levenshtein` (default) or `codexglue`.
    pub variant: String,
    /// Whether whitespace at the ends of the texts is left out; default yes.
    pub strip: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            variant: Variant::default().name().to_owned(),
            strip: true,
        }
    }
}

/// Edit similarity with its options settled.
#[derive(Debug)]
pub struct EditSimilarity {
    variant: Variant,
    strip: bool,
}

impl Metric for EditSimilarity {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let variants = [Variant::Levenshtein, Variant::Codexglue];
        let variant = (variants.into_iter()).find(|variant| variant.name() == options.variant);
        let variant = variant.ok_or_else(|| {
            let found = &options.variant;
            Error::bad_option(
                "variant",
                format!("expected `levenshtein` or `codexglue`, found `{found}`"),
            )
        })?;
        Ok(Self {
            variant,
            strip: options.strip,
        })
    }

    fn describe(&self) -> MetricDescriptor {
        let strip = if self.strip { "yes" } else { "no" };
        MetricDescriptor::new(
            "edit-similarity",
            env!("CARGO_PKG_VERSION"),
            "share of the characters that needs no edit to become a reference",
        )
        .needs([Need::References])
        .headline(Headline::Mean)
        .citation("Lu et al. 2021, https://arxiv.org/abs/2102.04664")
        .signature(format!(
            "case:mixed|variant:{}|strip:{strip}",
            self.variant.name()
        ))
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        let ends = |text| if self.strip { strip(text) } else { text };
        let response = ends(&sample.response);
        let references = sample.references.iter();
        let similarities =
            references.map(|reference| self.variant.similarity(response, ends(reference)));
        let best = similarities.reduce(f64::max).ok_or_else(|| {
            Error::new(
                "no-references",
                "expected at least one reference, found none",
            )
        })?;
        Ok(Score::new(best))
    }
}

export_metric!(EditSimilarity);
