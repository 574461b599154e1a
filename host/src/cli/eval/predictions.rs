//! What is to be scored: files, stdin, or one pair of texts.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde::Deserialize;

use super::{Args, System};
use crate::cli::Usage;
use crate::config::data::OnBadRow;
use crate::data::Task;
use crate::data::sources::Adapters;
use crate::plugin::{DataAdapter, Runtime, Sample};

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

/// What is to be scored, system by system; systems are compared sample by sample.
pub fn systems(
    args: &Args,
    runtime: &Arc<Runtime>,
    adapters: Vec<DataAdapter>,
) -> Result<Vec<System>> {
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
    let mut tasks: Option<HashMap<String, Task>> = None;
    let mut adapters_ready = None;
    let mut given = Some(adapters);
    let mut systems: Vec<System> = Vec::new();
    for path in &args.predictions {
        let mut samples = if path.as_os_str() == "-" {
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
        if let Some(path) = &args.tasks {
            if adapters_ready.is_none() {
                let given = given.take().unwrap_or_default();
                adapters_ready = Some(Adapters::load(runtime, given)?);
            }
            let adapters = adapters_ready.as_ref().expect("loaded above");
            if tasks.is_none() {
                tasks = Some(read_tasks(adapters, path)?);
            }
            let tasks = tasks.as_ref().expect("read above");
            join(&mut samples, &name, tasks, path)?;
        }
        if let Some(baseline) = systems.first() {
            same_samples(&baseline.name, &baseline.samples, &name, &samples)?;
        }
        systems.push(system(name, samples));
    }
    Ok(systems)
}

/// The tasks of a file by their ids.
fn read_tasks(adapters: &Adapters, path: &Path) -> Result<HashMap<String, Task>> {
    let name = path.display();
    let data = adapters.read(path, &[], OnBadRow::Error)?;
    if data.tasks.is_empty() {
        return Err(Usage(format!(
            "`{name}` has {}; expected tasks\nhint: a task has an id (or `task_id`), a prompt, and tests or references",
            data.summary()
        ))
        .into());
    }
    let mut tasks = HashMap::with_capacity(data.tasks.len());
    for task in data.tasks {
        if let Some(first) = tasks.insert(task.id.clone(), task) {
            return Err(Usage(format!("`{name}` has two tasks `{}`", first.id)).into());
        }
    }
    Ok(tasks)
}

/// Gives each sample what its task has and it has not.
fn join(
    samples: &mut [Sample],
    name: &str,
    tasks: &HashMap<String, Task>,
    path: &Path,
) -> Result<()> {
    for sample in samples {
        let Some(task) = tasks.get(&sample.id) else {
            return Err(Usage(format!(
                "`{name}`: `{}` has no such task as `{}`\nhint: predictions and tasks are joined by their ids",
                path.display(),
                sample.id
            ))
            .into());
        };
        if sample.prompt.is_empty() {
            sample.prompt.clone_from(&task.prompt);
        }
        if sample.references.is_empty() {
            sample.references.clone_from(&task.references);
        }
        if sample.tests.is_empty() {
            sample.tests.clone_from(&task.tests);
        }
    }
    Ok(())
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

pub(in crate::cli) fn columns(given: &[String]) -> Result<Vec<(String, String)>> {
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
