//! `rlhf eval`: scores predictions with any metrics; no model is involved.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::Usage;
use crate::config::data::OnBadRow;
use crate::data::sources::Adapters;
use crate::evaluate::paired::{self, Comparison};
use crate::evaluate::{self, MetricResult, Scored};
use crate::pipeline::Plugins;
use crate::plugin::{Component, DataAdapter, Kind, Metric, Runtime, Sample, Spec};
use crate::random::{Purpose, Stream};
use crate::report::tables;

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

/// A line of predictions on stdin.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "task_id")]
    id: Option<serde_json::Value>,
    #[serde(default)]
    prompt: String,
    #[serde(alias = "response", alias = "completion")]
    prediction: String,
    #[serde(alias = "reference", default)]
    references: References,
    #[serde(default)]
    tests: Vec<String>,
    language: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum References {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

/// What was scored under one name.
struct System {
    name: String,
    samples: Vec<Sample>,
    /// By metric.
    scored: Vec<Scored>,
}

pub fn run(args: &Args) -> Result<()> {
    let runtime = Runtime::of_user()?;
    let specs = args
        .metric
        .iter()
        .chain(&args.plugin)
        .map(|text| Spec::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut plugins = Plugins::given(&runtime, &specs)?;
    for text in &args.metric {
        Component::find(&runtime, &Spec::parse(text)?)?.expect(Kind::Metric)?;
    }
    if let Some(shaper) = plugins.shapers.first() {
        return Err(Usage(format!(
            "`{}` is a reward shaper: there are no rewards in `rlhf eval`\nhint: give metrics, adapters and code runners",
            shaper.name()
        ))
        .into());
    }
    if plugins.metrics.is_empty() {
        for name in ["bleu", "codebleu"] {
            plugins
                .metrics
                .push(Metric::load(&runtime, &Spec::of(name))?);
        }
    }
    let metrics = &plugins.metrics;
    let mut systems = systems(args, &runtime, plugins.adapters)?;
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
        write_per_sample(path, samples, metrics, scored)
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
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Table => {
            for (system, results) in systems.iter().zip(&results) {
                if systems.len() > 1 {
                    writeln!(out, "{} ({} samples)", system.name, system.samples.len())?;
                }
                write!(out, "{}", tables::metrics(results))?;
            }
            for (system, comparisons) in systems[1..].iter().zip(&comparisons) {
                writeln!(out, "{} against {}", system.name, systems[0].name)?;
                write!(out, "{}", tables::comparisons(comparisons))?;
                for metric in metrics {
                    if !comparisons.iter().any(|one| one.metric == metric.name()) {
                        writeln!(
                            out,
                            "  {:22} not compared: it takes two samples that both were scored on, and a metric that adds",
                            metric.name()
                        )?;
                    }
                }
            }
            for result in &results[0] {
                writeln!(out, "  {}", result.signature)?;
            }
        }
        Output::Json if systems.len() == 1 => {
            writeln!(out, "{}", serde_json::to_string_pretty(&results[0])?)?;
        }
        Output::Json => {
            let named: Vec<serde_json::Value> = systems
                .iter()
                .zip(&results)
                .map(|(system, results)| json!({ "predictions": system.name, "metrics": results }))
                .collect();
            let against: Vec<serde_json::Value> = systems[1..]
                .iter()
                .zip(&comparisons)
                .map(|(system, comparisons)| {
                    json!({
                        "predictions": system.name,
                        "baseline": systems[0].name,
                        "metrics": comparisons,
                    })
                })
                .collect();
            let all = json!({ "systems": named, "comparisons": against });
            writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        }
    }
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

/// What is to be scored, system by system; systems are compared sample by sample.
fn systems(args: &Args, runtime: &Arc<Runtime>, adapters: Vec<DataAdapter>) -> Result<Vec<System>> {
    let system = |name: String, samples| System {
        name,
        samples,
        scored: Vec::new(),
    };
    if let Some(prediction) = &args.prediction {
        let sample = Sample {
            id: "1".into(),
            response: prediction.clone(),
            references: args.reference.clone(),
            language: args.language.clone(),
            ..Sample::default()
        };
        return Ok(vec![system("prediction".into(), vec![sample])]);
    }
    if args.predictions.is_empty() {
        return Err(Usage(
            "nothing to score\nhint: give --predictions FILE, or --prediction TEXT and --reference TEXT".into(),
        )
        .into());
    }
    let columns = columns(&args.column)?;
    let mut adapters_ready = None;
    let mut given = Some(adapters);
    let mut systems: Vec<System> = Vec::new();
    for path in &args.predictions {
        let samples = if path.as_os_str() == "-" {
            if !columns.is_empty() || args.on_bad_row == OnBadRow::Skip {
                return Err(Usage(
                    "--column and --on-bad-row are for files, not for stdin\nhint: put the predictions into a file".into(),
                )
                .into());
            }
            read(std::io::stdin().lock(), "stdin", &args.language)?
        } else {
            if adapters_ready.is_none() {
                let given = given.take().unwrap_or_default();
                adapters_ready = Some(Adapters::load(runtime, given)?);
            }
            let adapters = adapters_ready.as_ref().expect("loaded above");
            adapters.predictions(path, &columns, args.on_bad_row, &args.language)?
        };
        let name = path.display().to_string();
        if let Some(baseline) = systems.first() {
            same_samples(&baseline.name, &baseline.samples, &name, &samples)?;
        }
        systems.push(system(name, samples));
    }
    Ok(systems)
}

/// Two systems can be compared only if they answered the same questions.
fn same_samples(baseline: &str, first: &[Sample], name: &str, second: &[Sample]) -> Result<()> {
    if first.len() != second.len() {
        return Err(Usage(format!(
            "`{baseline}` has {} predictions, `{name}` {}\nhint: systems are compared row by row",
            first.len(),
            second.len()
        ))
        .into());
    }
    let differs = first
        .iter()
        .zip(second)
        .find(|(a, b)| a.id != b.id || a.references != b.references || a.prompt != b.prompt);
    if let Some((a, b)) = differs {
        let what = if a.id != b.id {
            "another id"
        } else if a.prompt != b.prompt {
            "another prompt"
        } else {
            "other references"
        };
        return Err(Usage(format!(
            "`{name}`, sample `{}`: {what} than sample `{}` of `{baseline}`\nhint: systems are compared row by row",
            b.id, a.id
        ))
        .into());
    }
    Ok(())
}

fn columns(given: &[String]) -> Result<Vec<(String, String)>> {
    given
        .iter()
        .map(|text| {
            let pair = text
                .split_once('=')
                .filter(|(field, column)| !field.is_empty() && !column.is_empty());
            let (field, column) = pair.ok_or_else(|| {
                Usage(format!(
                    "--column `{text}`: expected FIELD=COLUMN\nhint: for instance response=answer"
                ))
            })?;
            Ok((field.to_owned(), column.to_owned()))
        })
        .collect()
}

fn read(lines: impl BufRead, name: &str, language: &str) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (at, line) in lines.lines().enumerate() {
        let number = at + 1;
        let line = line.map_err(|error| Usage(format!("`{name}`, line {number}: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            Usage(format!(
                "`{name}`, line {number}: {message}\nhint: a line is a JSON object with `prediction` and `reference`"
            ))
        })?;
        samples.push(Sample {
            id: match line.id {
                None => number.to_string(),
                Some(serde_json::Value::String(id)) => id,
                Some(other) => other.to_string(),
            },
            prompt: line.prompt,
            response: line.prediction,
            references: match line.references {
                References::None => Vec::new(),
                References::One(text) => vec![text],
                References::Many(texts) => texts,
            },
            language: line.language.unwrap_or_else(|| language.to_owned()),
            tests: line.tests,
        });
    }
    if samples.is_empty() {
        return Err(Usage(format!("`{name}` has no predictions")).into());
    }
    Ok(samples)
}

fn write_per_sample(
    path: &Path,
    samples: &[Sample],
    metrics: &[Metric],
    scored: &[Scored],
) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for (at, sample) in samples.iter().enumerate() {
        let scores: BTreeMap<&str, serde_json::Value> = metrics
            .iter()
            .zip(scored)
            .map(|(metric, scored)| {
                let value = match &scored.per_sample[at] {
                    Ok(score) => {
                        let components: BTreeMap<&String, f64> = metric
                            .descriptor()
                            .components
                            .iter()
                            .zip(score.components.iter().copied())
                            .collect();
                        json!({ "value": score.value, "components": components })
                    }
                    Err(failure) => json!({ "failure": failure.to_string() }),
                };
                (metric.name(), value)
            })
            .collect();
        writeln!(out, "{}", json!({ "id": sample.id, "scores": scores }))?;
    }
    out.flush()?;
    Ok(())
}
