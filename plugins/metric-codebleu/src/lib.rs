#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod analysis;
pub mod codebleu;
pub mod comments;
pub mod dataflow;
pub mod digest;
pub mod languages;
pub mod leaves;
pub mod mode;
pub mod options;
pub mod python_set;
pub mod syntax;
pub mod tree;

use std::cell::RefCell;

use rlhf_sdk::{
    AdditiveMetric, Error, Headline, Level, MetricDescriptor, Need, Sample, Score,
    export_additive_metric,
};

use crate::analysis::Analyser;
use crate::codebleu::{Counts, STATISTICS, Weights};
use crate::languages::{LANGUAGES, Language};
use crate::mode::Mode;
use crate::options::Options;

/// CodeBLEU with its options settled.
#[derive(Debug)]
pub struct CodeBleu {
    weights: Weights,
    /// Of all samples, as a place in [`LANGUAGES`]; otherwise each says its own.
    language: Option<usize>,
    mode: Mode,
    /// One per language that has been met, in the order of [`LANGUAGES`].
    analysers: RefCell<Vec<Option<Analyser>>>,
}

impl AdditiveMetric for CodeBleu {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let weights = options
            .weights()
            .map_err(|bad| Error::bad_option("weights", bad))?;
        let place = |name: &str| Language::place(name).ok_or_else(|| unsupported(name));
        let language = options.language.as_deref().map(place).transpose()?;
        let analysers = LANGUAGES.iter().map(|_| None).collect();
        Ok(Self {
            weights,
            language,
            mode: options.mode,
            analysers: RefCell::new(analysers),
        })
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new(
            "codebleu",
            env!("CARGO_PKG_VERSION"),
            "agreement with reference code in tokens, syntax and data flow",
        )
        .range(0.0, self.weights.sum())
        .components([
            "ngram_match",
            "weighted_ngram_match",
            "syntax_match",
            "dataflow_match",
        ])
        .headline(Headline::Corpus)
        .needs([Need::References])
        .citation("Ren et al. 2020, https://arxiv.org/abs/2009.10297")
        .signature(options::signature(
            &self.weights,
            self.language.map(|place| LANGUAGES[place]),
            self.mode,
        ))
    }

    fn statistics_length(&self) -> usize {
        STATISTICS
    }

    fn measure(&self, sample: &Sample) -> Result<Vec<f64>, Error> {
        let place = match (self.language, sample.language.as_str()) {
            (Some(place), _) => Some(place),
            (None, "") => Some(0),
            (None, name) => Language::place(name),
        };
        let place = place.ok_or_else(|| unsupported(&sample.language))?;
        let mut analysers = self.analysers.borrow_mut();
        let analyser = match &mut analysers[place] {
            Some(analyser) => analyser,
            none => none.insert(Analyser::new(LANGUAGES[place], self.mode).ok_or_else(|| {
                Error::new(
                    "no-parser",
                    "the grammar doesn't fit this version of tree-sitter",
                )
            })?),
        };
        let counts = analyser.compare(&sample.response, &sample.references);
        counts
            .map(|counts| counts.to_statistics())
            .map_err(|failure| Error::new(failure.code(), failure.to_string()))
    }

    fn score(&self, statistics: &[f64], _level: Level) -> Result<Score, Error> {
        let counts = Counts::from_statistics(statistics)
            .ok_or_else(|| Error::new("bad-statistics", "not the statistics of this metric"))?;
        let parts = counts
            .parts()
            .ok_or_else(|| Error::new("no-samples", "the score of no samples is not defined"))?;
        let total = match self.mode {
            Mode::Compat => Some(self.weights.total(&parts)),
            Mode::Strict => self.weights.strict_total(&parts),
        };
        let total = total.ok_or_else(|| {
            Error::new(
                "no-dataflow",
                "the references have no data flow, and `weights` gives the other parts no weight",
            )
        })?;
        Ok(Score::new(total)
            .component("ngram_match", parts.ngram)
            .component("weighted_ngram_match", parts.weighted_ngram)
            .component("syntax_match", parts.syntax)
            .component("dataflow_match", parts.dataflow.unwrap_or(0.0)))
    }
}

fn unsupported(language: &str) -> Error {
    let names: Vec<&str> = LANGUAGES.iter().map(|language| language.name).collect();
    Error::unsupported_language(language, &names)
}

export_additive_metric!(CodeBleu);
