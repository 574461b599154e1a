//! `rlhf [train]`: the whole pipeline.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::ValueEnum as _;

use super::resume::{self, Found};
use super::{MissedTarget, Usage};
use crate::config::data::OnBadRow;
use crate::config::model::Precision;
use crate::config::training::Method;
use crate::config::{self, Config, Device, Layers, Mode, Origin, Resolved};
use crate::pipeline;
use crate::plugin::Spec;
use crate::report;
use crate::tracking::console::Console;

/// The flags of the Python project keep their names and meanings.
#[derive(clap::Args)]
pub struct Args {
    /// Predefined configuration [default: research; fast for a bare --plugin]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Configuration file, JSON or TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any setting by its key, as training.schedule=linear; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How the policy is trained [default: ppo; dpo for preferences without a reward]
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Plugin: PATH[,name=NAME][,grant=encoder][,fuel=UNITS][,config={…}]; repeatable
    #[arg(long, value_name = "PATH[,…]")]
    pub plugin: Vec<String>,

    /// Learning rate for training
    #[arg(long, help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Batch size for training
    #[arg(long, help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Number of training epochs
    #[arg(long, help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Total number of training steps; whichever of epochs and steps ends first
    #[arg(long, help_heading = "Training")]
    pub steps: Option<usize>,
    /// Steps of supervised warm-up before that
    #[arg(long, help_heading = "Training")]
    pub warm_up_steps: Option<usize>,
    /// Longest prompt plus response, in tokens
    #[arg(long, help_heading = "Training")]
    pub max_length: Option<usize>,
    /// DPO: what a pair is turned into
    #[arg(
        long = "dpo.loss",
        value_enum,
        value_name = "LOSS",
        help_heading = "Training"
    )]
    pub dpo_loss: Option<config::dpo::Loss>,
    /// DPO: how strongly the policy is held to the reference
    #[arg(long = "dpo.beta", value_name = "BETA", help_heading = "Training")]
    pub dpo_beta: Option<f64>,
    /// DPO: probability that a pair's label is wrong (sigmoid, robust)
    #[arg(
        long = "dpo.label-smoothing",
        value_name = "SHARE",
        help_heading = "Training"
    )]
    pub dpo_label_smoothing: Option<f64>,
    /// DPO: leave the reference model out
    #[arg(long = "dpo.reference-free", help_heading = "Training")]
    pub dpo_reference_free: bool,
    /// Decides everything random
    #[arg(long, help_heading = "Training")]
    pub seed: Option<u64>,

    /// Base model: a Hugging Face folder, a hub name, or builtin:tiny-code
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub model_name: Option<String>,
    /// Reward model (used by PPO)
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub reward_model_name: Option<String>,
    /// Longest response, in tokens
    #[arg(long, help_heading = "Model")]
    pub max_new_tokens: Option<usize>,
    /// Train adapters of this rank in place of all weights; 0: none
    #[arg(long, value_name = "RANK", help_heading = "Model")]
    pub lora_rank: Option<usize>,
    /// The adapters' output is multiplied by ALPHA / RANK
    #[arg(long, value_name = "ALPHA", help_heading = "Model")]
    pub lora_alpha: Option<f64>,
    /// Share of an adapter's inputs dropped in training
    #[arg(long, value_name = "SHARE", help_heading = "Model")]
    pub lora_dropout: Option<f64>,
    /// Layers that get an adapter, such as q_proj,v_proj; or all-linear
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        help_heading = "Model"
    )]
    pub lora_target_modules: Vec<String>,
    /// Leave the whole model in `final`, not its adapters alone
    #[arg(long, help_heading = "Model")]
    pub merge_adapters: bool,
    /// Compute layers again in the backward: less memory, a third more time
    #[arg(long, help_heading = "Hardware")]
    pub gradient_checkpointing: bool,
    /// Type to compute in where the device has it; on the CPU, to store what is not trained
    #[arg(long, value_enum, help_heading = "Hardware")]
    pub precision: Option<Precision>,
    /// Device to use
    #[arg(long, value_parser = device, value_name = "cpu|cuda|metal|auto", help_heading = "Hardware")]
    pub device: Option<Device>,

    /// Training data: CSV, JSON, JSON Lines or Parquet
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub train_data_path: Option<PathBuf>,
    /// Evaluation data
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub eval_data_path: Option<PathBuf>,
    /// Human feedback data
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub human_feedback_path: Option<PathBuf>,
    /// Column of a field: `chosen=preferred_answer`; repeatable, for all files that have it
    #[arg(long, value_name = "FIELD=COLUMN", help_heading = "Data")]
    pub column: Vec<String>,
    /// Option of an adapter: `csv.escapes=true`, `csv.delimiter=;`; repeatable
    #[arg(long, value_name = "ADAPTER.OPTION=VALUE", help_heading = "Data")]
    pub data_option: Vec<String>,
    /// What to do with a row that can't be read
    #[arg(long, value_parser = on_bad_row, value_name = "error|skip", help_heading = "Data")]
    pub on_bad_row: Option<OnBadRow>,

    /// Output directory for results
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub output_dir: Option<PathBuf>,
    /// Go on with the run in the output directory, from its newest checkpoint; or from the run or
    /// checkpoint at PATH. Settings that are not given are those it was begun with
    #[arg(long, value_name = "auto|PATH", num_args = 0..=1, default_missing_value = "auto", help_heading = "Output", conflicts_with = "overwrite")]
    pub resume: Option<String>,
    /// Write a checkpoint each so many steps; 0: only at the end
    #[arg(long, value_name = "STEPS", help_heading = "Output")]
    pub save_steps: Option<usize>,
    /// Keep so many checkpoints at most; the newest and the best always stay [default: all]
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub save_total_limit: Option<usize>,
    /// What decides which checkpoint is the best: a metric on held-out tasks or pairs, or a tag
    /// of metrics.jsonl
    #[arg(long, value_name = "TAG", help_heading = "Output")]
    pub metric_for_best_model: Option<String>,
    /// Whether more of it is better [default: unless it is a loss]
    #[arg(long, value_name = "true|false", help_heading = "Output")]
    pub greater_is_better: Option<bool>,
    /// End with the weights of the best checkpoint, not of the last
    #[arg(long, help_heading = "Output")]
    pub load_best_model_at_end: bool,
    /// Name of the experiment: a folder in the output directory
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub experiment_name: Option<String>,
    /// Weights & Biases: a run that `wandb sync` uploads, or one that is uploaded at the end by the
    /// `wandb` installed here
    #[arg(long, value_enum, value_name = "MODE", num_args = 0..=1, default_missing_value = "offline", help_heading = "Output")]
    pub wandb: Option<config::tracking::Wandb>,
    /// Project there
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub wandb_project: Option<String>,
    /// Replace the results of an earlier run in the same folder
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,

    /// Held-out tasks to evaluate at most; 0: all
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    pub eval_tasks: Option<usize>,
    /// When to evaluate in the middle of the training [default: epoch; steps with --eval-steps]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "Evaluation")]
    pub eval_strategy: Option<config::evaluation::Strategy>,
    /// Evaluate each so many steps
    #[arg(long, value_name = "STEPS", help_heading = "Evaluation")]
    pub eval_steps: Option<usize>,
    /// BERT or RoBERTa whose token embeddings bertscore compares: a folder or a hub name
    #[arg(long, value_name = "MODEL", help_heading = "Evaluation")]
    pub encoder: Option<String>,
    /// Its layer [default: bert-score's choice, or the last]
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    pub encoder_layer: Option<usize>,
    /// Mean BERTScore F1 that the evaluation should reach [default: 0.7]
    #[arg(long, value_name = "SCORE", help_heading = "Evaluation")]
    pub target_bertscore: Option<f64>,
    /// CodeBLEU that it should reach [default: 0.6]
    #[arg(long, value_name = "SCORE", help_heading = "Evaluation")]
    pub target_codebleu: Option<f64>,
    /// BLEU that it should reach [default: 0.4]
    #[arg(long, value_name = "SCORE", help_heading = "Evaluation")]
    pub target_bleu: Option<f64>,
    /// ROUGE that it should reach [default: 0.5]
    #[arg(long, value_name = "SCORE", help_heading = "Evaluation")]
    pub target_rouge: Option<f64>,
    /// Ruby (syntax, complexity, style, execution) that it should reach [default: 0.3]
    #[arg(long, value_name = "SCORE", help_heading = "Evaluation")]
    pub target_ruby: Option<f64>,
    /// Exit with 4 if a metric misses its target
    #[arg(long, help_heading = "Evaluation")]
    pub require_targets: bool,

    /// Check everything, print the plan, train nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub(super) fn device(text: &str) -> Result<Device, String> {
    match text {
        "auto" => Ok(Device::Auto),
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda),
        "metal" => Ok(Device::Metal),
        _ => Err("expected cpu, cuda, metal or auto".into()),
    }
}

