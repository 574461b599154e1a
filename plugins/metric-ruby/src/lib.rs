#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod complexity;
mod fstring;
pub mod options;
pub mod parts;
pub mod seed;
pub mod style;

use rlhf_sdk::{Error, Headline, Metric, MetricDescriptor, Sample, Score, export_metric, host};

use crate::options::{Options, Weights};
use crate::parts::{LANGUAGE, Parts};
use crate::style::Code;

/// Ruby with its options settled.
#[derive(Debug)]
pub struct Ruby {
    weights: Weights,
    options: Options,
}

impl Metric for Ruby {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let weights = options
            .weights()
            .map_err(|bad| Error::bad_option("weights", bad))?;
        Ok(Self { weights, options })
    }

    fn describe(&self) -> MetricDescriptor {
        let best = Parts {
            syntax: 1.0,
            complexity: 1.0,
            style: 1.0,
            execution: 1.0,
            ..Parts::default()
        };
        let details = Code::ALL.into_iter().filter(|_| self.options.details);
        let components = [
            "syntax",
            "complexity",
            "style",
            "execution",
            "blocks",
            "cyclomatic_total",
            "cyclomatic_max",
            "violations",
        ];
        MetricDescriptor::new(
            "ruby",
            env!("CARGO_PKG_VERSION"),
            "syntax, complexity, style and execution of Python code",
        )
        .range(0.0, best.value(&self.weights))
        .components(components.into_iter().chain(details.map(Code::name)))
        .headline(Headline::Mean)
        .signature(self.options.signature(&self.weights))
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        if !matches!(sample.language.as_str(), "" | LANGUAGE) {
            return Err(Error::unsupported_language(&sample.language, &[LANGUAGE]));
        }
        let parts = Parts::of(sample, &self.options, &host::sandbox()?)?;
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let mut score = Score::new(parts.value(&self.weights))
            .component("syntax", parts.syntax)
            .component("complexity", parts.complexity)
            .component("style", parts.style)
            .component("execution", parts.execution)
            .component("blocks", number(parts.cyclomatic.blocks))
            .component("cyclomatic_total", number(parts.cyclomatic.total))
            .component("cyclomatic_max", number(parts.cyclomatic.maximum))
            .component("violations", f64::from(parts.violations.total()));
        if self.options.details {
            for code in Code::ALL {
                let count = parts.violations.get(code);
                score = score.component(code.name(), f64::from(count));
            }
        }
        Ok(score)
    }
}

export_metric!(Ruby);
