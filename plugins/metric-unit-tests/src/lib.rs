#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use rlhf_python::candidate::{Candidate, Form};
use rlhf_sdk::{
    Error, Headline, Metric, MetricDescriptor, Need, Sample, Score, export_metric, host, log,
};
use serde::Deserialize;

/// Languages whose completions and programs can be told apart.
const PYTHON: &str = "python";

/// Options as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether the value is the fraction of tests passed, not all or nothing; default false.
    pub fraction: bool,
    /// `auto` (default), `completion` or `program`.
    pub candidate: Form,
    /// Whether code is taken out of Markdown; default true.
    pub fences: bool,
    /// Language of samples that don't say theirs; default `python`.
    pub language: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fraction: false,
            candidate: Form::default(),
            fences: true,
            language: PYTHON.to_owned(),
        }
    }
}

/// Executed tests with the options settled.
#[derive(Debug)]
pub struct UnitTests {
    options: Options,
}

impl Metric for UnitTests {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        if options.language.is_empty() {
            return Err(Error::bad_option(
                "language",
                "expected a language, found nothing",
            ));
        }
        Ok(Self { options })
    }

    fn describe(&self) -> MetricDescriptor {
        let Options {
            fraction,
            candidate,
            fences,
            language,
        } = &self.options;
        let signature = format!(
            "tests:{}|candidate:{}|fences:{}|lang:{language}",
            if *fraction { "fraction" } else { "all" },
            candidate.name(),
            if *fences { "yes" } else { "no" },
        );
        MetricDescriptor::new(
            "unit-tests",
            env!("CARGO_PKG_VERSION"),
            "whether the response passes the task's tests",
        )
        .components(["passed", "total", "unguarded"])
        .headline(Headline::Mean)
        .needs([Need::Tests])
        .citation("Chen et al. 2021, https://arxiv.org/abs/2107.03374")
        .signature(signature)
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        if sample.tests.is_empty() {
            return Err(Error::new(
                "no-tests",
                "expected at least one test, found none",
            ));
        }
        let language = match sample.language.as_str() {
            "" => &self.options.language,
            language => language,
        };
        // Only of Python it is known how functions begin.
        let form = match self.options.candidate {
            Form::Auto if language != PYTHON => Form::Program,
            form => form,
        };
        let candidate = Candidate::of(&sample.prompt, &sample.response, form, self.options.fences);
        let verdict = host::sandbox()?.judge(
            language,
            candidate.prompt,
            &candidate.source(),
            &sample.tests,
        )?;
        if verdict.total == 0 {
            return Err(Error::new(
                "cannot-judge",
                "the sandbox ran none of the tests",
            ));
        }
        if let Some(failure) = verdict.failures.first() {
            log::debug(format!("{}: {failure}", sample.id));
        }
        let (passed, total) = (f64::from(verdict.passed), f64::from(verdict.total));
        let value = if self.options.fraction {
            passed / total
        } else {
            f64::from(u8::from(verdict.passed == verdict.total))
        };
        Ok(Score::new(value)
            .component("passed", passed)
            .component("total", total)
            .component("unguarded", f64::from(verdict.unguarded)))
    }
}

export_metric!(UnitTests);