pub fn on_bad_row(text: &str) -> Result<OnBadRow, String> {
    match text {
        "error" => Ok(OnBadRow::Error),
        "skip" => Ok(OnBadRow::Skip),
        _ => Err("expected error or skip".into()),
    }
}

/// What the command line, the file it names and the environment say.
pub struct Given {
    layers: Layers,
    /// What the run is, or was, begun with; none where it is gone on with and does not tell.
    mode: Option<Mode>,
    /// What the run was begun with that is gone on with: it takes the preset's place.
    begun: Option<Config>,
}

impl Given {
    /// Reads it, once.
    ///
    /// # Errors
    /// The file can't be read, or the run's that is gone on with; that was begun with another mode.
    pub fn of(args: &Args) -> Result<Self, config::Error> {
        let bare_plugin = args.model_name.is_none() && args.config.is_none() && !has_data(args);
        let mode = match args.mode {
            Some(mode) => mode,
            // `rlhf --plugin metrics/codebleu.wasm`, and nothing else, shows the plugin at work.
            None if !args.plugin.is_empty() && bare_plugin => Mode::Fast,
            None => Mode::Research,
        };
        let mut layers = Layers::default();
        if let Some(path) = &args.config {
            layers.file(path)?;
        }
        layers.environment(variables());
        args.flags(&mut layers);
        let mut given = Self {
            layers,
            mode: Some(mode),
            begun: None,
        };
        if let Some(from) = &args.resume {
            let folder = resume::run_folder(from, &given.over(None)?.config);
            given.begun = resume::begun_with(&folder)?;
            if given.begun.is_some() {
                given.mode = resume::mode_of(&folder, args.mode)?;
            }
        }
        // Plugins that are named again are not those of the run besides.
        if let Some(begun) = given.begun.as_mut().filter(|_| !args.plugin.is_empty()) {
            begun.plugins.clear();
        }
        Ok(given)
    }

