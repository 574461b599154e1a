//! The typed front of the metric world: samples in, statistics and scores out.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::Store;

use super::bindings::v0_1::{self, Level, log, metric_plugin};
use super::component::Kind;
use super::discovery::Spec;
use super::failure::Failure;
use super::instance::{Budget, State, guarded, store};
use super::{Component, Error, Limits, Runtime, Sample, grants};

/// Samples of one guest call. Large enough to hide the cost of the call
/// (a few µs), small enough to share a batch among workers.
const SAMPLES_PER_CALL_MAX: usize = 64;
/// Below this many samples threads cost more than they save.
const SAMPLES_FOR_THREADS: usize = 8;

/// How a corpus score comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// From the sum of the samples' statistics.
    Additive,
    /// From all samples together.
    Whole,
}

/// Which corpus value is quoted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Headline {
    Corpus,
    Mean,
}

/// What a metric says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub minimum: f64,
    pub maximum: f64,
    pub higher_is_better: bool,
    pub unit: String,
    pub components: Vec<String>,
    pub aggregation: Aggregation,
    pub headline: Headline,
    pub statistics_length: usize,
    pub needs: Vec<String>,
    pub citation: String,
    pub signature: String,
}

/// A checked score: finite, within the metric's range.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub value: f64,
    /// As long as the descriptor's components, in their order.
    pub components: Vec<f64>,
}

/// Statistics of a sample, or why there are none.
pub type Measured = Result<Vec<f64>, Failure>;

/// A loaded, configured metric.
pub struct Metric {
    name: String,
    descriptor: Descriptor,
    component: Component,
    options: String,
    limits: Limits,
    pre: metric_plugin::MetricPluginPre<State>,
    /// Configured instances waiting for work; one a worker at most.
    idle: Mutex<Vec<Instance>>,
}

struct Instance {
    store: Store<State>,
    world: metric_plugin::MetricPlugin,
}

impl Metric {
    /// Loads a metric, asks it to describe itself and configures it.
    ///
    /// # Errors
    /// It is no metric, asks for what it was not granted, or fails in `describe` or `configure`.
    pub fn load(runtime: &Arc<Runtime>, spec: &Spec) -> Result<Self, Error> {
        let component = Component::load(runtime, &spec.resolve()?)?;
        component.expect(Kind::Metric)?;
        grants::check(&component, &spec.grants)?;
        runtime.tick();
        let link = |error: wasmtime::Error| Error::NotAPlugin {
            plugin: component.label(),
            problem: format!("does not fit the metric world: {error:#}"),
            hint: "rebuild it against the WIT in `wit/0.1.0`".into(),
        };
        let mut linker = runtime.linker().map_err(link)?;
        log::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)
            .map_err(link)?;
        let pre = linker
            .instantiate_pre(&component.compiled)
            .and_then(metric_plugin::MetricPluginPre::new)
            .map_err(link)?;

