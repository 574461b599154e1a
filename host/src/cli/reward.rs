//! `rlhf reward`: a reward model of its own, trained on human feedback or put to use.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::eval::columns;
use super::resume::{self, Found};
use super::train::{device, interrupt_flag, on_bad_row, variables};
use crate::config::data::OnBadRow;
use crate::config::reward_model::HumanLogitsLayer;
use crate::config::{Config, Device, Layers};
use crate::data::sources::Adapters;
use crate::hub;
use crate::pipeline::reward_model::{self, Accuracy, Beginning, Place, Report};
use crate::pipeline::{self, RunFolder, unused_folder};
use crate::plugin::Runtime;
use crate::reward::LearnedReward;
use crate::tokenizer::Tokenizer;
use crate::tracking::console::Console;
use crate::tracking::{All, Tracker};
use crate::trainer::reward_model::STAGE;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Train a reward model on preferences or ratings
    #[command(
        after_help = "Feedback is CSV, JSON, JSON Lines or Parquet: `prompt,chosen,rejected`, or \
        `prompt,response,rating[,logits]`. Ratings are learnt as numbers, and as pairs where one \
        prompt has several. The model is saved in Hugging Face's form, for sequence \
        classification with one label, in `final` of the output directory; `summary.json` lies \
        beside it. Accuracy is that on prompts that were not trained on."
    )]
    Train(Box<Train>),
    /// Score responses with a trained reward model: a JSON line each, `id` and `score`
    Score(Score),
}

#[derive(clap::Args)]
pub struct Train {
    /// Model to begin with: a Hugging Face folder or a hub name; RoBERTa, BERT or a causal model
    #[arg(long, value_name = "NAME")]
    reward_model_name: Option<String>,
    /// Human feedback; repeatable
    #[arg(long, value_name = "FILE", required = true)]
    human_feedback_path: Vec<PathBuf>,
    /// Column of a field: `chosen=preferred_answer`; repeatable
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,
    /// Option of an adapter: `csv.escapes=true`, `csv.delimiter=;`; repeatable
    #[arg(long, value_name = "ADAPTER.OPTION=VALUE")]
    data_option: Vec<String>,
    /// What to do with a row that can't be read
    #[arg(long, value_parser = on_bad_row, value_name = "error|skip")]
    on_bad_row: Option<OnBadRow>,
    /// Configuration file, JSON or TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting by its key, as training.schedule=linear; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Share of prompts held out [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    eval_fraction: Option<f64>,
    /// Train N models, each judged by the Nth of the prompts that it has not seen; none is saved
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    folds: Option<u16>,
    /// Peak learning rate [default: 2e-5]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Pairs or ratings of a step [default: 8]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Passes over the feedback [default: 1]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Steps at most; whichever of epochs and steps ends first
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Longest prompt plus response, in tokens [default: 512]
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,
    /// Hold rewards around zero with this weight
    #[arg(long, value_name = "WEIGHT")]
    center_rewards_coefficient: Option<f64>,
    /// Lead that a pair of ratings must have, for each standard deviation between them
    #[arg(long, value_name = "MARGIN")]
    margin: Option<f64>,
    /// Where human logits meet the model's states
    #[arg(long, value_enum, value_name = "LAYER")]
    human_logits_layer: Option<HumanLogitsLayer>,
    /// Train adapters of this rank in place of all weights; 0: none
    #[arg(long, value_name = "RANK")]
    lora_rank: Option<usize>,
    /// Decides everything random
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Device to use
    #[arg(long, value_parser = device, value_name = "cpu|cuda|metal|auto")]
    device: Option<Device>,
    /// Where the results go [default: runs/reward]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Write a checkpoint each so many steps; 0: only at the end [default: 500]
    #[arg(long, value_name = "STEPS")]
    save_steps: Option<usize>,
    /// Keep so many checkpoints at most [default: all]
    #[arg(long, value_name = "N")]
    save_total_limit: Option<usize>,
    /// Go on with the training in the output directory, from its newest checkpoint; or from the
    /// run or checkpoint at PATH. Settings that are not given are those it was begun with
    #[arg(long, value_name = "auto|PATH", num_args = 0..=1, default_missing_value = "auto", conflicts_with_all = ["overwrite", "folds"])]
    resume: Option<String>,
    /// Replace what an earlier run left there
    #[arg(long)]
    overwrite: bool,
}

