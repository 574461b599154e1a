//! The stages of a run in order, and the only place where they meet.
//!
//! [`Plan::prepare`] checks everything that can be checked without a model:
//! device, plugins and grants, data, the model's folder. [`Plan::run`] then
//! does the work: evaluation of what is there, supervised warm-up, preferences
//! (from the data, or from the model's own samples ranked by a metric) and DPO,
//! or PPO, GRPO or RLOO on the model's own responses, evaluation again, and what is left behind in the run's folder.

mod canaries;
mod completions;
mod disk;
mod encoder;
mod examples;
mod folder;
mod held_out;
mod human;
mod memory;
mod on_policy;
mod plugins;
mod policy;
mod preflight;
mod programs;
pub mod replay;
mod resume;
pub mod reward_model;
mod samples;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{DType, Device};

use crate::config::model::Precision;
use crate::config::{self, Config, Method, Origin, Training};
use crate::data::sources::Adapters;
use crate::data::{self, Demonstration, PreferencePair};
use crate::evaluate::{self, MetricResult};
use crate::models::{CausalLm, Model};
use crate::plugin::{self, Metric, Runtime, Spec};
use crate::random::{Purpose, Stream};
use crate::report::manifest::{DataPin, Machine, Manifest};
use crate::report::{PreferenceSummary, StageEvaluation, Summary, TargetResult};
use crate::reward::LearnedReward;
use crate::tracking::{All, Shared, Tracker};
use crate::{hub, models, report, reward, sandbox, tokenizer, trainer};

use canaries::Canaries;
use completions::Judged;
pub use encoder::{EncoderChoice, TokenEncoder};
use examples::Examples;
pub use examples::has_files;
pub use folder::{RunFolder, unused_folder};
use held_out::HeldOut;
use human::Human;
pub use plugins::Plugins;
pub use policy::{Policy, Source, device};
pub use programs::{DEFAULT_RUNNER, pool};

/// Fewest pairs that a preference loss and its held-out accuracy mean anything for.
const PAIRS_MIN: usize = 8;

/// Folder of the policy as its warm-up left it.
const WARMED_UP: &str = "warmed-up";

/// How a run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// In a folder that holds no run.
    New,
    /// In place of the run that is there.
    Overwrite,
    /// Where the run in its folder was ended: from a checkpoint, or before there was one.
    Resume(Option<PathBuf>),
}

/// The step of `checkpoint-N`.
fn checkpoint_step(folder: &Path) -> u64 {
    let name = folder.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix("checkpoint-"));
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Where pairs come from, those trained on, those held out.
type Pairs = (&'static str, Vec<trainer::Pair>, Vec<trainer::Pair>);

/// What ended a run, or kept it from beginning.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Input(String),
    #[error(transparent)]
    Hub(#[from] hub::Error),
    #[error(transparent)]
    Data(#[from] data::sources::Error),
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    #[error(transparent)]
    Weights(#[from] models::weights::Error),
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    #[error(transparent)]
    Trainer(#[from] trainer::Error),
    #[error(transparent)]
    RewardModel(#[from] reward::learned::Error),
    #[error(transparent)]
    Report(#[from] report::Error),
    #[error("{doing}: {source}")]
    Tensor {
        doing: String,
        source: candle_core::Error,
    },
    #[error(
        "no sampled response has a reward: part `{part}`: {reason}\nhint: `rlhf plugin test` shows whether it works at all"
    )]
    Reward { part: String, reason: String },
    #[error(
        "step {step}: `{part}` gives {value}, its best, to a response that is known to be bad (`{canary}`): {response:?}\nhint: a policy would learn to write the same; see what `{part}` checks, or set `rollout.canaries = false` to go on in spite of it"
    )]
    Canary {
        step: u64,
        part: String,
        value: f64,
        canary: String,
        response: String,
    },
    #[error(
        "{0}\nhint: its `on-failure` policy is to end the run; `abstain` leaves such samples out"
    )]
    Abort(#[from] reward::Abort),
    #[error("{what} `{path}`: {source}")]
    Write {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "interrupted; what was done lies in `{folder}`\nhint: the same command with --resume goes on with it"
    )]
    Interrupted { folder: PathBuf },
}

impl Error {
    /// What the reader could do about it, where the message does not say so itself.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Weights(error) => error.hint(),
            Error::Tokenizer(error) => error.hint(),
            Error::Trainer(error) => error.hint(),
            Error::RewardModel(reward::learned::Error::Weights(error)) => error.hint(),
            Error::RewardModel(reward::learned::Error::Tokenizer(error)) => error.hint(),
            Error::Write { .. } => {
                Some("check that the folder can be written and the disk has room".into())
            }
            _ => None,
        }
    }
}

