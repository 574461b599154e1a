//! `rlhf eval`: scores predictions with any metrics; no model is involved.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::Usage;
use crate::evaluate::{self, Scored};
use crate::plugin::{Metric, Runtime, Sample, Spec};
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
    /// Predictions, JSON Lines: `prediction` (or `response`, `completion`) and `reference` (or `references`) a line; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "prediction")]
    predictions: Option<PathBuf>,
    /// A single prediction
    #[arg(long, value_name = "TEXT", requires = "reference")]
    prediction: Option<String>,
    /// Its reference; repeatable
    #[arg(long, value_name = "TEXT")]
    reference: Vec<String>,
    /// Metric: the name of a shipped component or a path; repeatable [default: bleu, codebleu]
    #[arg(long, visible_alias = "plugin", value_name = "NAME[,…]")]
    metric: Vec<String>,
    /// Programming language of the texts, where a row doesn't say
    #[arg(long, default_value = "python")]
    language: String,
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Write one JSON line a row: scores, or why there are none
    #[arg(long, value_name = "FILE")]
    per_sample: Option<PathBuf>,
    /// Resamples behind each 95 % interval
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..))]
    bootstrap_samples: u32,
    /// Decides the resampling
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// A line of a predictions file.
#[derive(Deserialize)]
struct Line {
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

pub fn run(args: &Args) -> Result<()> {
    let runtime = Runtime::of_user()?;
    let specs = if args.metric.is_empty() {
        vec![Spec::of("bleu"), Spec::of("codebleu")]
    } else {
        args.metric
            .iter()
            .map(|text| Spec::parse(text))
            .collect::<Result<_, _>>()?
    };
    let metrics = specs
        .iter()
        .map(|spec| Metric::load(&runtime, spec))
        .collect::<Result<Vec<_>, _>>()?;
    let samples = samples(args)?;
    let scored: Vec<Scored> = metrics
        .iter()
        .map(|metric| evaluate::score(metric, &samples))
        .collect();
    if let Some(path) = &args.per_sample {
        write_per_sample(path, &samples, &metrics, &scored)
            .with_context(|| format!("per-sample file `{}`", path.display()))?;
    }
    let results: Vec<_> = metrics
        .iter()
        .zip(&scored)
        .map(|(metric, scored)| {
            evaluate::summarise(
                metric,
                &samples,
                scored,
                args.bootstrap_samples as usize,
                Stream::new(args.seed, Purpose::Bootstrap, 0, 0),
            )
        })
        .collect();
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Table => {
            write!(out, "{}", tables::metrics(&results))?;
            for result in &results {
                writeln!(out, "  {}", result.signature)?;
            }
        }
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&results)?)?,
    }
    Ok(())
}

fn samples(args: &Args) -> Result<Vec<Sample>> {
    match (&args.predictions, &args.prediction) {
        (Some(path), _) if path.as_os_str() == "-" => {
            read(std::io::stdin().lock(), "stdin", &args.language)
        }
        (Some(path), _) => {
            let file = File::open(path).map_err(|error| {
                Usage(format!(
                    "predictions `{}`: cannot open it: {error}\nhint: check the path",
                    path.display()
                ))
            })?;
            read(
                BufReader::new(file),
                &path.display().to_string(),
                &args.language,
            )
        }
        (None, Some(prediction)) => Ok(vec![Sample {
            id: "1".into(),
            response: prediction.clone(),
            references: args.reference.clone(),
            language: args.language.clone(),
            ..Sample::default()
        }]),
        (None, None) => Err(Usage(
            "nothing to score\nhint: give --predictions FILE, or --prediction TEXT and --reference TEXT".into(),
        )
        .into()),
    }
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