#[derive(clap::Args)]
pub struct Score {
    /// What `rlhf reward train` saved, or any sequence classifier with one label
    #[arg(long, value_name = "FOLDER")]
    model: String,
    /// Responses in CSV, JSON, JSON Lines or Parquet: `prompt` and `response` (or `prediction`) a row
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,
    /// Column of a field: `response=answer`; repeatable
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,
    /// What to do with a row that can't be read
    #[arg(long, value_parser = on_bad_row, value_name = "error|skip", default_value = "error")]
    on_bad_row: OnBadRow,
    /// Longest prompt plus response, in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    max_length: usize,
    /// Device to use
    #[arg(long, value_parser = device, value_name = "cpu|cuda|metal|auto", default_value = "auto")]
    device: Device,
}

/// Runs one of both.
///
/// # Errors
/// A flag, the data or the model are wrong.
pub fn run(command: &Command, quiet: bool) -> Result<()> {
    match command {
        Command::Train(args) => train(args, quiet),
        Command::Score(args) => score(args),
    }
}

impl Train {
    /// Defaults, or what the run was begun with that is gone on with; then file, environment and
    /// flags, checked.
    fn config(&self) -> Result<Config> {
        let base = Config {
            output_dir: PathBuf::from("runs/reward"),
            ..Config::default()
        };
        let Some(from) = &self.resume else {
            return self.over(&base);
        };
        let run = resume::run_folder(from, &self.over(&base)?);
        let begun = resume::begun_with(&run)?.unwrap_or(base);
        Ok(Config {
            output_dir: run,
            experiment_name: None,
            ..self.over(&begun)?
        })
    }

    fn over(&self, base: &Config) -> Result<Config> {
        let mut layers = Layers::default();
        if let Some(path) = &self.config {
            layers.file(path)?;
        }
        layers.environment(variables());
        layers.pairs("--set", &self.set);
        let name = &self.reward_model_name;
        layers.flag("--reward-model-name", "model.reward_model_name", name);
        layers.flag("--device", "model.device", &self.device);
        layers.flag("--lora-rank", "model.lora.rank", &self.lora_rank);
        layers.entries("--column", "data.columns", &self.column);
        layers.entries("--data-option", "data.options", &self.data_option);
        layers.flag("--on-bad-row", "data.on_bad_row", &self.on_bad_row);
        layers.flag("--eval-fraction", "data.eval_fraction", &self.eval_fraction);
        layers.flag("--max-length", "training.max_length", &self.max_length);
        layers.flag("--seed", "seed", &self.seed);
        layers.flag("--output-dir", "output_dir", &self.output_dir);
        layers.flag(
            "--learning-rate",
            "reward_model.learning_rate",
            &self.learning_rate,
        );
        layers.flag("--batch-size", "reward_model.batch_size", &self.batch_size);
        layers.flag("--epochs", "reward_model.epochs", &self.epochs);
        layers.flag("--steps", "reward_model.steps", &self.steps);
        let centring = &self.center_rewards_coefficient;
        let key = "reward_model.center_rewards_coefficient";
        layers.flag("--center-rewards-coefficient", key, centring);
        layers.flag("--margin", "reward_model.margin", &self.margin);
        let layer = &self.human_logits_layer;
        layers.flag(
            "--human-logits-layer",
            "reward_model.human_logits_layer",
            layer,
        );
        layers.flag("--save-steps", "training.save_steps", &self.save_steps);
        let limit = &self.save_total_limit;
        layers.flag("--save-total-limit", "training.save_total_limit", limit);
        Ok(layers.over(base, None)?.config)
    }
}

