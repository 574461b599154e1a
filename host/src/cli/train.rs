//! `rlhf [train]`: the whole pipeline.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::{MissedTarget, Usage};
use crate::config::data::OnBadRow;
use crate::config::model::Precision;
use crate::config::training::Method;
use crate::config::{self, Config, Device, Mode, Origin};
use crate::pipeline;
use crate::plugin::Spec;
use crate::report;
use crate::tracking::console::Console;
use crate::trainer;

/// The flags of the Python project keep their names and meanings.
#[derive(clap::Args)]
pub struct Args {
    /// Predefined configuration [default: research; fast for a bare --plugin]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Configuration file, JSON or TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the policy is trained [default: dpo]
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

    /// Training data: CSV, JSON or JSON Lines
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub train_data_path: Option<PathBuf>,
    /// Evaluation data
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub eval_data_path: Option<PathBuf>,
    /// Human feedback data
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub human_feedback_path: Option<PathBuf>,
    /// What to do with a row that can't be read
    #[arg(long, value_parser = on_bad_row, value_name = "error|skip", help_heading = "Data")]
    pub on_bad_row: Option<OnBadRow>,

    /// Output directory for results
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub output_dir: Option<PathBuf>,
    /// Go on with the run in the output directory, from its newest checkpoint; or from the run or
    /// checkpoint at PATH. Give the same settings as before
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
    /// Replace the results of an earlier run in the same folder
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,

    /// Held-out tasks to evaluate at most; 0: all
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    pub eval_tasks: Option<usize>,
    /// BERT or RoBERTa whose token embeddings bertscore compares: a folder or a hub name
    #[arg(long, value_name = "MODEL", help_heading = "Evaluation")]
    pub encoder: Option<String>,
    /// Its layer [default: bert-score's choice, or the last]
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    pub encoder_layer: Option<usize>,
    #[arg(long, help_heading = "Evaluation")]
    pub target_bertscore: Option<f64>,
    #[arg(long, help_heading = "Evaluation")]
    pub target_codebleu: Option<f64>,
    #[arg(long, help_heading = "Evaluation")]
    pub target_bleu: Option<f64>,
    #[arg(long, help_heading = "Evaluation")]
    pub target_rouge: Option<f64>,
    #[arg(long, help_heading = "Evaluation")]
    pub target_ruby: Option<f64>,
    /// Exit with 4 if a metric misses its target
    #[arg(long, help_heading = "Evaluation")]
    pub require_targets: bool,

    /// Check everything, print the plan, train nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Log what happens inside
    #[arg(long)]
    pub debug: bool,
    /// Log more
    #[arg(long)]
    pub verbose: bool,
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

/// Preset, then file, then flags, checked.
///
/// # Errors
/// The file or a value is wrong.
pub fn effective_config(args: &Args) -> Result<Config, config::Error> {
    let bare_plugin = args.model_name.is_none() && args.config.is_none() && !has_data(args);
    let mode = match args.mode {
        Some(mode) => mode,
        // `rlhf --plugin metrics/codebleu.wasm`, and nothing else, shows the plugin at work.
        None if !args.plugin.is_empty() && bare_plugin => Mode::Fast,
        None => Mode::Research,
    };
    let layers = |origin: Origin, method: Option<Method>| {
        let mut config = mode.config(origin, method);
        if let Some(path) = &args.config {
            config = config::file::overlay(&config, path)?;
        }
        args.apply(&mut config);
        Ok::<_, config::Error>(config)
    };
    // The preset depends on model and method, which file or flag may name.
    let presumed = match mode {
        Mode::Fast => Origin::Builtin,
        Mode::Research | Mode::Production => Origin::Pretrained,
    };
    let mut config = layers(presumed, args.method)?;
    let origin = Origin::of(&config.model.base_model_name);
    let method = config.training.method;
    if (origin, method) != (presumed, args.method) {
        config = layers(origin, method)?;
    }
    config.validate()?;
    Ok(config)
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
    fn apply(&self, config: &mut Config) {
        fn set<T: Clone>(target: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                target.clone_from(value);
            }
        }
        fn set_some<T: Clone>(target: &mut Option<T>, flag: &Option<T>) {
            if flag.is_some() {
                target.clone_from(flag);
            }
        }
        set(&mut config.seed, &self.seed);
        set(&mut config.output_dir, &self.output_dir);
        set_some(&mut config.experiment_name, &self.experiment_name);
        set(&mut config.model.base_model_name, &self.model_name);
        set(&mut config.model.reward_model_name, &self.reward_model_name);
        set(&mut config.model.device, &self.device);
        set(&mut config.model.precision, &self.precision);
        config.model.gradient_checkpointing |= self.gradient_checkpointing;
        let lora = &mut config.model.lora;
        set(&mut lora.rank, &self.lora_rank);
        set(&mut lora.alpha, &self.lora_alpha);
        set(&mut lora.dropout, &self.lora_dropout);
        if !self.lora_target_modules.is_empty() {
            lora.target_modules.clone_from(&self.lora_target_modules);
        }
        config.model.merge_adapters |= self.merge_adapters;
        set_some(&mut config.training.method, &self.method);
        set(&mut config.training.learning_rate, &self.learning_rate);
        set(&mut config.training.batch_size, &self.batch_size);
        set(&mut config.training.epochs, &self.epochs);
        set(&mut config.training.steps, &self.steps);
        set(&mut config.training.max_length, &self.max_length);
        let training = &mut config.training;
        set(&mut training.save_steps, &self.save_steps);
        set_some(&mut training.save_total_limit, &self.save_total_limit);
        set_some(
            &mut training.metric_for_best_model,
            &self.metric_for_best_model,
        );
        set_some(&mut training.greater_is_better, &self.greater_is_better);
        training.load_best_model_at_end |= self.load_best_model_at_end;
        set(&mut config.warm_up.steps, &self.warm_up_steps);
        set(&mut config.dpo.loss, &self.dpo_loss);
        set(&mut config.dpo.beta, &self.dpo_beta);
        set(&mut config.dpo.label_smoothing, &self.dpo_label_smoothing);
        config.dpo.reference_free |= self.dpo_reference_free;
        set(&mut config.generation.max_new_tokens, &self.max_new_tokens);
        set_some(&mut config.data.train_data_path, &self.train_data_path);
        set_some(&mut config.data.eval_data_path, &self.eval_data_path);
        set_some(
            &mut config.data.human_feedback_path,
            &self.human_feedback_path,
        );
        set(&mut config.data.on_bad_row, &self.on_bad_row);
        set(&mut config.evaluation.tasks_max, &self.eval_tasks);
        set_some(&mut config.evaluation.encoder, &self.encoder);
        set_some(&mut config.evaluation.encoder_layer, &self.encoder_layer);
        set(
            &mut config.evaluation.target_bertscore,
            &self.target_bertscore,
        );
        set(
            &mut config.evaluation.target_codebleu,
            &self.target_codebleu,
        );
        set(&mut config.evaluation.target_bleu, &self.target_bleu);
        set(&mut config.evaluation.target_rouge, &self.target_rouge);
        set(&mut config.evaluation.target_ruby, &self.target_ruby);
    }
}

