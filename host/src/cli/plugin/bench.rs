//! `rlhf plugin bench`: what a plugin costs, in time, fuel and memory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::Usage;
use crate::data::builtin;
use crate::plugin::lock::Lock;
use crate::plugin::metric::Aggregation;
use crate::plugin::reward_shaper::{Context, Rollout};
use crate::plugin::{
    self, CodeRunner, Component, DataAdapter, Failure, Kind, Metric, RewardShaper, Runtime, Sample,
    Services, Spec, Used, engine,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// PATH[,config={…}][,fuel=…], as for --plugin
    plugin: String,
    /// The file that an adapter reads, or the program that a runner runs
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// How long each measurement takes, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A failure on ordinary input, which ends the measurement.
fn failed(plugin: &str, failure: Failure) -> plugin::Error {
    plugin::Error::Call {
        plugin: plugin.to_owned(),
        call: "an ordinary call",
        failure,
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (0.01..=3600.0).contains(number));
    number.ok_or_else(|| "expected 0.01 to 3600".into())
}

/// Samples of one call, as in a run.
const BATCH: usize = 64;

type Facts = Vec<(&'static str, Value)>;

/// # Errors
/// The plugin can't be loaded, or fails on ordinary input.
pub fn run(arguments: &Arguments) -> Result<()> {
    let facts = match measure(arguments, 1)? {
        Measured::PerItem { unit, one, used } => {
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            let Measured::PerItem { one: all, .. } = measure(arguments, workers)? else {
                unreachable!("the same plugin is measured in the same way");
            };
            vec![
                ("unit", json!(unit)),
                ("per second, 1 worker", json!(one.per_second().round())),
                ("workers", json!(workers)),
                ("per second, all workers", json!(all.per_second().round())),
                ("fuel each", json!(used.fuel / one.items.max(1))),
                ("memory bytes", json!(used.memory_bytes)),
            ]
        }
        Measured::File(facts) => facts,
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let object: serde_json::Map<String, Value> = facts
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
        return Ok(());
    }
    for (key, value) in facts {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "{key:24} {text}")?;
    }
    Ok(())
}

enum Measured {
    PerItem {
        unit: &'static str,
        one: Rate,
        used: Used,
    },
    File(Facts),
}

struct Rate {
    items: u64,
    seconds: f64,
}

impl Rate {
    fn per_second(&self) -> f64 {
        self.items as f64 / self.seconds
    }
}

fn measure(arguments: &Arguments, workers: usize) -> Result<Measured> {
    let lock = Lock::of_folder(Path::new("."))?;
    let runtime = Runtime::locked(engine::cache_folder(), workers, lock)?;
    let spec = Spec::parse(&arguments.plugin)?;
    let component = Component::find(&runtime, &spec)?;
    match component.kind {
        Kind::Metric => metric(component, &spec, arguments),
        Kind::RewardShaper => shaper(component, &spec, arguments),
        Kind::DataAdapter => adapter(component, &spec, arguments),
        Kind::CodeRunner => runner(component, &spec, arguments),
    }
}

/// Repeats `work`, which handles some items, for the time asked for.
fn repeat(arguments: &Arguments, mut work: impl FnMut() -> Result<u64>) -> Result<Rate> {
    let time = Duration::from_secs_f64(arguments.seconds);
    let start = Instant::now();
    let mut items = 0;
    while start.elapsed() < time {
        items += work()?;
    }
    Ok(Rate {
        items,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The embedded tasks' references, each against another task's: ordinary code.
fn samples() -> Vec<Sample> {
    let tasks = builtin::heldout();
    (0..4 * BATCH)
        .map(|at| Sample {
            id: at.to_string(),
            prompt: tasks[at % tasks.len()].prompt.clone(),
            response: tasks[(at + 1) % tasks.len()].reference.clone(),
            references: vec![tasks[at % tasks.len()].reference.clone()],
            language: "python".into(),
            tests: tasks[at % tasks.len()].tests.clone(),
        })
        .collect()
}

fn metric(component: Component, spec: &Spec, arguments: &Arguments) -> Result<Measured> {
    let metric = Metric::of(component, spec, &Services::default())?;
    let samples = samples();
    let work = || -> Result<u64> {
        if metric.descriptor().aggregation == Aggregation::Whole {
            metric
                .score_whole(&samples)
                .map_err(|failure| failed(&spec.path, failure))?;
            return Ok(samples.len() as u64);
        }
        let mut statistics = Vec::with_capacity(samples.len());
        for measured in metric.measure(&samples) {
            let measured = measured.map_err(|failure| failed(&spec.path, failure))?;
            statistics.push(measured);
        }
        metric.score_samples(&statistics);
        Ok(samples.len() as u64)
    };
    // Instances and whatever the metric keeps of references are warm in a run.
    work()?;
    let before = metric.used().fuel;
    let one = repeat(arguments, work)?;
    Ok(Measured::PerItem {
        unit: "samples",
        used: Used {
            fuel: metric.used().fuel - before,
            ..metric.used()
        },
        one,
    })
}

fn shaper(component: Component, spec: &Spec, arguments: &Arguments) -> Result<Measured> {
    let shaper = RewardShaper::of(component, spec, &Services::default())?;
    let rollouts: Vec<Rollout> = samples()
        .into_iter()
        .map(|sample| Rollout {
            tokens: sample
                .response
                .split_inclusive(' ')
                .map(str::to_owned)
                .collect(),
            metrics: ["bertscore", "codebleu", "bleu", "rouge", "ruby"]
                .map(|name| (name.to_owned(), 0.5))
                .into(),
            finish_reason: "stop".into(),
            sample,
            ..Rollout::default()
        })
        .collect();
    let context = Context {
        steps_total: 100,
        response_tokens_max: 128,
        ..Context::default()
    };
    let work = || -> Result<u64> {
        for reward in shaper.shape(&rollouts, &context) {
            reward.map_err(|failure| failed(&spec.path, failure))?;
        }
        Ok(rollouts.len() as u64)
    };
    work()?;
    let before = shaper.used().fuel;
    let one = repeat(arguments, work)?;
    Ok(Measured::PerItem {
        unit: "rollouts",
        used: Used {
            fuel: shaper.used().fuel - before,
            ..shaper.used()
        },
        one,
    })
}

fn adapter(component: Component, spec: &Spec, arguments: &Arguments) -> Result<Measured> {
    let adapter = DataAdapter::of(component, spec, &Services::default())?;
    let path = arguments.data.as_ref().ok_or_else(|| {
        Usage("an adapter needs a file to read\nhint: --data FILE names one".into())
    })?;
    let bytes = path.metadata().map(|file| file.len()).unwrap_or_default();
    let start = Instant::now();
    let rows = adapter
        .open(path, serde_json::Map::new())
        .map_err(|error| Usage(format!("data file `{}`: {error}", path.display())))?;
    let (mut good, mut bad) = (0_u64, 0_u64);
    for row in rows {
        let row =
            row.map_err(|failure| Usage(format!("data file `{}`: {failure}", path.display())))?;
        if row.is_ok() {
            good += 1;
        } else {
            bad += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let used = adapter.used();
    Ok(Measured::File(vec![
        ("rows", json!(good)),
        ("bad rows", json!(bad)),
        ("seconds", json!(seconds)),
        ("rows per second", json!((good as f64 / seconds).round())),
        (
            "MB per second",
            json!((bytes as f64 / 1e6 / seconds).round()),
        ),
        ("fuel a row", json!(used.fuel / (good + bad).max(1))),
        ("memory bytes", json!(used.memory_bytes)),
        ("host peak bytes", json!(host_peak_bytes())),
    ]))
}

/// What this process has held at most, where the system tells.
fn host_peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn runner(component: Component, spec: &Spec, arguments: &Arguments) -> Result<Measured> {
    let runner = Arc::new(CodeRunner::of(component, spec, &Services::default())?);
    let source = match &arguments.data {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Usage(format!("program `{}`: {error}", path.display())))?,
        None => String::new(),
    };
    let language = runner.descriptor().languages[0].0.clone();
    let mut used = Used::default();
    let one = repeat(arguments, || {
        let execution = runner.execute(&language, &source, b"");
        used.fuel += execution.fuel;
        used.memory_bytes = used.memory_bytes.max(execution.memory_bytes);
        Ok(1)
    })?;
    Ok(Measured::PerItem {
        unit: "programs",
        one,
        used,
    })
}
