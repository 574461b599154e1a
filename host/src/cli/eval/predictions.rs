//! What is to be scored: files, stdin, or one pair of texts, block by block.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::lines::Lines;
use super::{Args, guess};
use crate::cli::Usage;
use crate::config::data::OnBadRow;
use crate::config::{Config, Layers};
use crate::data::Task;
use crate::data::sources::{AdapterOptions, Adapters};
use crate::plugin::{DataAdapter, Runtime, Sample};

/// Rows that are held at once: enough to keep all workers busy, little enough for long texts.
const ROWS_PER_BLOCK: usize = 1024;

/// Where predictions come from.
#[derive(Clone, Debug)]
pub enum Source {
    Texts(Box<Sample>),
    Stdin,
    File(PathBuf),
}

impl Source {
    pub fn name(&self) -> String {
        match self {
            Source::Texts(_) => "prediction".into(),
            Source::Stdin => "-".into(),
            Source::File(path) => path.display().to_string(),
        }
    }
}

/// Reads predictions, and the tasks that they answer.
pub struct Reader<'a> {
    args: &'a Args,
    /// Fields and their columns, as the user gave them.
    columns: Vec<(String, String)>,
    /// None where no file is read.
    adapters: Option<Adapters>,
    tasks: Option<HashMap<String, Task>>,
}

impl<'a> Reader<'a> {
    /// The sources that the arguments name, and what reads them.
    ///
    /// # Errors
    /// There is nothing to score, a flag doesn't fit, or the tasks can't be read.
    pub fn of(
        args: &'a Args,
        runtime: &Arc<Runtime>,
        given: Vec<DataAdapter>,
    ) -> Result<(Self, Vec<Source>)> {
        let sources = sources(args)?;
        let columns = columns(&args.column)?;
        let on_stdin = sources.iter().any(|one| matches!(one, Source::Stdin));
        let files = sources.iter().any(|one| matches!(one, Source::File(_)));
        let unused = [
            ("--column", !columns.is_empty() && (on_stdin || !files)),
            (
                "--data-option",
                !args.data_option.is_empty() && !files && args.tasks.is_none(),
            ),
        ];
        if let Some((flag, _)) = unused.iter().find(|(_, unused)| *unused) {
            return Err(Usage(format!(
                "{flag} is for files, not for stdin or --prediction\nhint: put the predictions into a file"
            ))
            .into());
        }
        let adapters = match files || args.tasks.is_some() {
            true => Some(Adapters::load(runtime, given)?.with_options(options(args)?)?),
            false => None,
        };
        let tasks = match (&args.tasks, &adapters) {
            (Some(path), Some(adapters)) => Some(read_tasks(adapters, path)?),
            _ => None,
        };
        let reader = Self {
            args,
            columns,
            adapters,
            tasks,
        };
        Ok((reader, sources))
    }

    /// Hands the samples of a source to `take`, block by block.
    ///
    /// # Errors
    /// A row can't be read or has no task, or `take` failed.
    pub fn each_block(
        &self,
        source: &Source,
        mut take: impl FnMut(&[Sample]) -> Result<()>,
    ) -> Result<()> {
        let name = source.name();
        let mut joined = |mut samples: Vec<Sample>| {
            self.join(&mut samples, &name)?;
            take(&samples)
        };
        match source {
            Source::Texts(sample) => joined(vec![Sample::clone(sample)]),
            Source::Stdin => {
                let mut lines = Lines::new(std::io::stdin().lock(), &self.args.language);
                // How many, and the first of them.
                let (mut any, mut skipped) = (false, (0, String::new()));
                loop {
                    let block = lines.block(ROWS_PER_BLOCK)?;
                    if block.is_empty() {
                        break;
                    }
                    let samples = block.into_iter().filter_map(|line| match line.sample {
                        Err(problem) if self.args.on_bad_row == OnBadRow::Skip => {
                            if skipped.0 == 0 {
                                skipped.1 = format!("line {}: {problem}", line.number);
                            }
                            skipped.0 += 1;
                            None
                        }
                        sample => Some(sample.map_err(|error| lines.wrong(line.number, &error))),
                    });
                    let samples = samples.collect::<Result<Vec<_>, _>>()?;
                    any |= !samples.is_empty();
                    joined(samples)?;
                }
                if let (count @ 1.., first) = &skipped {
                    left_out("stdin", *count, first);
                }
                match any {
                    true => Ok(()),
                    false => Err(Usage("`stdin` has no predictions".into()).into()),
                }
            }
            Source::File(path) => {
                let Some(adapters) = &self.adapters else {
                    return Err(Usage(format!("`{name}`: no adapter is loaded")).into());
                };
                let columns = guess::columns(path, &self.columns);
                let (rows, language) = (self.args.on_bad_row, self.args.language.as_str());
                let (count, first) =
                    adapters.predictions(path, &columns, rows, language, ROWS_PER_BLOCK, joined)?;
                if let Some(first) = first.first() {
                    left_out(&name, count, first);
                }
                Ok(())
            }
        }
    }

    /// Gives each sample what its task has and it has not.
    ///
    /// # Errors
    /// There is no such task.
    pub fn join(&self, samples: &mut [Sample], name: &str) -> Result<()> {
        let (Some(tasks), Some(path)) = (&self.tasks, &self.args.tasks) else {
            return Ok(());
        };
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
}

/// Says that rows were left out, since a score is of the others.
fn left_out(name: &str, count: usize, first: &str) {
    let rows = if count == 1 { "row was" } else { "rows were" };
    eprintln!("warning: `{name}`: {count} {rows} left out; {first}");
}

fn sources(args: &Args) -> Result<Vec<Source>, Usage> {
    if let Some(prediction) = &args.prediction {
        return Ok(vec![Source::Texts(Box::new(Sample {
            id: "1".into(),
            response: prediction.clone(),
            references: args.reference.clone(),
            language: args.language.clone(),
            ..Sample::default()
        }))]);
    }
    if args.predictions.is_empty() {
        return Err(Usage(
            "nothing to score\nhint: give --predictions FILE, or --prediction TEXT and --reference TEXT".into(),
        ));
    }
    let source = |path: &PathBuf| match path.as_os_str() == "-" {
        true => Source::Stdin,
        false => Source::File(path.clone()),
    };
    Ok(args.predictions.iter().map(source).collect())
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

/// Options of adapters, read as a run's are.
fn options(args: &Args) -> Result<AdapterOptions> {
    let mut layers = Layers::default();
    layers.entries("--data-option", "data.options", &args.data_option);
    let resolved = layers.over(&Config::default(), None)?;
    Ok(resolved.config.data.options)
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
