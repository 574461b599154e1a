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
mod run;
mod samples;
mod steps;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device};

use crate::config::model::Precision;
use crate::config::{self, Config, Method, Mode};
use crate::data;
use crate::data::sources::Adapters;
use crate::evaluate::MetricResult;
use crate::plugin::{self, Metric, Runtime, Spec};
use crate::report::manifest::{DataPin, Machine, Manifest};
use crate::report::{Summary, TargetResult};
use crate::tracking::{All, Shared, Tracker};
use crate::{hub, models, report, reward, sandbox, tokenizer, trainer};

use canaries::Canaries;
pub use encoder::{EncoderChoice, TokenEncoder};
use examples::Examples;
pub use examples::has_files;
pub use folder::{RunFolder, unused_folder};
use human::Human;
pub use plugins::Plugins;
pub use policy::{Policy, Source, device};
pub use programs::{DEFAULT_RUNNER, pool};
use run::Run;

/// Folder of the policy as its warm-up left it.
const WARMED_UP: &str = "warmed-up";

/// Folder of the warm-up's checkpoints, until it is done.
const WARM_UP: &str = "warm-up";

/// The newest whole checkpoint of a run in `folder` that had not come to its own training: of its
/// warm-up.
pub fn warm_up_checkpoint(folder: &Path) -> Option<PathBuf> {
    if folder.join(WARMED_UP).join("config.json").is_file() {
        return None;
    }
    trainer::checkpoint::latest(&folder.join(WARM_UP))
}

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
pub fn checkpoint_step(folder: &Path) -> u64 {
    let name = folder.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix("checkpoint-"));
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

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
            "give --train-data-path a file with prompt,response, or tasks with tests; --method sft learns texts without a prompt",
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
    /// What the run is begun with, where that is known.
    mode: Option<Mode>,
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
    /// Weights of the one that is trained here, without its head; 0 where none is.
    reward_model_weights: usize,
    canaries: Canaries,
    /// The data files, by what is in them.
    data: Vec<DataPin>,
}

impl Plan {
    /// Checks the configuration's devices, plugins, data and model folder. Of the `mode` the
    /// configuration has what it needs; whoever goes on with the run asks for it.
    ///
    /// # Errors
    /// The first thing that is wrong, before any model is loaded.
    pub fn prepare(
        mode: Option<Mode>,
        mut config: Config,
        specs: &[Spec],
        layers: &Layers,
    ) -> Result<Self, Error> {
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
        let mut plan = Self {
            mode,
            config,
            method,
            device,
            source,
            weights,
            examples,
            plugins,
            human,
            reward_model_weights: 0,
            canaries,
            data,
        };
        if plan.human == Human::Feedback && plan.samples() {
            let policy = plan.source.whole_weights()?;
            plan.reward_model_weights = human::check(&plan.config, policy)?;
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

    /// How the policy is judged, and the stage in whose middle it may be.
    pub fn evaluation(&self) -> (&config::Evaluation, &'static str) {
        (&self.config.evaluation, self.training_stage())
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
        let (tokens, left_out) = self.describe_tokens();
        lines.extend(tokens);
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
                config
                    .rollout
                    .prompts_per_step
                    .min(examples.train_tasks.len()),
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
        let steps = self.steps(left_out);
        lines.push(steps.describe());
        lines.push(self.describe_time(&steps));
        lines.push(self.describe_evaluation());
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
        self.config
            .preferences
            .prompts(self.examples.train_tasks.len())
    }

    /// Does the work. Everything is left in the run's folder.
    ///
    /// # Errors
    /// What ended it; what was done by then is in the folder.
    pub fn run(
        self,
        start: Start,
        mut console: Box<dyn Tracker>,
        interrupt: &AtomicBool,
    ) -> Result<Summary, Error> {
        for difference in self.check_folder(&start)? {
            console.warn(&format!("going on otherwise: {difference}"));
        }
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
        let checkpoint = match &start {
            Start::Resume(checkpoint) => checkpoint.clone(),
            Start::New | Start::Overwrite => None,
        };
        let resuming = matches!(start, Start::Resume(_));
        let warm_up = match resuming && checkpoint.is_none() {
            true => warm_up_checkpoint(&path),
            false => None,
        };
        let mut evaluations = Vec::new();
        let folder = if resumes || checkpoint.is_some() || warm_up.is_some() {
            let step =
                |checkpoint: &Option<PathBuf>| checkpoint.as_deref().map_or(0, checkpoint_step);
            evaluations = RunFolder::evaluations(&path);
            // A run that had reached its end is judged again.
            let last = format!("after {}", self.method.name());
            evaluations.retain(|done| done.stage != last);
            let mut again = vec![(self.training_stage(), step(&checkpoint))];
            if self.method != Method::Sft && !resumes {
                again.push(("warm-up", step(&warm_up)));
            }
            again.extend(human::again(&path));
            RunFolder::reopen(&path, &again, &evaluations)?
        } else {
            // Of a run that was here, nothing may be taken for this one's.
            for made in [WARM_UP, WARMED_UP, human::FOLDER, human::CHECKPOINTS] {
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
            warm_up,
            resume: checkpoint,
            evaluations,
            reward_model: None,
            seconds: Vec::new(),
        };
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

impl Plan {
    fn manifest(&self, seconds: &[(String, f64)]) -> Manifest {
        Manifest {
            rlhf: env!("CARGO_PKG_VERSION"),
            wasmtime: plugin::engine::VERSION,
            mode: self.mode,
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