    /// Preset, then file, environment and flags, checked; each value with its source.
    ///
    /// # Errors
    /// Everything that is wrong with the values.
    pub fn resolved(&self) -> Result<Resolved, config::Error> {
        let resolved = self.over(None)?;
        let config = &resolved.config;
        if config.training.method.is_some() || pipeline::has_files(config) {
            return Ok(resolved);
        }
        // The embedded tasks have no preferences. What files have is seen when they are read.
        let mut resolved = self.over(Some(Method::Ppo))?;
        resolved.config.training.method = Some(Method::Ppo);
        Ok(resolved)
    }

    /// The same with the preset's numbers for a method, unless a layer names another.
    fn over(&self, unnamed: Option<Method>) -> Result<Resolved, config::Error> {
        let Self {
            layers,
            mode,
            begun,
        } = self;
        if let Some(begun) = begun {
            return layers.over(begun, None);
        }
        // The preset depends on model and method, which any layer may name.
        let mode = mode.unwrap_or(Mode::Research);
        let presumed = match mode {
            Mode::Fast => Origin::Builtin,
            Mode::Research | Mode::Production => Origin::Pretrained,
        };
        let origin = layers
            .word("model.base_model_name")
            .map_or(presumed, Origin::of);
        let named = layers.word("training.method");
        let named = named.and_then(|name| Method::from_str(name, true).ok());
        layers.over(&mode.config(origin, named.or(unnamed)), Some(mode))
    }
}

