//! `rlhf eval`: scores predictions with any metrics; no policy is involved.

mod guess;
mod lines;
mod metric_form;
mod output;
mod predictions;
mod stream;
mod systems;

pub(super) use predictions::columns;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::{MissedTarget, Usage};
use crate::config::{self, data::OnBadRow};
use crate::evaluate::paired::{self, Comparison};
use crate::evaluate::pass_at::{self, PassAt};
use crate::evaluate::{self, MetricResult};
use crate::pipeline::{EncoderChoice, Plugins};
use crate::plugin::{Component, Kind, Metric, Runtime, Spec};
use crate::random::{Purpose, Stream};
use crate::report::TargetResult;

use output::Report;
use predictions::{Reader, Source};
use systems::System;

/// Name of the metric whose score of 1 means that all tests passed.
const UNIT_TESTS: &str = "unit-tests";

/// What is printed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Table,
    Json,
    /// One JSON line a metric; with `--predictions -` one a sample, as soon as it is scored
    Jsonl,
    Csv,
}

#[derive(clap::Args)]
pub struct Args {
    /// Predictions in CSV, JSON, JSON Lines or Parquet: `prediction` (or `response`, `completion`) and `reference` (or `references`) a row; - is JSON Lines from stdin, answered line by line. Given twice, the second system is tested against the first
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
    /// Metric: the name of a shipped component or a path, and its options; repeatable [default: bleu, codebleu]
    #[arg(long, value_name = "NAME[:OPTION=VALUE…][,…]")]
    metric: Vec<String>,
    /// Plugin of any kind: a metric, an adapter for the file, a code runner for those that are granted a sandbox; repeatable
    #[arg(long, value_name = "PATH[,…]")]
    plugin: Vec<String>,
    /// Column of a field: `response=answer`, `references=gold`; repeatable
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,
    /// Option of an adapter: `csv.escapes=true`, `csv.delimiter=;`; repeatable
    #[arg(long, value_name = "ADAPTER.OPTION=VALUE")]
    data_option: Vec<String>,
    /// Rows that can't be read end the evaluation, or are left out
    #[arg(long, value_parser = super::train::on_bad_row, value_name = "error|skip", default_value = "error")]
    on_bad_row: OnBadRow,
    /// Programming language of the texts, where a row doesn't say
    #[arg(long, default_value = "python")]
    language: String,
    /// Tests that need live objects run with the candidate in one instance, where it can forge their verdict; they are counted as unguarded
    #[arg(long)]
    allow_unguarded: bool,
    /// BERT or RoBERTa whose token embeddings bertscore compares: a folder or a hub name
    #[arg(long, value_name = "MODEL")]
    encoder: Option<String>,
    /// Its layer [default: bert-score's choice, or the last]
    #[arg(long, value_name = "N", requires = "encoder")]
    encoder_layer: Option<usize>,
    /// Device of the encoder
    #[arg(long, value_parser = super::train::device, value_name = "cpu|cuda|metal|auto", default_value = "auto")]
    device: config::Device,
    /// What a metric should reach, of two systems in the second; repeatable
    #[arg(long, value_name = "METRIC=VALUE")]
    target: Vec<String>,
    /// Exit with 4 if a metric misses its target
    #[arg(long)]
    require_targets: bool,
    /// Default: table; jsonl for `--predictions -`
    #[arg(long, value_enum)]
    output: Option<Output>,
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
#[error("not computed: {0}")]
pub struct NotComputed(String);

pub fn run(args: &Args) -> Result<()> {
    let targets = targets(&args.target)?;
    if args.require_targets && targets.is_empty() {
        return Err(Usage(
            "--require-targets without a target\nhint: give some with --target NAME=VALUE".into(),
        )
        .into());
    }
    check_per_sample(args)?;
    let runtime = Runtime::of_user()?;
    let plugins = plugins(args, &runtime)?;
    let metrics = &plugins.metrics;
    check_targets(&targets, &plugins)?;
    let (reader, sources) = Reader::of(args, &runtime, plugins.adapters)?;
    let output = match (sources.as_slice(), args.output) {
        ([Source::Stdin], None | Some(Output::Jsonl)) => {
            check_stream(args)?;
            let lacks: Vec<&str> = plugins.not_computed.iter().map(|(_, why)| &**why).collect();
            return match lacks.is_empty() {
                true => stream::run(args, &reader, metrics),
                false => Err(NotComputed(lacks.join("; ")).into()),
            };
        }
        (_, output) => output.unwrap_or(Output::Table),
    };
    let mut systems: Vec<System> = Vec::new();
    for source in &sources {
        // Of the first file.
        let per_sample = args.per_sample.as_deref().filter(|_| systems.is_empty());
        let system = systems::score(&reader, source, metrics, per_sample)?;
        if let Some(baseline) = systems.first() {
            systems::same_questions(baseline, &system)?;
        }
        systems.push(system);
    }
    let resamples = args.bootstrap_samples as usize;
    let rng = || Stream::new(args.seed, Purpose::Bootstrap, 0, 0);
    let summarise = |system: &System| -> Vec<MetricResult> {
        let scored = metrics.iter().zip(&system.scored);
        let scored = scored.map(|(metric, scored)| {
            evaluate::summarise(metric, &system.ids, scored, resamples, rng())
        });
        let left_out = plugins.not_computed.iter();
        let left_out = left_out.map(|(name, reason)| MetricResult::not_computed(name, reason));
        scored.chain(left_out).collect()
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
    // Of two systems the second is the one that is tested.
    let tested = results.len() - 1;
    let targets = against_targets(&targets, &results[tested]);
    let report = Report {
        systems: &systems,
        metrics,
        results: &results,
        comparisons: &comparisons,
        pass_at: &pass_at,
        targets: &targets,
    };
    report.print(output)?;
    let missing: Vec<&str> = results[0]
        .iter()
        .filter(|result| result.value.is_none())
        .map(|result| result.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(
            NotComputed(format!("{}\nhint: the output says why", missing.join(", "))).into(),
        );
    }
    let missed = targets.iter().filter(|target| target.met == Some(false));
    let missed: Vec<&str> = missed.map(|target| target.metric.as_str()).collect();
    if args.require_targets && !missed.is_empty() {
        return Err(MissedTarget(missed.join(", ")).into());
    }
    Ok(())
}

/// What is written must be none of what is read, in a folder that is there.
fn check_per_sample(args: &Args) -> Result<(), Usage> {
    let Some(file) = &args.per_sample else {
        return Ok(());
    };
    let written = file.canonicalize().ok();
    let same = |read: &&PathBuf| written.is_some() && read.canonicalize().ok() == written;
    if let Some(read) = args.predictions.iter().chain(&args.tasks).find(same) {
        return Err(Usage(format!(
            "--per-sample `{}` is the file `{}`, which is read\nhint: name another file",
            file.display(),
            read.display()
        )));
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Usage(format!(
            "--per-sample `{}`: there is no folder `{}`",
            file.display(),
            folder.display()
        ))),
    }
}

/// What needs all predictions can't be had while they come one by one.
fn check_stream(args: &Args) -> Result<(), Usage> {
    let given = [
        ("--target", !args.target.is_empty()),
        ("--per-sample", args.per_sample.is_some()),
        ("--pass-at", !args.pass_at.is_empty()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => Err(Usage(format!(
            "{flag} is for all predictions together, and stdin is answered line by line\nhint: put the predictions into a file, or ask for the scores of all by --output json"
        ))),
    }
}

/// The plugins that the arguments name, or the usual metrics.
fn plugins(args: &Args, runtime: &Arc<Runtime>) -> Result<Plugins> {
    let mut specs = Vec::new();
    for text in &args.metric {
        let spec = metric_form::parse(text)?;
        Component::find(runtime, &spec)?.expect(Kind::Metric)?;
        specs.push(spec);
    }
    for text in &args.plugin {
        specs.push(Spec::parse(text)?);
    }
    let tests_asked = specs.iter().any(|spec| spec.path.contains(UNIT_TESTS));
    if !args.pass_at.is_empty() && !tests_asked {
        specs.push(Spec::of(UNIT_TESTS));
    }
    let sandbox = config::Sandbox {
        allow_unguarded: args.allow_unguarded,
        ..config::Sandbox::default()
    };
    let encoder = EncoderChoice {
        model: args.encoder.clone(),
        layer: args.encoder_layer,
        device: args.device,
    };
    let mut plugins = Plugins::given(runtime, &specs, &sandbox, encoder.clone())?;
    if plugins.metrics.is_empty() && plugins.not_computed.is_empty() {
        let usual: Vec<Spec> = ["bleu", "codebleu"].map(Spec::of).into();
        plugins.metrics = Plugins::given(runtime, &usual, &sandbox, encoder)?.metrics;
    }
    if let Some(shaper) = plugins.shapers.first() {
        return Err(Usage(format!(
            "`{}` is a reward shaper: there are no rewards in `rlhf eval`\nhint: give metrics, adapters and code runners",
            shaper.name()
        ))
        .into());
    }
    Ok(plugins)
}

/// Metrics and what they should reach.
fn targets(given: &[String]) -> Result<Vec<(String, f64)>, Usage> {
    given
        .iter()
        .map(|text| {
            let pair = text.split_once('=').and_then(|(name, value)| {
                let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
                Some((name.to_owned(), value))
            });
            pair.ok_or_else(|| {
                Usage(format!(
                    "--target `{text}`: expected METRIC=NUMBER\nhint: for instance codebleu=0.6"
                ))
            })
        })
        .collect()
}

/// A target of a metric that nobody asked for would never be missed.
fn check_targets(targets: &[(String, f64)], plugins: &Plugins) -> Result<(), Usage> {
    let metrics = plugins.metrics.iter().map(Metric::name);
    let left_out = plugins.not_computed.iter().map(|(name, _)| name.as_str());
    let names: Vec<&str> = metrics.chain(left_out).collect();
    match targets.iter().find(|(name, _)| !names.contains(&&**name)) {
        None => Ok(()),
        Some((name, _)) => Err(Usage(format!(
            "--target `{name}`: there is no such metric among {}\nhint: add it with --metric {name}",
            names.join(", ")
        ))),
    }
}

fn against_targets(targets: &[(String, f64)], results: &[MetricResult]) -> Vec<TargetResult> {
    let against = |(name, target): &(String, f64)| {
        let result = results.iter().find(|result| result.name == *name);
        let value = result.and_then(|result| result.value);
        let met = result
            .zip(value)
            .map(|(result, value)| match result.higher_is_better {
                true => value >= *target,
                false => value <= *target,
            });
        TargetResult {
            metric: name.clone(),
            target: *target,
            value,
            interval: result.and_then(|result| result.interval),
            met,
            reason: match value {
                Some(_) => None,
                None => result.and_then(|result| result.first_failure.clone()),
            },
        }
    };
    targets.iter().map(against).collect()
}

/// pass@k of one system, for each k that was asked for.
fn pass_at(args: &Args, metrics: &[Metric], system: &System) -> Vec<PassAt> {
    let Some(at) = metrics
        .iter()
        .position(|metric| metric.name() == UNIT_TESTS)
    else {
        return Vec::new();
    };
    let tallies = pass_at::tally(&system.ids, &system.scored[at]);
    let resamples = args.bootstrap_samples as usize;
    let estimate = |k: &u16| {
        let rng = Stream::new(args.seed, Purpose::Bootstrap, 0, 0);
        pass_at::pass_at(usize::from(*k), &tallies, resamples, rng)
    };
    args.pass_at.iter().map(estimate).collect()
}
