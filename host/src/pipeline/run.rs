//! A run under way: its stages in their order.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::completions::Judged;
use super::held_out::HeldOut;
use super::policy::{Policy, Source};
use super::{Error, Plan, RunFolder, WARM_UP, WARMED_UP, samples};
use crate::config::{Method, Origin, Training};
use crate::data::{Demonstration, PreferencePair};
use crate::evaluate::{self, MetricResult};
use crate::models::{self, CausalLm, Model};
use crate::plugin;
use crate::random::{Purpose, Stream};
use crate::report::{PreferenceSummary, StageEvaluation, Summary};
use crate::reward::LearnedReward;
use crate::tracking::{Shared, Tracker};
use crate::{tokenizer, trainer};

/// Fewest pairs that a preference loss and its held-out accuracy mean anything for.
const PAIRS_MIN: usize = 8;

/// Where pairs come from, those trained on, those held out.
type Pairs = (&'static str, Vec<trainer::Pair>, Vec<trainer::Pair>);

/// Adds to a checkpoint what it holds besides the model. The run's own rows up to it are on the
/// disk by then.
pub(super) fn add_extras(
    folder: &RunFolder,
    tokenizer: &tokenizer::Tokenizer,
    checkpoint: &Path,
) -> std::io::Result<()> {
    folder.sync()?;
    tokenizer.save(checkpoint)
}

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) folder: &'a RunFolder,
    pub(super) tracker: Shared,
    /// Optimizer steps of the method so far; the warm-up's do not count.
    pub(super) step: u64,
    pub(super) interrupt: &'a AtomicBool,
    pub(super) policy: Policy,
    /// Whether the policy was loaded as its warm-up had left it.
    pub(super) warmed_up: bool,
    /// The checkpoint that the warm-up goes on from.
    pub(super) warm_up: Option<PathBuf>,
    /// The checkpoint that the training goes on from.
    pub(super) resume: Option<PathBuf>,
    /// Of the stages so far.
    pub(super) evaluations: Vec<StageEvaluation>,
    /// Loaded where responses are sampled.
    pub(super) reward_model: Option<LearnedReward>,
    pub(super) seconds: Vec<(String, f64)>,
}

impl Run<'_> {
    pub(super) fn stages(&mut self) -> Result<Summary, Error> {
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
            self.folder.remove(WARM_UP)?;
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
        } else if adapters {
            self.warn("`final` has the whole model, adapters merged: what they were trained on is kept nowhere else".into());
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
            warnings: self.folder.warnings(),
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
    pub(super) fn timed<T>(
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

    pub(super) fn go_on(&self) -> Result<(), Error> {
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
            if tasks.is_empty() {
                run.warn(
                    "no task is held out, so no metric is computed: only prompts can be answered"
                        .to_owned(),
                );
            }
            let responses = run.greedy_responses(&format!("evaluate {stage}"), tasks)?;
            let mut judged = Judged::of(responses);
            let config = &run.plan.config;
            let ids: Vec<String> = judged.samples().into_iter().map(|s| s.id).collect();
            let plugins = &run.plan.plugins;
            let computed = match ids.is_empty() {
                true => &[],
                false => plugins.metrics.as_slice(),
            };
            let mut metrics: Vec<MetricResult> = Vec::with_capacity(computed.len());
            let scoring = format!("evaluate {stage}");
            run.tracker
                .stage(&scoring, computed.len() as u64, "metrics");
            for metric in computed {
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
        if !values.is_empty() {
            self.tracker.log(self.step, &values);
        }
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
            let alone = run.plan.method == Method::Sft;
            if !alone {
                // What follows is what the best is of; and the warm-up's are gone when it is done.
                training.metric_for_best_model = None;
                training.load_best_model_at_end = false;
                training.save_total_limit = Some(1);
            }
            let (folder, resume) = match alone {
                true => (run.folder.path(""), &run.resume),
                false => (run.folder.path(WARM_UP), &run.warm_up),
            };
            let checkpoints = trainer::Checkpoints {
                folder: &folder,
                resume: resume.clone(),
                extras: &extras,
                judge: alone.then_some(&held_out as _),
            };
            let outcome = trainer::sft::train(
                model,
                &examples,
                &training,
                &mut trainer::Run {
                    seed: config.seed,
                    interrupt: run.interrupt,
                    tracker: &mut run.tracker,
                    checkpoints: Some(checkpoints),
                },
            )?;
            if alone {
                run.step = outcome.steps;
            }
            run.after_training()
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
                        judge: Some(&held_out_tasks),
                    }),
                },
                cache.as_deref(),
            )?;
            run.step = outcome.training.steps;
            run.after_training()?;
            Ok(PreferenceSummary {
                source,
                pairs_trained: train.len(),
                pairs_held_out: held_out.len(),
                before: outcome.before,
                after: outcome.after,
            })
        })
    }

    /// What follows a training needs no gradients, so their memory is given back.
    pub(super) fn after_training(&mut self) -> Result<(), Error> {
        self.policy.model.freeze();
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

    /// Tells a warning, which ends up in the summary as well.
    pub(super) fn warn(&mut self, message: String) {
        self.tracker.warn(&message);
    }
}
