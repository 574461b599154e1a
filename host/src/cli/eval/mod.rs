//! `rlhf eval`: scores predictions with any metrics; no model is involved.

mod output;
mod predictions;

pub(super) use predictions::columns;

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Usage;
use crate::config::{self, data::OnBadRow};
use crate::evaluate::paired::{self, Comparison};
use crate::evaluate::pass_at::{self, PassAt};
use crate::evaluate::{self, MetricResult, Scored};
use crate::pipeline::Plugins;
use crate::plugin::{Component, Kind, Metric, Runtime, Sample, Spec};
use crate::random::{Purpose, Stream};

use output::Report;

/// Name of the metric whose score of 1 means that all tests passed.
const UNIT_TESTS: &str = "unit-tests";

/// What is printed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(clap::Args)]
pub struct Args {
    /// Predictions in CSV, JSON, JSON Lines or Parquet: `prediction` (or `response`, `completion`) and `reference` (or `references`) a row; - is JSON Lines from stdin. Given twice, the second system is tested against the first
    #[arg(long, value_name = "FILE", conflicts_with = "prediction")]
    predictions: Vec<PathBuf>,
    /// Tasks that the predictions answer, joined by id: HumanEval's, MBPP's or any others with prompts, tests or references
    #[arg(long, value_name = "FILE", requires = "predictions")]
    tasks: Option<PathBuf>,
    /// pass@k: run each prediction's tests; several samples of a task have its id
    #[arg(long, value_name = "K[,K…]", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pass_at: Vec<u16>,
    /// A single prediction
    #[arg(long, value_name = "TEXT", requires = "reference")]
    prediction: Option<String>,
    /// Its reference; repeatable
    #[arg(long, value_name = "TEXT", requires = "prediction")]
    reference: Vec<String>,
    /// Metric: the name of a shipped component or a path; repeatable [default: bleu, codebleu]
    #[arg(long, value_name = "NAME[,…]")]
    metric: Vec<String>,
    /// Plugin of any kind: a metric, an adapter for the file, a code runner for those that are granted a sandbox; repeatable
    #[arg(long, value_name = "PATH[,…]")]
    plugin: Vec<String>,
    /// Column of a field: `response=answer`, `references=gold`; repeatable
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,
    /// Rows that can't be read end the evaluation, or are left out
    #[arg(long, value_parser = super::train::on_bad_row, value_name = "error|skip", default_value = "error")]
    on_bad_row: OnBadRow,
    /// Programming language of the texts, where a row doesn't say
    #[arg(long, default_value = "python")]
    language: String,
    /// Tests that need live objects run with the candidate in one instance, where it can forge their verdict; they are counted as unguarded
    #[arg(long)]
    allow_unguarded: bool,
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Write one JSON line a row: scores, or why there are none (of the first file)
    #[arg(long, value_name = "FILE")]
    per_sample: Option<PathBuf>,
    /// Resamples behind each 95 % interval
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..))]
    bootstrap_samples: u32,
    /// Decides the resampling
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// A metric that gave no number at all.
#[derive(Debug, thiserror::Error)]
#[error("not computed: {0}\nhint: the table says why")]
pub struct NotComputed(String);

/// What was scored under one name.
struct System {
    name: String,
    samples: Vec<Sample>,
    /// By metric.
    scored: Vec<Scored>,
}

pub fn run(args: &Args) -> Result<()> {
    let runtime = Runtime::of_user()?;
    let mut specs = args
        .metric
        .iter()
        .chain(&args.plugin)
        .map(|text| Spec::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let tests_asked = specs.iter().any(|spec| spec.path.contains(UNIT_TESTS));
    if !args.pass_at.is_empty() && !tests_asked {
        specs.push(Spec::of(UNIT_TESTS));
    }
    let sandbox = config::Sandbox {
        allow_unguarded: args.allow_unguarded,
        ..config::Sandbox::default()
    };
    let mut plugins = Plugins::given(&runtime, &specs, &sandbox)?;
    for text in &args.metric {
        Component::find(&runtime, &Spec::parse(text)?)?.expect(Kind::Metric)?;
    }
    if plugins.metrics.is_empty() {
        let usual: Vec<Spec> = ["bleu", "codebleu"].map(Spec::of).into();
        plugins.metrics = Plugins::given(&runtime, &usual, &sandbox)?.metrics;
    }
    if let Some(shaper) = plugins.shapers.first() {
        return Err(Usage(format!(
            "`{}` is a reward shaper: there are no rewards in `rlhf eval`\nhint: give metrics, adapters and code runners",
            shaper.name()
        ))
        .into());
    }
    let metrics = &plugins.metrics;
    let mut systems = predictions::systems(args, &runtime, plugins.adapters)?;
    for system in &mut systems {
        let samples = &system.samples;
        let scored = metrics
            .iter()
            .map(|metric| evaluate::score(metric, samples));
        system.scored = scored.collect();
    }
    if let Some(path) = &args.per_sample {
        let System {
            samples, scored, ..
        } = &systems[0];
        output::write_per_sample(path, samples, metrics, scored)
            .with_context(|| format!("per-sample file `{}`", path.display()))?;
    }
    let resamples = args.bootstrap_samples as usize;
    let rng = || Stream::new(args.seed, Purpose::Bootstrap, 0, 0);
    let summarise = |system: &System| -> Vec<MetricResult> {
        metrics
            .iter()
            .zip(&system.scored)
            .map(|(metric, scored)| {
                evaluate::summarise(metric, &system.samples, scored, resamples, rng())
            })
            .collect()
    };
    let results: Vec<Vec<MetricResult>> = systems.iter().map(summarise).collect();
    let comparisons: Vec<Vec<Comparison>> = systems[1..]
        .iter()
        .map(|system| {
            metrics
                .iter()
                .enumerate()
                .filter_map(|(at, metric)| {
                    let baseline = &systems[0].scored[at];
                    paired::compare(metric, baseline, &system.scored[at], resamples, &rng())
                })
                .collect()
        })
        .collect();
    let pass_at: Vec<Vec<PassAt>> = systems
        .iter()
        .map(|system| pass_at(args, metrics, system))
        .collect();
    let report = Report {
        systems: &systems,
        metrics,
        results: &results,
        comparisons: &comparisons,
        pass_at: &pass_at,
    };
    report.print(args.output)?;
    let missing: Vec<&str> = results[0]
        .iter()
        .filter(|result| result.value.is_none())
        .map(|result| result.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(NotComputed(missing.join(", ")).into());
    }
    Ok(())
}

/// pass@k of one system, for each k that was asked for.
fn pass_at(args: &Args, metrics: &[Metric], system: &System) -> Vec<PassAt> {
    let Some(at) = metrics
        .iter()
        .position(|metric| metric.name() == UNIT_TESTS)
    else {
        return Vec::new();
    };
    let tallies = pass_at::tally(&system.samples, &system.scored[at]);
    let resamples = args.bootstrap_samples as usize;
    let estimate = |k: &u16| {
        let rng = Stream::new(args.seed, Purpose::Bootstrap, 0, 0);
        pass_at::pass_at(usize::from(*k), &tallies, resamples, rng)
    };
    args.pass_at.iter().map(estimate).collect()
}