/// The environment as far as it is text.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn has_data(args: &Args) -> bool {
    [
        &args.train_data_path,
        &args.eval_data_path,
        &args.human_feedback_path,
    ]
    .into_iter()
    .any(Option::is_some)
}

impl Args {
    /// What the flags say, each under the key of its setting.
    fn flags(&self, layers: &mut Layers) {
        layers.pairs("--set", &self.set);
        layers.flag("--seed", "seed", &self.seed);
        layers.flag("--output-dir", "output_dir", &self.output_dir);
        layers.flag(
            "--experiment-name",
            "experiment_name",
            &self.experiment_name,
        );

        layers.flag("--model-name", "model.base_model_name", &self.model_name);
        let reward_model = &self.reward_model_name;
        layers.flag(
            "--reward-model-name",
            "model.reward_model_name",
            reward_model,
        );
        layers.flag("--device", "model.device", &self.device);
        layers.flag("--precision", "model.precision", &self.precision);
        let checkpointing = self.gradient_checkpointing;
        layers.switch(
            "--gradient-checkpointing",
            "model.gradient_checkpointing",
            checkpointing,
        );
        layers.flag("--lora-rank", "model.lora.rank", &self.lora_rank);
        layers.flag("--lora-alpha", "model.lora.alpha", &self.lora_alpha);
        layers.flag("--lora-dropout", "model.lora.dropout", &self.lora_dropout);
        let modules = Some(&self.lora_target_modules).filter(|names| !names.is_empty());
        layers.flag(
            "--lora-target-modules",
            "model.lora.target_modules",
            &modules,
        );
        layers.switch(
            "--merge-adapters",
            "model.merge_adapters",
            self.merge_adapters,
        );

        layers.flag("--method", "training.method", &self.method);
        layers.flag(
            "--learning-rate",
            "training.learning_rate",
            &self.learning_rate,
        );
        layers.flag("--batch-size", "training.batch_size", &self.batch_size);
        layers.flag("--epochs", "training.epochs", &self.epochs);
        layers.flag("--steps", "training.steps", &self.steps);
        layers.flag("--max-length", "training.max_length", &self.max_length);
        layers.flag("--save-steps", "training.save_steps", &self.save_steps);
        let limit = &self.save_total_limit;
        layers.flag("--save-total-limit", "training.save_total_limit", limit);
        let metric = &self.metric_for_best_model;
        layers.flag(
            "--metric-for-best-model",
            "training.metric_for_best_model",
            metric,
        );
        let greater = &self.greater_is_better;
        layers.flag("--greater-is-better", "training.greater_is_better", greater);
        let best = self.load_best_model_at_end;
        layers.switch(
            "--load-best-model-at-end",
            "training.load_best_model_at_end",
            best,
        );
        layers.flag("--warm-up-steps", "warm_up.steps", &self.warm_up_steps);
        layers.flag("--dpo.loss", "dpo.loss", &self.dpo_loss);
        layers.flag("--dpo.beta", "dpo.beta", &self.dpo_beta);
        let smoothing = &self.dpo_label_smoothing;
        layers.flag("--dpo.label-smoothing", "dpo.label_smoothing", smoothing);
        layers.switch(
            "--dpo.reference-free",
            "dpo.reference_free",
            self.dpo_reference_free,
        );
        layers.flag(
            "--max-new-tokens",
            "generation.max_new_tokens",
            &self.max_new_tokens,
        );

        layers.flag(
            "--train-data-path",
            "data.train_data_path",
            &self.train_data_path,
        );
        layers.flag(
            "--eval-data-path",
            "data.eval_data_path",
            &self.eval_data_path,
        );
        let feedback = &self.human_feedback_path;
        layers.flag(
            "--human-feedback-path",
            "data.human_feedback_path",
            feedback,
        );
        layers.entries("--column", "data.columns", &self.column);
        layers.entries("--data-option", "data.options", &self.data_option);
        layers.flag("--on-bad-row", "data.on_bad_row", &self.on_bad_row);
        layers.flag("--wandb", "tracking.wandb", &self.wandb);
        let project = &self.wandb_project;
        layers.flag("--wandb-project", "tracking.wandb_project", project);

        layers.flag("--eval-tasks", "evaluation.tasks_max", &self.eval_tasks);
        layers.flag(
            "--eval-strategy",
            "evaluation.strategy",
            &self.eval_strategy,
        );
        layers.flag("--eval-steps", "evaluation.steps", &self.eval_steps);
        layers.flag("--encoder", "evaluation.encoder", &self.encoder);
        layers.flag(
            "--encoder-layer",
            "evaluation.encoder_layer",
            &self.encoder_layer,
        );
        let evaluation = [
            (
                "--target-bertscore",
                "evaluation.target_bertscore",
                &self.target_bertscore,
            ),
            (
                "--target-codebleu",
                "evaluation.target_codebleu",
                &self.target_codebleu,
            ),
            ("--target-bleu", "evaluation.target_bleu", &self.target_bleu),
            (
                "--target-rouge",
                "evaluation.target_rouge",
                &self.target_rouge,
            ),
            ("--target-ruby", "evaluation.target_ruby", &self.target_ruby),
        ];
        for (flag, key, value) in evaluation {
            layers.flag(flag, key, value);
        }
    }
}