/// What a run does that is not told: preferences are learned as they are, unless the user has
/// said what a response is worth.
fn default_method(examples: &Examples, rewarded: bool) -> Method {
    match examples.preferences.is_some() && !rewarded {
        true => Method::Dpo,
        false => Method::Ppo,
    }
}

/// Refuses a method that the data, or the reward, do not suffice for.
fn check_method(method: Method, examples: &Examples, rewards: bool) -> Result<(), Error> {
    let refuse = |what: &str, hint: &str| {
        let name = method.name();
        Err(Error::Input(format!(
            "`--method {name}` needs {what}\nhint: {hint}"
        )))
    };
    match method {
        Method::Dpo => Ok(()),
        Method::Sft if examples.demonstrations.is_empty() => refuse(
            "demonstrations, and the data have none",
            "give --train-data-path a file with prompt,response",
        ),
        Method::Sft => Ok(()),
        Method::Ppo | Method::Grpo | Method::Rloo if examples.train_tasks.is_empty() => refuse(
            "prompts to sample responses to, and the data have none",
            "give --train-data-path a file with prompt,response, or tasks with tests",
        ),
        Method::Ppo | Method::Grpo | Method::Rloo if !rewards => refuse(
            "a reward",
            "give one with --plugin, as `--plugin unit-tests,weight=1`",
        ),
        Method::Ppo | Method::Grpo | Method::Rloo => Ok(()),
    }
}

/// The settings for a method, where it was left to the data which that is: a preset has other
/// numbers for rewards than for preferences.
pub type Layers<'a> = dyn Fn(Method) -> Result<Config, config::Error> + 'a;

/// A run that has been checked and can begin.
pub struct Plan {
    config: Config,
    method: Method,
    device: Device,
    source: Source,
    /// The policy's weights: all, and those that are trained.
    weights: (usize, usize),
    examples: Examples,
    plugins: Plugins,
    /// Where the reward model comes from.
    human: Human,
    canaries: Canaries,
    /// The data files, by what is in them.
    data: Vec<DataPin>,
}

/// Adds to a checkpoint what it holds besides the model. The run's own rows up to it are on the
/// disk by then.
fn add_extras(
    folder: &RunFolder,
    tokenizer: &tokenizer::Tokenizer,
    checkpoint: &Path,
) -> std::io::Result<()> {
    folder.sync()?;
    tokenizer.save(checkpoint)
}

impl Plan {
    /// Checks the configuration's devices, plugins, data and model folder.
    ///
    /// # Errors
    /// The first thing that is wrong, before any model is loaded.
    pub fn prepare(mut config: Config, specs: &[Spec], layers: &Layers) -> Result<Self, Error> {
        disk::check_writable(&config.run_folder())?;
        let device = device(config.model.device)?;
        let runtime = Runtime::of_user()?;
        let mut plugins = Plugins::load(&runtime, &config, specs)?;
        let has_files = has_files(&config);
        let adapters = if has_files || config.data.canary_path.is_some() {
            let given = std::mem::take(&mut plugins.adapters);
            let pinned = given.len();
            let model = config.model.base_model_name.clone();
            let adapters = Adapters::load(&runtime, given)?
                .with_options(config.data.options.clone())?
                .with_chat(Box::new(move || chat_tokenizer(&model)));
            for adapter in adapters.iter().skip(pinned) {
                let component = adapter.component();
                let spec = Spec::of(&component.label());
                plugins.pin(component, &spec, &adapter.descriptor().name, None);
            }
            Some(adapters)
        } else {
            None
        };
        let adapters = adapters.as_ref();
        let examples = Examples::gather(&config, adapters.filter(|_| has_files))?;
        let canaries = Canaries::read(&config, adapters, &examples.tasks())?;
        let data = examples::pins(&config)?;
        let source = Source::of(&config.model.base_model_name)?;
        let weights = source.weights(&config.model)?;
        let human = Human::of(&config, examples.feedback.is_some());
        let rewarded = plugins.rewarded() || human != Human::Nothing;
        let method = match config.training.method {
            Some(method) => method,
            None => {
                let method = default_method(&examples, rewarded);
                // What is read and loaded by now is the same for all methods.
                let layered = layers(method).map_err(|error| Error::Input(error.to_string()))?;
                config.training = layered.training;
                config.rollout = layered.rollout;
                config.ppo = layered.ppo;
                config.training.method = Some(method);
                method
            }
        };
        plugins.default_reward(&runtime, &config, method, examples.rankable())?;
        let rewards = !plugins.reward_parts().is_empty() || human != Human::Nothing;
        check_method(method, &examples, rewards)?;
        if method == Method::Dpo && examples.preferences.is_none() && !rewards {
            return Err(Error::Input(format!(
                "the data have no preferences, and the metric `{}` that would rank the model's own samples is not among {}\nhint: set `preferences.metric` to one of them, or give a reward shaper with --plugin",
                config.preferences.metric,
                plugins
                    .metrics
                    .iter()
                    .map(Metric::name)
                    .collect::<Vec<_>>()
                    .join(", "),
            )));
        }
        let plan = Self {
            config,
            method,
            device,
            source,
            weights,
            examples,
            plugins,
            human,
            canaries,
            data,
        };
        if plan.human == Human::Feedback && plan.samples() {
            human::check(&plan.config)?;
        }
        Ok(plan)
    }