/// Runs the pipeline and prints its summary.
///
/// # Errors
/// Whatever ended it; see the exit codes in [`super`].
pub fn run(args: &Args) -> Result<()> {
    let mut config = effective_config(args)?;
    let is_default = Mode::ALL
        .into_iter()
        .any(|mode| config.output_dir == mode.output_dir());
    let start = match &args.resume {
        None if args.overwrite => pipeline::Start::Overwrite,
        None => pipeline::Start::New,
        Some(from) => resume(from, &mut config)?,
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
    for entry in &config.plugins {
        specs.push(Spec::of_entry(entry)?);
    }
    let plan = pipeline::Plan::prepare(config, &specs)?;
    if args.dry_run {
        for difference in plan.check_folder(&start)? {
            eprintln!("warning: going on otherwise: {difference}");
        }
        print!("{}", plan.describe());
        return Ok(());
    }
    let interrupt = interrupt_flag()?;
    let summary = plan.run(start, Box::new(Console::new()), &interrupt)?;
    print!("{}", report::tables::summary(&summary));
    eprintln!("results are in {}", folder.display());
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

/// Where to go on; the run's folder becomes that of the run which is named.
fn resume(from: &str, config: &mut Config) -> Result<pipeline::Start> {
    let nothing = |what: &str| {
        Usage(format!(
            "`--resume {from}`: {what}\nhint: a run's folder, or a `checkpoint-N` in it"
        ))
    };
    let folder = match from {
        "auto" => config.run_folder(),
        path => PathBuf::from(path),
    };
    let numbered = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("checkpoint-");
    let (run, checkpoint) = if folder.file_name().is_some_and(numbered) {
        if !folder.is_dir() {
            return Err(nothing("there is no such checkpoint").into());
        }
        let run = folder.parent().map_or_else(PathBuf::new, PathBuf::from);
        (run, Some(folder))
    } else {
        let (newest, broken) = trainer::checkpoint::newest(&folder);
        for error in broken {
            eprintln!("warning: {error}; it is left out");
        }
        (folder, newest)
    };
    if !run.join("config.json").is_file() {
        return Err(nothing(&format!("`{}` holds no run", run.display())).into());
    }
    match &checkpoint {
        Some(checkpoint) => eprintln!("going on from {}", checkpoint.display()),
        None => eprintln!(
            "{} has no whole checkpoint: its training begins anew",
            run.display()
        ),
    }
    config.output_dir = run;
    config.experiment_name = None;
    Ok(pipeline::Start::Resume(checkpoint))
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