fn train(args: &Train, quiet: bool) -> Result<()> {
    let mut config = args.config()?;
    let found = match &args.resume {
        Some(from) => {
            let found = Found::of(from, &config)?;
            found.tell();
            Some(found)
        }
        None => None,
    };
    if args.output_dir.is_none() && !args.overwrite && found.is_none() {
        config.output_dir = unused_folder(&config.output_dir);
    }
    let path = config.run_folder();
    RunFolder::check(&path, args.overwrite || found.is_some())?;
    let device = pipeline::device(config.model.device).map_err(anyhow::Error::from)?;
    let runtime = Runtime::of_user()?;
    let model = config.model.reward_model_name.clone();
    let adapters = Adapters::load(&runtime, Vec::new())?
        .with_options(config.data.options.clone())?
        .with_chat(Box::new(move || {
            let folder = hub::resolve(&model).map_err(|error| error.to_string())?;
            Tokenizer::from_folder(&folder).map_err(|error| error.to_string())
        }));
    let files: Vec<&Path> = args
        .human_feedback_path
        .iter()
        .map(PathBuf::as_path)
        .collect();
    let feedback = reward_model::read_feedback(&adapters, &config, &files)?;
    // Before anything is left behind.
    hub::resolve(&config.model.reward_model_name).map_err(pipeline::Error::from)?;
    let interrupt = interrupt_flag()?;
    let resume = found.and_then(|found| found.checkpoint);
    let folder = match &resume {
        Some(checkpoint) => {
            let step = pipeline::checkpoint_step(checkpoint);
            RunFolder::reopen(&path, &[(STAGE, step)], &[])?
        }
        None => RunFolder::create(&path)?,
    };
    folder.json("config.json", &config)?;
    let console: Box<dyn Tracker> = Box::new(Console::new(quiet));
    let trackers = folder.trackers(&config, "reward model")?;
    let mut tracker = All(std::iter::once(console).chain(trackers).collect());
    let report = match args.folds {
        Some(folds) => reward_model::cross_validate(
            &config,
            &device,
            &feedback,
            usize::from(folds),
            &mut tracker,
            &interrupt,
        )?,
        None => {
            let last = folder.path("final");
            let place = Place {
                last: Some(&last),
                checkpoints: Some(&path),
                resume: resume.as_deref(),
            };
            let begun = (Beginning::Named, &feedback);
            let trained =
                reward_model::train(&config, &device, begun, place, &mut tracker, &interrupt)?;
            trained.1
        }
    };
    folder.json("summary.json", &report)?;
    tracker.finish(&[]);
    crate::report::write(&path)?;
    print!("{}", table(&report));
    if !quiet {
        eprintln!("results are in {}", path.display());
    }
    Ok(())
}

/// The report for people.
fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} examples trained on, {} pairs held out",
        report.examples_trained, report.accuracy.pairs
    )];
    let mut row = |name: &str, accuracy: &Accuracy| {
        let value = match (accuracy.value, accuracy.interval) {
            (Some(value), Some([low, high])) => format!("{value:.3}  [{low:.3}, {high:.3}]"),
            (Some(value), None) => format!("{value:.3}"),
            (None, _) => "no pairs are held out".to_owned(),
        };
        lines.push(format!("{name:<34}{value}"));
    };
    row("accuracy", &report.accuracy);
    if let Some(accuracy) = &report.accuracy_with_human_logits {
        row("accuracy, human logits shown", accuracy);
    }
    row("the shorter response wins", &report.shorter_wins);
    for (at, fold) in report.folds.iter().enumerate() {
        row(&format!("accuracy of fold {}", at + 1), fold);
    }
    lines.push(format!("{:<34}{:.4}", "loss", report.loss));
    if let Some(loss) = report.loss_with_human_logits {
        lines.push(format!("{:<34}{loss:.4}", "loss, human logits shown"));
    }
    if let Some(error) = report.squared_error {
        lines.push(format!("{:<34}{error:.4}", "squared error of ratings"));
    }
    lines.join("\n") + "\n"
}

/// Predictions that are read and scored at once: a long file is not held whole. Chosen.
const ROWS_AT_ONCE: usize = 1024;

fn score(args: &Score) -> Result<()> {
    let device = pipeline::device(args.device).map_err(anyhow::Error::from)?;
    let folder = hub::resolve(&args.model).map_err(pipeline::Error::from)?;
    let runtime = Runtime::of_user()?;
    let adapters = Adapters::load(&runtime, Vec::new())?;
    let columns = columns(&args.column)?;
    let model = LearnedReward::load(&folder, args.max_length, &device);
    let model = model.map_err(pipeline::Error::from)?;
    let mut out = std::io::stdout().lock();
    let (predictions, bad_rows) = (&args.predictions, args.on_bad_row);
    adapters.predictions(
        predictions,
        &columns,
        bad_rows,
        "",
        ROWS_AT_ONCE,
        |samples| {
            let texts: Vec<(&str, &str)> = samples
                .iter()
                .map(|sample| (sample.prompt.as_str(), sample.response.as_str()))
                .collect();
            let scores = model.scores(&texts).map_err(pipeline::Error::from)?;
            for (sample, score) in samples.iter().zip(scores) {
                writeln!(out, "{}", json!({"id": sample.id, "score": score}))?;
            }
            anyhow::Ok(())
        },
    )?;
    Ok(())
}