    /// Checks what the run meets on the disk: earlier results, the run that it goes on with, and
    /// room for what it will write. What a person should know is returned.
    ///
    /// # Errors
    /// It can't begin there.
    pub fn check_folder(&self, start: &Start) -> Result<Vec<String>, Error> {
        let path = self.config.run_folder();
        let told = match start {
            Start::Resume(_) => self.check_continued(&path)?,
            Start::New | Start::Overwrite => {
                RunFolder::check(&path, *start == Start::Overwrite)?;
                Vec::new()
            }
        };
        self.check_disk()?;
        Ok(told)
    }

    /// Whether responses are sampled and rewarded.
    fn samples(&self) -> bool {
        match self.method {
            Method::Sft => false,
            Method::Dpo => self.examples.preferences.is_none(),
            Method::Ppo | Method::Grpo | Method::Rloo => true,
        }
    }

    /// The stage whose steps have checkpoints, as the tracker hears it.
    fn training_stage(&self) -> &'static str {
        match self.method {
            Method::Sft => "warm-up",
            method => method.name(),
        }
    }

    /// Tasks that responses are sampled to, for `tasks.jsonl`.
    fn task_rows(&self) -> impl Iterator<Item = serde_json::Value> {
        let Examples {
            train_tasks,
            development_tasks,
            eval_tasks,
            ..
        } = &self.examples;
        let (train, development) = match (self.samples(), self.method) {
            (false, _) => (&[][..], &[][..]),
            (true, Method::Dpo) => (&train_tasks[..], &development_tasks[..]),
            (true, _) => (&train_tasks[..], &[][..]),
        };
        completions::task_rows("train", train, samples::LANGUAGE)
            .chain(completions::task_rows(
                "development",
                development,
                samples::LANGUAGE,
            ))
            .chain(completions::task_rows(
                "evaluation",
                eval_tasks,
                samples::LANGUAGE,
            ))
    }

    /// The plan, for people.
    pub fn describe(&self) -> String {
        let Self {
            config, examples, ..
        } = self;
        let mut lines = vec![
            format!("model      {}", config.model.base_model_name),
            format!("weights    {}", self.describe_weights()),
            format!("device     {}", device_name(&self.device)),
            format!("memory     {}", self.describe_memory()),
            format!("disk       {}", self.describe_disk()),
        ];
        lines.extend(self.describe_files());
        lines.extend(
            self.describe_computing()
                .map(|text| format!("computing  {text}")),
        );
        lines.extend(
            examples
                .sources
                .iter()
                .map(|source| format!("data       {source}")),
        );
        lines.extend(self.describe_tokens());
        lines.push(
            if config.warm_up.steps > 0
                && !examples.demonstrations.is_empty()
                && self.method != Method::Sft
            {
                format!(
                    "warm-up    {} steps of {} demonstrations (of {})",
                    config.warm_up.steps,
                    config.warm_up.batch_size,
                    examples.demonstrations.len()
                )
            } else {
                "warm-up    none".to_owned()
            },
        );
        lines.extend(self.describe_human());
        lines.push(match (self.method, &examples.preferences) {
            (Method::Sft, _) => format!(
                "sft        {} demonstrations",
                examples.demonstrations.len()
            ),
            (method @ (Method::Ppo | Method::Grpo | Method::Rloo), _) => format!(
                "{:10} {} responses to each of {} prompts a step (of {}), rewarded by {}",
                method.name(),
                config.rollout.samples_per_prompt,
                config.rollout.prompts_per_step,
                examples.train_tasks.len(),
                self.describe_reward()
            ),
            (Method::Dpo, Some((train, held_out))) => format!(
                "dpo        {} pairs from the data, {} held out",
                train.len(),
                held_out.len()
            ),
            (Method::Dpo, None) => format!(
                "dpo        pairs from {} samples of each of {} prompts, ranked by {}",
                config.preferences.samples_per_prompt,
                self.sampled_prompts(),
                self.describe_reward()
            ),
        });
        lines.extend(self.canaries.describe().filter(|_| self.samples()));
        lines.push(self.describe_steps());
        lines.push(format!(
            "evaluation {} held-out tasks",
            examples.eval_tasks.len()
        ));
        lines.extend(self.plugins.pins.iter().map(|pin| {
            let mut line = format!("plugin     {} {} {}", pin.name, pin.kind, pin.path);
            if !pin.grants.is_empty() {
                line.push_str(&format!(", granted {}", pin.grants.join(", ")));
            }
            line
        }));
        let warnings = self.plugins.warnings.iter();
        lines.extend(warnings.map(|warning| format!("warning    {warning}")));
        lines.push(format!("output     {}", config.run_folder().display()));
        lines.join("\n") + "\n"
    }

    fn describe_reward(&self) -> String {
        let automated = self.plugins.describe_reward();
        let model = match &self.human {
            Human::Nothing => return automated,
            Human::Trained(folder) => format!("the reward model {}", folder.display()),
            Human::Feedback => "the reward model".to_owned(),
        };
        let share = self.config.reward_model.feedback_weight;
        match automated.is_empty() {
            true => format!("{share} {model}"),
            false => format!("{share} {model} + {} ({automated})", 1.0 - share),
        }
    }

    fn describe_weights(&self) -> String {
        let (all, trained) = self.weights;
        if all == trained {
            return format!("{all}, all of them trained");
        }
        let lora = &self.config.model.lora;
        format!(
            "{all}, of which {trained} are trained: adapters of rank {} on {}",
            lora.rank,
            lora.target_modules.join(", ")
        )
    }

    /// What is not as by default.
    fn describe_computing(&self) -> Option<String> {
        let model = &self.config.model;
        let mut parts = Vec::new();
        let name = match model.precision {
            Precision::F32 => None,
            Precision::Bf16 => Some("bf16"),
            Precision::F16 => Some("f16"),
        };
        if let Some(name) = name {
            let computed = policy::compute_type(model.precision, &self.device);
            parts.push(match (computed, model.lora.rank) {
                (DType::F32, 0) => format!(
                    "in f32: on the CPU {name} is for storing weights that are not trained, and here all are"
                ),
                (DType::F32, _) => format!(
                    "in f32, weights that are not trained stored in {name}: the CPU is slower in it"
                ),
                _ => format!("in {name}, weights that are trained in f32"),
            });
        }
        if model.gradient_checkpointing {
            parts.push("layers again in the backward (gradient checkpointing)".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn sampled_prompts(&self) -> usize {
        let all = self.examples.train_tasks.len();
        match self.config.preferences.prompts_max {
            0 => all,
            max => all.min(max),
        }
    }

    /// Does the work. Everything is left in the run's folder.
    ///
    /// # Errors
    /// What ended it; what was done by then is in the folder.
    pub fn run(
        self,
        start: Start,
        console: Box<dyn Tracker>,
        interrupt: &AtomicBool,
    ) -> Result<Summary, Error> {
        let told = self.check_folder(&start)?;
        let path = self.config.run_folder();
        // What was warmed up is not warmed up again.
        let warmed = path.join(WARMED_UP);
        let resumes = matches!(start, Start::Resume(_)) && warmed.join("config.json").is_file();
        let source = match resumes {
            true => Source::Folder(warmed),
            false => self.source.clone(),
        };
        let mut policy = Policy::load(&source, self.config.seed, &self.device)?;
        policy.compute(&self.config.model);
        let checkpoint = match start {
            Start::Resume(checkpoint) => checkpoint,
            Start::New | Start::Overwrite => None,
        };
        let mut evaluations = Vec::new();
        let folder = if resumes || checkpoint.is_some() {
            let step = checkpoint.as_deref().map_or(0, checkpoint_step);
            evaluations = RunFolder::evaluations(&path);
            // A run that had reached its end is judged again.
            let last = format!("after {}", self.method.name());
            evaluations.retain(|done| done.stage != last);
            RunFolder::reopen(&path, self.training_stage(), step, &evaluations)?
        } else {
            // Of a run that was here, nothing may be taken for this one's.
            for made in [WARMED_UP, human::FOLDER] {
                let _ = std::fs::remove_dir_all(path.join(made));
            }
            let _ = std::fs::remove_file(path.join(human::SUMMARY));
            RunFolder::create(&path)?
        };
        folder.json("config.json", &self.config)?;
        folder.write_rows("tasks.jsonl", self.task_rows())?;
        // Whoever goes on with the run has to know what it was begun with.
        folder.json("manifest.json", &self.manifest(&[]))?;
        let trackers = folder.trackers(&self.config, self.training_stage())?;
        let mut run = Run {
            plan: &self,
            folder: &folder,
            tracker: Shared::of(All(std::iter::once(console).chain(trackers).collect())),
            step: 0,
            interrupt,
            policy,
            warmed_up: resumes,
            resume: checkpoint,
            evaluations,
            reward_model: None,
            seconds: Vec::new(),
            warnings: Vec::new(),
        };
        for difference in told {
            run.tracker
                .warn(&format!("going on otherwise: {difference}"));
        }
        let outcome = run.stages();
        // Where the time went is worth knowing of a run that failed, too; but not more than why.
        let manifest = folder.json("manifest.json", &self.manifest(&run.seconds));
        let summary = outcome?;
        manifest?;
        folder.json("summary.json", &summary)?;
        run.tracker.finish(&summary.results());
        // The results are there without it, and `rlhf report` makes it again.
        if let Err(error) = report::write(&path) {
            run.tracker.warn(&format!("no report: {error}"));
        }
        Ok(summary)
    }
}

/// A run under way.
struct Run<'a> {
    plan: &'a Plan,
    folder: &'a RunFolder,
    tracker: Shared,
    /// Optimizer steps of the method so far; the warm-up's do not count.
    step: u64,
    interrupt: &'a AtomicBool,
    policy: Policy,
    /// Whether the policy was loaded as its warm-up had left it.
    warmed_up: bool,
    /// The checkpoint that the training goes on from.
    resume: Option<PathBuf>,
    /// Of the stages so far.
    evaluations: Vec<StageEvaluation>,
    /// Loaded where responses are sampled.
    reward_model: Option<LearnedReward>,
    seconds: Vec<(String, f64)>,
    warnings: Vec<String>,
}

impl Run<'_> {
    fn stages(&mut self) -> Result<Summary, Error> {
        let plan = self.plan;
        let config = &plan.config;
        let context = self.policy.model.context();
        if config.training.max_length > context {
            self.warn(format!(
                "sequences of up to {} tokens are trained on, but the model was made for {context}; --max-length sets the former",
                config.training.max_length
            ));
        }
        for warning in &plan.plugins.warnings {
            self.warn(warning.clone());
        }
        let method = plan.method;
        // What the adapters at the end belong to, where anybody has it.
        let mut base = Some(config.model.base_model_name.as_str());
        let warms_up = config.warm_up.steps > 0 && !plan.examples.demonstrations.is_empty();
        if warms_up && method != Method::Sft {
            if !self.warmed_up {
                self.evaluate("before warm-up")?;
                // Weights that were drawn just now have nothing that an adapter could build on.
                if Origin::of(&config.model.base_model_name) == Origin::Pretrained {
                    self.policy.adapt(&config.model, config.seed)?;
                }
                self.supervised("warm-up", &plan.examples.demonstrations)?;
                // The warmed-up model is what is held to: its reference is the adapters' absence.
                self.policy.absorb_adapters()?;
                self.policy.save(&self.folder.path(WARMED_UP))?;
            }
            base = None;
            self.evaluate("after warm-up")?;
        } else {
            self.evaluate(&format!("before {}", method.name()))?;
        }
        let reward_model = self.prepare_reward_model()?;
        let mut preferences = None;
        let mut rollouts = None;
        match method {
            Method::Dpo => {
                let (source, train, held_out) = self.preference_pairs()?;
                self.policy.adapt(&config.model, config.seed)?;
                preferences = Some(self.dpo(source, &train, &held_out)?);
            }
            Method::Sft => {
                if Origin::of(&config.model.base_model_name) == Origin::Pretrained {
                    self.policy.adapt(&config.model, config.seed)?;
                }
                self.supervised("sft", &plan.examples.demonstrations)?;
            }
            Method::Ppo | Method::Grpo | Method::Rloo => {
                self.policy.adapt(&config.model, config.seed)?;
                rollouts = Some(self.on_policy(method)?);
            }
        }
        // Adapters of a model that is there without this run are the result; what was warmed up
        // is nowhere else.
        let adapters = config.model.lora.rank > 0 && !config.model.merge_adapters;
        let apart = base.filter(|_| adapters && matches!(plan.source, Source::Folder(_)));
        if let Some(base) = apart {
            self.save_adapters(base)?;
        }
        self.policy.absorb_adapters()?;
        self.evaluate(&format!("after {}", method.name()))?;
        if apart.is_none() {
            self.policy.save(&self.folder.path("final"))?;
        }
        let evaluations = std::mem::take(&mut self.evaluations);
        let last = &evaluations.last().expect("one was just made").metrics;
        let targets = plan.targets(last);
        Ok(Summary {
            model: config.model.base_model_name.clone(),
            method: method.name(),
            seed: config.seed,
            targets,
            evaluations,
            preferences,
            reward_model,
            rollouts,
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    /// Pairs to train on and pairs held out: the data's, or made from the model's own samples.
    fn preference_pairs(&mut self) -> Result<Pairs, Error> {
        let plan = self.plan;
        let config = &plan.config;
        let (source, train, held_out) = match &plan.examples.preferences {
            Some((train, held_out)) => (
                "data",
                self.tokenised_pairs(train)?,
                self.tokenised_pairs(held_out)?,
            ),
            None => {
                let mut tasks = plan.examples.train_tasks.clone();
                Stream::new(config.seed, Purpose::Preferences, 0, 0).shuffle(&mut tasks);
                tasks.truncate(plan.sampled_prompts());
                let train = self.sampled_pairs("sample responses", 1, &tasks)?;
                let held_out =
                    self.sampled_pairs("sample held-out", 2, &plan.examples.development_tasks)?;
                ("own samples", train, held_out)
            }
        };
        for (pairs, what) in [(&train, "train on"), (&held_out, "hold out")] {
            if pairs.len() < PAIRS_MIN && source == "own samples" {
                return Err(Error::Input(format!(
                    "the model's own samples gave {} preference pairs to {what}, fewer than {PAIRS_MIN}\nhint: lower `preferences.margin_min`, raise `generation.temperature`, or warm up longer",
                    pairs.len()
                )));
            }
        }
        if train.is_empty() || held_out.is_empty() {
            return Err(Error::Input(format!(
                "no preference fits into {} tokens\nhint: raise --max-length",
                config.training.max_length
            )));
        }
        Ok((source, train, held_out))
    }

    /// Times a stage, and asks before it whether to go on.
    fn timed<T>(
        &mut self,
        stage: &str,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.go_on()?;
        let start = Instant::now();
        let result = work(self);
        self.seconds
            .push((stage.to_owned(), start.elapsed().as_secs_f64()));
        result
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.interrupt.load(Ordering::SeqCst) {
            return Err(Error::Interrupted {
                folder: self.folder.path(""),
            });
        }
        Ok(())
    }

    /// Judges the policy on the held-out tasks, unless that was done before an interruption.
    fn evaluate(&mut self, stage: &str) -> Result<(), Error> {
        if self.evaluations.iter().any(|done| done.stage == stage) {
            return Ok(());
        }
        self.timed(stage, |run| {
            let tasks = &run.plan.examples.eval_tasks;
            let responses = run.greedy_responses(&format!("evaluate {stage}"), tasks)?;
            let mut judged = Judged::of(responses);
            let config = &run.plan.config;
            let ids: Vec<String> = judged.samples().into_iter().map(|s| s.id).collect();
            let plugins = &run.plan.plugins;
            let mut metrics: Vec<MetricResult> = Vec::with_capacity(plugins.metrics.len());
            let scoring = format!("evaluate {stage}");
            run.tracker
                .stage(&scoring, plugins.metrics.len() as u64, "metrics");
            for metric in &plugins.metrics {
                run.tracker.progress(metrics.len() as u64);
                let scored = samples::measure(&mut judged, metric);
                metrics.push(evaluate::summarise(
                    metric,
                    &ids,
                    &scored,
                    config.evaluation.bootstrap_samples,
                    Stream::new(config.seed, Purpose::Bootstrap, 0, 0),
                ));
            }
            run.tracker.progress(metrics.len() as u64);
            let rows = judged.rows(stage, run.step, &plugins.hashes());
            run.folder.append_rows("completions.jsonl", rows)?;
            let costs = judged.cost_rows(stage, run.step);
            run.folder.append_rows("costs.jsonl", costs)?;
            run.track_evaluation(&metrics);
            judged.show(&mut run.tracker, run.step);
            for metric in &metrics {
                if let Some(failure) = &metric.first_failure {
                    run.warn(format!("metric `{}`, {stage}: {failure}", metric.name));
                }
            }
            run.evaluations.push(StageEvaluation {
                stage: stage.to_owned(),
                tasks: ids.len(),
                metrics,
            });
            run.folder.keep_evaluations(&run.evaluations)
        })
    }

    /// Each metric's headline, as curves have it.
    fn track_evaluation(&mut self, metrics: &[MetricResult]) {
        let tags: Vec<(String, f64)> = metrics
            .iter()
            .filter_map(|metric| Some((format!("eval/{}", metric.name), metric.value?)))
            .collect();
        let values: Vec<(&str, f64)> = tags
            .iter()
            .map(|(tag, value)| (tag.as_str(), *value))
            .collect();
        self.tracker.log(self.step, &values);
    }

    /// Trains on demonstrations: as the warm-up, or as all there is.
    fn supervised(&mut self, stage: &str, demonstrations: &[Demonstration]) -> Result<(), Error> {
        self.timed(stage, |run| {
            let config = &run.plan.config;
            let mut examples = Vec::with_capacity(demonstrations.len());
            for row in demonstrations {
                let tokenizer = &run.policy.tokenizer;
                examples.extend(trainer::Demonstration::new(
                    &tokenizer.encode(&row.prompt)?,
                    &tokenizer.encode(&row.response)?,
                    tokenizer.eos(),
                    config.training.max_length,
                ));
            }
            run.too_long("demonstrations", demonstrations.len() - examples.len());
            if examples.is_empty() {
                return Err(Error::Input(format!(
                    "no demonstration fits into {} tokens\nhint: raise --max-length",
                    config.training.max_length
                )));
            }
            let mut training = Training {
                learning_rate: config.warm_up.learning_rate,
                batch_size: config.warm_up.batch_size,
                weight_decay: config.warm_up.weight_decay,
                steps: config.warm_up.steps,
                epochs: usize::MAX,
                gradient_accumulation_steps: 1,
                ..config.training.clone()
            };
            if config.warm_up.steps == 0 {
                training = config.training.clone();
            }
            let Policy { model, tokenizer } = &mut run.policy;
            let tokenizer = &*tokenizer;
            let own = run.folder;
            let extras = |checkpoint: &Path| add_extras(own, tokenizer, checkpoint);
            let held_out = HeldOut::of(run.plan, tokenizer)?;
            let folder = run.folder.path("");
            // A warm-up is not gone on with: it is short, and what follows has checkpoints.
            let checkpoints = (run.plan.method == Method::Sft).then(|| trainer::Checkpoints {
                folder: &folder,
                resume: run.resume.clone(),
                extras: &extras,
                judge: held_out.as_ref().map(|held_out| held_out as _),
            });
            let outcome = trainer::sft::train(
                model,
                &examples,
                &training,
                &mut trainer::Run {
                    seed: config.seed,
                    interrupt: run.interrupt,
                    tracker: &mut run.tracker,
                    checkpoints,
                },
            )?;
            if run.plan.method == Method::Sft {
                run.step = outcome.steps;
            }
            run.after_training(outcome.interrupted)
        })
    }

    fn dpo(
        &mut self,
        source: &'static str,
        train: &[trainer::Pair],
        held_out: &[trainer::Pair],
    ) -> Result<PreferenceSummary, Error> {
        self.timed("dpo", |run| {
            let config = &run.plan.config;
            let Policy { model, tokenizer } = &mut run.policy;
            let tokenizer = &*tokenizer;
            let own = run.folder;
            let extras = |checkpoint: &Path| add_extras(own, tokenizer, checkpoint);
            let held_out_tasks = HeldOut::of(run.plan, tokenizer)?;
            let cache = plugin::engine::cache_folder()
                .filter(|_| config.dpo.cache_reference)
                .map(|components| components.with_file_name("reference-logprobs"));
            let outcome = trainer::dpo::train(
                model,
                train,
                held_out,
                &config.training,
                &config.dpo,
                &mut trainer::Run {
                    seed: config.seed,
                    interrupt: run.interrupt,
                    tracker: &mut run.tracker,
                    checkpoints: Some(trainer::Checkpoints {
                        folder: &run.folder.path(""),
                        resume: run.resume.clone(),
                        extras: &extras,
                        judge: held_out_tasks.as_ref().map(|tasks| tasks as _),
                    }),
                },
                cache.as_deref(),
            )?;
            run.step = outcome.training.steps;
            run.after_training(outcome.training.interrupted)?;
            Ok(PreferenceSummary {
                source,
                pairs_trained: train.len(),
                pairs_held_out: held_out.len(),
                before: outcome.before,
                after: outcome.after,
            })
        })
    }

    /// A training that was interrupted leaves the model where it was. What
    /// follows needs no gradients, so their memory is given back.
    fn after_training(&mut self, interrupted: bool) -> Result<(), Error> {
        self.policy.model.freeze();
        // A checkpoint has it already, but for a warm-up, which has none.
        if interrupted && trainer::checkpoint::all(&self.folder.path("")).is_empty() {
            self.policy.save(&self.folder.path("interrupted"))?;
        }
        self.go_on()
    }

    /// Leaves the adapters as the run's result: a PEFT folder for the model called `base`.
    fn save_adapters(&self, base: &str) -> Result<(), Error> {
        // A relative path would mean another folder wherever the adapters are loaded.
        let base = std::fs::canonicalize(base)
            .map_or_else(|_| base.to_owned(), |path| path.display().to_string());
        let Policy { model, tokenizer } = &self.policy;
        let saved = models::weights::replace_folder(&self.folder.path("final"), |partial| {
            tokenizer.save(partial)?;
            models::peft::save(partial, model.backbone(), &base, "CAUSAL_LM")
        });
        saved.map_err(|error| self.folder.write_error("adapters", "final", error))
    }

    fn tokenised_pairs(&mut self, pairs: &[PreferencePair]) -> Result<Vec<trainer::Pair>, Error> {
        let tokenizer = &self.policy.tokenizer;
        let mut tokenised = Vec::with_capacity(pairs.len());
        for pair in pairs {
            tokenised.extend(trainer::Pair::new(
                &tokenizer.encode(&pair.prompt)?,
                &tokenizer.encode(&pair.chosen)?,
                &tokenizer.encode(&pair.rejected)?,
                tokenizer.eos(),
                self.plan.config.training.max_length,
            ));
        }
        self.too_long("preferences", pairs.len() - tokenised.len());
        Ok(tokenised)
    }

    fn too_long(&mut self, what: &str, count: usize) {
        if count > 0 {
            self.warn(format!(
                "{count} {what} left out: their response alone fills {} tokens",
                self.plan.config.training.max_length
            ));
        }
    }

    fn warn(&mut self, message: String) {
        self.tracker.warn(&message);
        self.warnings.push(message);
    }
}

impl Plan {
    fn manifest(&self, seconds: &[(String, f64)]) -> Manifest {
        Manifest {
            rlhf: env!("CARGO_PKG_VERSION"),
            wasmtime: plugin::engine::VERSION,
            seed: self.config.seed,
            command: std::env::args().collect(),
            machine: Machine {
                os: std::env::consts::OS,
                architecture: std::env::consts::ARCH,
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                device: device_name(&self.device),
            },
            plugins: self.plugins.pins.clone(),
            data: self.data.clone(),
            seconds: seconds.to_vec(),
        }
    }

    /// Each metric against its target, as the last evaluation found it.
    fn targets(&self, results: &[MetricResult]) -> Vec<TargetResult> {
        self.config
            .evaluation
            .targets()
            .into_iter()
            .map(|(name, target)| {
                let result = results.iter().find(|result| result.name == name);
                let value = result.and_then(|result| result.value);
                let reason = match (result, value) {
                    (_, Some(_)) => None,
                    (Some(result), None) => result.first_failure.clone(),
                    (None, None) => self
                        .plugins
                        .not_computed
                        .iter()
                        .find(|(missing, _)| missing == name)
                        .map(|(_, reason)| reason.clone()),
                };
                TargetResult {
                    metric: name.to_owned(),
                    target,
                    value,
                    interval: result.and_then(|result| result.interval),
                    met: value.map(|value| value >= target),
                    reason,
                }
            })
            .collect()
    }
}

/// For conversations in the data.
fn chat_tokenizer(model: &str) -> Result<tokenizer::Tokenizer, String> {
    let tokenizer = Source::of(model).and_then(|source| source.tokenizer());
    tokenizer.map_err(|error| error.to_string())
}

fn device_name(device: &Device) -> String {
    match device {
        Device::Cpu => "cpu".into(),
        Device::Cuda(_) => "cuda".into(),
        Device::Metal(_) => "metal".into(),
    }
}