/// Runs the pipeline and prints its summary; `quiet` leaves out how it goes on.
///
/// # Errors
/// Whatever ended it; see the exit codes in [`super`].
pub fn run(args: &Args, quiet: bool) -> Result<()> {
    let settings = Given::of(args)?;
    let mut config = settings.resolved()?.config;
    let is_default = Mode::ALL
        .into_iter()
        .any(|mode| config.output_dir == mode.output_dir());
    let start = match &args.resume {
        None if args.overwrite => pipeline::Start::Overwrite,
        None => pipeline::Start::New,
        Some(from) => {
            let found = Found::of(from, &config)?;
            let whole = |folder: &Path| folder.canonicalize().ok();
            if args.output_dir.is_some() && whole(&config.run_folder()) != whole(&found.run) {
                return Err(Usage(format!(
                    "--output-dir names `{}`, and the run of `--resume {from}` is in `{}`\nhint: a run goes on in its own folder; leave --output-dir out",
                    config.run_folder().display(),
                    found.run.display()
                ))
                .into());
            }
            found.tell();
            config.output_dir = found.run;
            config.experiment_name = None;
            pipeline::Start::Resume(found.checkpoint)
        }
    };
    if is_default && start == pipeline::Start::New {
        config.output_dir = pipeline::unused_folder(&config.output_dir);
    }
    let folder = config.run_folder();
    let mut specs = args
        .plugin
        .iter()
        .map(|text| Spec::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    // The run's `config.json` has all of them, so that it says how to run it again.
    let given: Vec<_> = specs.iter().map(Spec::to_entry).collect();
    for entry in &config.plugins {
        specs.push(Spec::of_entry(entry)?);
    }
    config.plugins.splice(0..0, given);
    let plan = pipeline::Plan::prepare(settings.mode, config, &specs, &|method| {
        Ok(settings.over(Some(method))?.config)
    })?;
    if args.dry_run {
        for difference in plan.check_folder(&start)? {
            eprintln!("warning: going on otherwise: {difference}");
        }
        print!("{}", plan.describe());
        return Ok(());
    }
    let interrupt = interrupt_flag()?;
    let (evaluation, stage) = plan.evaluation();
    let console = Console::new(quiet).judging(evaluation, stage);
    let summary = plan.run(start, Box::new(console), &interrupt)?;
    print!("{}", report::tables::summary(&summary));
    if !quiet {
        let page = folder.join("report.html");
        eprintln!(
            "results are in {}, the report is {}",
            folder.display(),
            page.display()
        );
    }
    if args.require_targets {
        let missed: Vec<String> = summary
            .targets
            .iter()
            .filter(|target| target.met == Some(false))
            .map(|target| target.metric.clone())
            .collect();
        if !missed.is_empty() {
            return Err(MissedTarget(missed.join(", ")).into());
        }
    }
    Ok(())
}

/// Set by the first Ctrl-C or SIGTERM; a second one ends the process at once.
pub(super) fn interrupt_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\ninterrupted: finishing the step; once more stops at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(flag)
}
