#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod assignment;
pub mod ast;
pub mod control;
pub mod dependence;
pub mod graph;
pub mod graph_distance;
pub mod languages;
mod numbers;
pub mod options;
pub mod ruby;
pub mod syntax;
pub mod tokens;
pub mod tree_distance;

use std::cell::RefCell;

use rlhf_sdk::{Error, Headline, Metric, MetricDescriptor, Need, Sample, Score, export_metric};

use crate::languages::{LANGUAGES, Language};
use crate::options::{Level, Options};
use crate::ruby::{Comparer, Ruby, strings};

/// RUBY with its options settled.
#[derive(Debug)]
pub struct RubyPaper {
    level: Level,
    /// Of all samples, as a place in [`LANGUAGES`]; otherwise each says its own.
    language: Option<usize>,
    /// One per language that has been met, in the order of [`LANGUAGES`].
    comparers: RefCell<Vec<Option<Comparer>>>,
}

impl Metric for RubyPaper {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let place = |name: &str| {
            let names: Vec<&str> = LANGUAGES.iter().map(|language| language.name).collect();
            Language::place(name).ok_or_else(|| Error::unsupported_language(name, &names))
        };
        Ok(Self {
            level: options.level,
            language: options.language.as_deref().map(place).transpose()?,
            comparers: RefCell::new(LANGUAGES.iter().map(|_| None).collect()),
        })
    }

    fn describe(&self) -> MetricDescriptor {
        let language = self
            .language
            .map_or("sample", |place| LANGUAGES[place].name);
        MetricDescriptor::new(
            "ruby-paper",
            env!("CARGO_PKG_VERSION"),
            "similarity of program dependence graphs, else of syntax trees, else of tokens",
        )
        .components(["graph", "tree", "string", "exact"])
        .headline(Headline::Mean)
        .needs([Need::References])
        .citation("Tran et al. 2019, https://arxiv.org/abs/1906.04903")
        .signature(format!("level:{}|lang:{language}", self.level.name()))
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        let place = match (self.language, sample.language.as_str()) {
            (Some(place), _) => Some(place),
            (None, "") => Some(0),
            (None, name) => Language::place(name),
        };
        let mut best: Option<Ruby> = None;
        for reference in &sample.references {
            let ruby = self.compare(place, &sample.response, reference)?;
            if best.is_none_or(|best| ruby.value > best.value) {
                best = Some(ruby);
            }
        }
        let best = best.ok_or_else(|| {
            Error::new(
                "no-references",
                "expected at least one reference, found none",
            )
        })?;
        let share = |level| f64::from(u8::from(best.level == level));
        Ok(Score::new(best.value)
            .component("graph", share(Level::Graph))
            .component("tree", share(Level::Tree))
            .component("string", share(Level::String))
            .component("exact", f64::from(u8::from(best.exact))))
    }
}

impl RubyPaper {
    /// Of a language that isn't known there are only strings.
    fn compare(
        &self,
        place: Option<usize>,
        response: &str,
        reference: &str,
    ) -> Result<Ruby, Error> {
        let ruby = match place {
            None => matches!(self.level, Level::Auto | Level::String)
                .then(|| strings(response, reference)),
            Some(place) => {
                let mut comparers = self.comparers.borrow_mut();
                let comparer = match &mut comparers[place] {
                    Some(comparer) => comparer,
                    none => none.insert(Comparer::new(place).ok_or_else(|| {
                        Error::new(
                            "no-parser",
                            "the grammar doesn't fit this version of tree-sitter",
                        )
                    })?),
                };
                comparer.ruby(response, reference, self.level)
            }
        };
        ruby.ok_or_else(|| {
            let level = self.level.name();
            Error::new(
                "not-computable",
                format!("there is no {level} of both texts: a syntax error, an unknown language, or too large"),
            )
        })
    }
}

export_metric!(RubyPaper);