        let label = component.label();
        let failed = |call, failure| Error::Call {
            plugin: label.clone(),
            call,
            failure,
        };
        let mut instance = start(&pre, &component, &label_of(&component.path), &spec.limits)
            .map_err(|failure| failed("start", failure))?;
        let budget = Budget::for_call(&spec.limits);
        instance
            .configure(&spec.config, &spec.limits)
            .map_err(|failure| failed("configure", failure))?;
        let descriptor = guarded(&mut instance.store, &spec.limits, budget, |store| {
            instance.world.rlhf_plugin_metric().call_describe(store)
        })
        .and_then(v0_1::metric_descriptor)
        .map_err(|failure| failed("describe", failure))?;
        Ok(Self {
            name: spec.name.clone().unwrap_or_else(|| descriptor.name.clone()),
            descriptor,
            component,
            options: spec.config.clone(),
            limits: spec.limits.clone(),
            pre,
            idle: Mutex::new(vec![instance]),
        })
    }

    /// Name in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub fn component(&self) -> &Component {
        &self.component
    }

    /// One line that says how a number came about, in the manner of sacrebleu:
    /// `codebleu|corpus|weights:…|version:0.1.0`.
    pub fn signature(&self) -> String {
        let headline = match self.descriptor.headline {
            Headline::Corpus => "corpus",
            Headline::Mean => "mean",
        };
        [
            self.name.as_str(),
            headline,
            self.descriptor.signature.as_str(),
            &format!("version:{}", self.descriptor.version),
        ]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("|")
    }

    /// Statistics of each sample, in their order, scored in parallel.
    ///
    /// A sample's outcome depends on the sample alone: where a batch fails, its
    /// samples are measured again one by one, each in a fresh instance.
    pub fn measure(&self, samples: &[Sample]) -> Vec<Measured> {
        let workers = self.component.runtime.workers();
        let chunk = samples
            .len()
            .div_ceil(workers * 4)
            .clamp(1, SAMPLES_PER_CALL_MAX);
        let chunks: Vec<&[Sample]> = samples.chunks(chunk).collect();
        if workers == 1 || samples.len() < SAMPLES_FOR_THREADS {
            return chunks
                .into_iter()
                .flat_map(|chunk| self.measure_chunk(chunk))
                .collect();
        }
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Vec<Measured>>> =
            chunks.iter().map(|_| Mutex::new(Vec::new())).collect();
        // Threads of their own: a guest that waits inside a rayon job could
        // steal another job and deadlock.
        std::thread::scope(|scope| {
            for _ in 0..workers.min(chunks.len()) {
                scope.spawn(|| {
                    while let Some(at) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < chunks.len())
                    {
                        let measured = self.measure_chunk(chunks[at]);
                        *results[at].lock().unwrap_or_else(PoisonError::into_inner) = measured;
                    }
                });
            }
        });
        results
            .into_iter()
            .flat_map(|chunk| chunk.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    fn measure_chunk(&self, samples: &[Sample]) -> Vec<Measured> {
        match self.measure_once(samples) {
            Ok(measured) => measured,
            Err(failure) if samples.len() == 1 => vec![Err(failure)],
            Err(_) => samples
                .iter()
                .map(|sample| {
                    self.measure_once(std::slice::from_ref(sample))
                        .and_then(|mut one| one.pop().expect("one sample has one result"))
                })
                .collect(),
        }
    }

    /// One guest call. On a failure the instance is dropped with what it knows.
    fn measure_once(&self, samples: &[Sample]) -> Result<Vec<Measured>, Failure> {
        let raw: Vec<_> = samples.iter().map(v0_1::sample).collect();
        let results = self.with_instance(|instance, limits| {
            let budget = Budget::for_samples(limits, samples.len());
            guarded(&mut instance.store, limits, budget, |store| {
                instance
                    .world
                    .rlhf_plugin_metric()
                    .call_measure(store, &raw)
            })
        })?;
        if results.len() != samples.len() {
            return Err(Failure::BadResult {
                message: format!("{} results for {} samples", results.len(), samples.len()),
            });
        }
        Ok(results
            .into_iter()
            .map(|result| {
                let statistics = result.map_err(v0_1::failure)?;
                self.check_statistics(statistics)
            })
            .collect())
    }

    fn check_statistics(&self, statistics: Vec<f64>) -> Measured {
        let expected = self.descriptor.statistics_length;
        if statistics.len() != expected {
            return Err(Failure::BadResult {
                message: format!("{} statistics, expected {expected}", statistics.len()),
            });
        }
        match statistics.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Failure::BadResult {
                message: format!("statistic {at} is {}", statistics[at]),
            }),
            None => Ok(statistics),
        }
    }

    /// Scores of single samples from their statistics, in order.
    pub fn score_samples(&self, statistics: Vec<Vec<f64>>) -> Vec<Result<Score, Failure>> {
        self.score(statistics, Level::Sample)
    }

    /// Scores of corpora from sums of statistics, in order.
    pub fn score_corpora(&self, sums: Vec<Vec<f64>>) -> Vec<Result<Score, Failure>> {
        self.score(sums, Level::Corpus)
    }

    fn score(&self, statistics: Vec<Vec<f64>>, level: Level) -> Vec<Result<Score, Failure>> {
        match self.score_once(&statistics, level) {
            Ok(scores) => scores,
            Err(failure) if statistics.len() == 1 => vec![Err(failure)],
            Err(_) => statistics
                .iter()
                .map(|one| {
                    self.score_once(std::slice::from_ref(one), level)
                        .and_then(|mut one| one.pop().expect("one vector has one score"))
                })
                .collect(),
        }
    }

    fn score_once(
        &self,
        statistics: &[Vec<f64>],
        level: Level,
    ) -> Result<Vec<Result<Score, Failure>>, Failure> {
        let results = self.with_instance(|instance, limits| {
            let budget = Budget::for_samples(limits, statistics.len());
            guarded(&mut instance.store, limits, budget, |store| {
                instance
                    .world
                    .rlhf_plugin_metric()
                    .call_score(store, statistics, level)
            })
        })?;
        if results.len() != statistics.len() {
            return Err(Failure::BadResult {
                message: format!(
                    "{} scores for {} vectors of statistics",
                    results.len(),
                    statistics.len()
                ),
            });
        }
        Ok(results
            .into_iter()
            .map(|result| {
                result
                    .map_err(v0_1::failure)
                    .and_then(|score| v0_1::score(score, &self.descriptor))
            })
            .collect())
    }

    /// The score of a corpus, for metrics that do not add.
    ///
    /// # Errors
    /// The plugin failed, or its score is not one.
    pub fn score_whole(&self, samples: &[Sample]) -> Result<Score, Failure> {
        let raw: Vec<_> = samples.iter().map(v0_1::sample).collect();
        self.with_instance(|instance, limits| {
            let budget = Budget::for_samples(limits, samples.len());
            guarded(&mut instance.store, limits, budget, |store| {
                instance
                    .world
                    .rlhf_plugin_metric()
                    .call_score_corpus(store, &raw)
            })
        })?
        .map_err(v0_1::failure)
        .and_then(|score| v0_1::score(score, &self.descriptor))
    }

    /// Takes an idle instance or starts one; it goes back only if the call ended well.
    fn with_instance<T>(
        &self,
        call: impl Fn(&mut Instance, &Limits) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let result = self.with_instance_once(&call);
        // Running out of wall time is trouble of the machine: try once more.
        if matches!(result, Err(Failure::OutOfTime { .. })) {
            return self.with_instance_once(&call);
        }
        result
    }

    fn with_instance_once<T>(
        &self,
        call: impl Fn(&mut Instance, &Limits) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut instance = match idle {
            Some(instance) => instance,
            None => {
                let mut fresh = start(&self.pre, &self.component, &self.name, &self.limits)?;
                fresh.configure(&self.options, &self.limits)?;
                fresh
            }
        };
        let result = call(&mut instance, &self.limits)?;
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(instance);
        Ok(result)
    }
}

impl Instance {
    fn configure(&mut self, options: &str, limits: &Limits) -> Result<(), Failure> {
        guarded(&mut self.store, limits, Budget::for_call(limits), |store| {
            self.world
                .rlhf_plugin_metric()
                .call_configure(store, options)
        })?
        .map_err(v0_1::failure)
    }
}

fn start(
    pre: &metric_plugin::MetricPluginPre<State>,
    component: &Component,
    name: &str,
    limits: &Limits,
) -> Result<Instance, Failure> {
    let engine = component.runtime.engine();
    let mut store =
        store(engine, name, limits, Budget::for_call(limits)).map_err(|error| Failure::Trap {
            message: format!("{error:#}"),
        })?;
    match pre.instantiate(&mut store) {
        Ok(world) => Ok(Instance { store, world }),
        Err(error) => Err(Failure::classify(&error, store.data(), limits)),
    }
}

/// A plugin's name before it has told its own.
fn label_of(path: &Path) -> String {
    path.file_stem().map_or_else(
        || path.display().to_string(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}
