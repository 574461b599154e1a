//! `rlhf:plugin@0.1.x`: the four worlds and the host interfaces.

use wasmtime::Store;
use wasmtime::component::{
    ComponentExportIndex, ComponentType, Func, HasSelf, InstancePre, Lift, Linker, Lower,
};

use crate::plugin::code_runner::{self, Outcome};
use crate::plugin::data_adapter::{self, Content, Origin, Row, RowError};
use crate::plugin::failure::{Failure, words};
use crate::plugin::instance::State;
use crate::plugin::metric::{Aggregation, Descriptor, Headline, Score};
use crate::plugin::reward_shaper::{self, Reward, Rollout};
use crate::plugin::world::World;
use crate::plugin::{Kind, Sample};

use super::lent::Lent;
use super::name::Name;

pub mod metric_plugin {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "metric-plugin",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "rlhf:plugin/encoder.embeddings": crate::plugin::host::encoder::Embeddings,
        },
    });
}

pub mod reward_shaper_plugin {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "reward-shaper-plugin",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "rlhf:plugin/types": super::metric_plugin::rlhf::plugin::types,
            "rlhf:plugin/log": super::metric_plugin::rlhf::plugin::log,
            "rlhf:plugin/encoder": super::metric_plugin::rlhf::plugin::encoder,
            "rlhf:plugin/sandbox": super::metric_plugin::rlhf::plugin::sandbox,
        },
    });
}

pub mod data_adapter_plugin {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "data-adapter-plugin",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "rlhf:plugin/types": super::metric_plugin::rlhf::plugin::types,
            "rlhf:plugin/log": super::metric_plugin::rlhf::plugin::log,
            "rlhf:plugin/source.source": crate::plugin::host::source::Source,
        },
    });
}

pub mod code_runner_plugin {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "code-runner-plugin",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "rlhf:plugin/types": super::metric_plugin::rlhf::plugin::types,
            "rlhf:plugin/log": super::metric_plugin::rlhf::plugin::log,
        },
    });
}

pub use code_runner_plugin::CodeRunnerPlugin;
pub use code_runner_plugin::rlhf::plugin::{candidate, values};
pub use data_adapter_plugin::DataAdapterPlugin;
pub use data_adapter_plugin::rlhf::plugin::{folder, source};
pub use metric_plugin::rlhf::plugin::{encoder, log, sandbox, types};
pub use metric_wit::Level;
pub use reward_shaper_plugin::RewardShaperPlugin;

use code_runner_plugin::exports::rlhf::plugin::code_runner as runner_wit;
use data_adapter_plugin::exports::rlhf::plugin::data_adapter as adapter_wit;
use metric_plugin::exports::rlhf::plugin::metric as metric_wit;
use reward_shaper_plugin::exports::rlhf::plugin::reward_shaper as shaper_wit;

/// The newest version of the line, which serves the earlier ones as well.
pub const VERSION: &str = "0.1.0";

/// How the common part of the runtime handles a generated world.
macro_rules! world {
    ($world:ident, $pre:path, $kind:ident, $interface:ident, $descriptor:ident -> $about:path, [$($import:ident),+], |$this:ident, $store:ident, $options:ident| $configure:expr) => {
        impl World for $world {
            const KIND: Kind = Kind::$kind;
            type Pre = $pre;
            type Descriptor = $about;

            fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
                $($import::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;)+
                Ok(())
            }

            fn prepare(pre: InstancePre<State>) -> wasmtime::Result<Self::Pre> {
                <$pre>::new(pre)
            }

            async fn instantiate(
                pre: &Self::Pre,
                store: &mut Store<State>,
            ) -> wasmtime::Result<Self> {
                pre.instantiate_async(store).await
            }

            async fn describe(
                &self,
                store: &mut Store<State>,
            ) -> wasmtime::Result<Result<Self::Descriptor, Failure>> {
                Ok($descriptor(self.$interface().call_describe(store).await?))
            }

            async fn configure(
                &self,
                $store: &mut Store<State>,
                $options: &str,
            ) -> wasmtime::Result<Result<(), types::Error>> {
                let $this = self;
                $configure
            }
        }
    };
}

/// A metric's instance. Samples are handed over as they lie, and names are compared and not kept:
/// the generated calls take copies and give some.
pub struct MetricPlugin {
    generated: metric_plugin::MetricPlugin,
    measure: Func,
    score: Func,
    score_corpus: Func,
}

impl MetricPlugin {
    pub fn rlhf_plugin_metric(&self) -> &metric_wit::Guest {
        self.generated.rlhf_plugin_metric()
    }

    /// Statistics of each sample.
    ///
    /// # Errors
    /// What ended the call.
    pub async fn call_measure(
        &self,
        store: &mut Store<State>,
        samples: &[Sample],
    ) -> wasmtime::Result<Vec<Result<Vec<f64>, types::Error>>> {
        let samples: Vec<_> = samples.iter().map(BorrowedSample::of).collect();
        let measure = self.measure.typed::<(&[BorrowedSample],), (_,)>(&*store)?;
        Ok(measure.call_async(store, (&samples,)).await?.0)
    }

    /// A score from each of the statistics.
    ///
    /// # Errors
    /// What ended the call.
    pub async fn call_score(
        &self,
        store: &mut Store<State>,
        statistics: &[Vec<f64>],
        level: Level,
    ) -> wasmtime::Result<Vec<Result<GivenScore, types::Error>>> {
        let score = self.score.typed::<(&[Vec<f64>], Level), (_,)>(&*store)?;
        Ok(score.call_async(store, (statistics, level)).await?.0)
    }

    /// The score of a corpus.
    ///
    /// # Errors
    /// What ended the call.
    pub async fn call_score_corpus(
        &self,
        store: &mut Store<State>,
        samples: &[Sample],
    ) -> wasmtime::Result<Result<GivenScore, types::Error>> {
        let samples: Vec<_> = samples.iter().map(BorrowedSample::of).collect();
        let score = self
            .score_corpus
            .typed::<(&[BorrowedSample],), (_,)>(&*store)?;
        Ok(score.call_async(store, (&samples,)).await?.0)
    }
}

/// What instances of a metric are made from.
pub struct MetricPre {
    generated: metric_plugin::MetricPluginPre<State>,
    measure: ComponentExportIndex,
    score: ComponentExportIndex,
    score_corpus: ComponentExportIndex,
}

impl MetricPre {
    fn new(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        let generated = metric_plugin::MetricPluginPre::new(pre)?;
        let component = generated.instance_pre().component();
        let interface = format!("rlhf:plugin/metric@{VERSION}");
        let interface = component.get_export_index(None, &interface);
        let find = |name: &str| {
            interface
                .and_then(|interface| component.get_export_index(Some(&interface), name))
                .ok_or_else(|| wasmtime::Error::msg(format!("no export `{name}`")))
        };
        Ok(Self {
            measure: find("measure")?,
            score: find("score")?,
            score_corpus: find("score-corpus")?,
            generated,
        })
    }

    async fn instantiate_async(&self, store: &mut Store<State>) -> wasmtime::Result<MetricPlugin> {
        let instance = self.generated.instance_pre();
        let instance = instance.instantiate_async(&mut *store).await?;
        let mut find = |export: &ComponentExportIndex| {
            let found = instance.get_func(&mut *store, export);
            found.ok_or_else(|| wasmtime::Error::msg("an export is no function"))
        };
        Ok(MetricPlugin {
            measure: find(&self.measure)?,
            score: find(&self.score)?,
            score_corpus: find(&self.score_corpus)?,
            generated: metric_plugin::MetricPlugin::new(store, &instance)?,
        })
    }
}

world!(
    MetricPlugin,
    MetricPre,
    Metric,
    rlhf_plugin_metric,
    metric_descriptor -> Descriptor,
    [log, encoder, sandbox],
    |world, store, options| world
        .rlhf_plugin_metric()
        .call_configure(store, options)
        .await
);
world!(
    RewardShaperPlugin,
    reward_shaper_plugin::RewardShaperPluginPre<State>,
    RewardShaper,
    rlhf_plugin_reward_shaper,
    shaper_descriptor -> reward_shaper::Descriptor,
    [log, encoder, sandbox],
    |world, store, options| world
        .rlhf_plugin_reward_shaper()
        .call_configure(store, options)
        .await
);
world!(
    DataAdapterPlugin,
    data_adapter_plugin::DataAdapterPluginPre<State>,
    DataAdapter,
    rlhf_plugin_data_adapter,
    adapter_descriptor -> data_adapter::Descriptor,
    [log, source, folder],
    |_world, _store, _options| Ok(Ok(()))
);
world!(
    CodeRunnerPlugin,
    code_runner_plugin::CodeRunnerPluginPre<State>,
    CodeRunner,
    rlhf_plugin_code_runner,
    runner_descriptor -> code_runner::Descriptor,
    [log, candidate],
    |world, store, options| world
        .rlhf_plugin_code_runner()
        .call_configure(store, options)
        .await
);

/// The sample as a component sees it.
#[derive(ComponentType, Lower)]
#[component(record)]
struct BorrowedSample<'a> {
    id: Lent<'a, str>,
    prompt: Lent<'a, str>,
    response: Lent<'a, str>,
    references: Lent<'a, [String]>,
    language: Lent<'a, str>,
    tests: Lent<'a, [String]>,
    extra: Lent<'a, [(String, String)]>,
}

impl<'a> BorrowedSample<'a> {
    fn of(sample: &'a Sample) -> Self {
        Self {
            id: Lent(&sample.id),
            prompt: Lent(&sample.prompt),
            response: Lent(&sample.response),
            references: Lent(&sample.references),
            language: Lent(&sample.language),
            tests: Lent(&sample.tests),
            extra: Lent(&[]),
        }
    }
}

/// The same as a part of what the generated calls take.
fn sample(sample: &Sample) -> types::Sample {
    types::Sample {
        id: sample.id.clone(),
        prompt: sample.prompt.clone(),
        response: sample.response.clone(),
        references: sample.references.clone(),
        language: sample.language.clone(),
        tests: sample.tests.clone(),
        extra: Vec::new(),
    }
}

/// A score as a component gives it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct GivenScore {
    value: f64,
    components: Vec<GivenComponent>,
    #[expect(dead_code, reason = "a later version may say what is in it")]
    extra: Vec<(String, String)>,
}

/// A part of it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct GivenComponent {
    name: Name,
    value: f64,
}

/// A plugin's own error as a failure.
pub fn failure(error: types::Error) -> Failure {
    Failure::Plugin {
        code: words(&error.code),
        message: words(&error.message),
    }
}

/// What a metric says about itself, checked.
///
/// # Errors
/// A name that is none, a range that is none, an aggregation or headline that we don't know.
fn metric_descriptor(raw: metric_wit::Descriptor) -> Result<Descriptor, Failure> {
    let bad = |message: String| Failure::BadResult { message };
    let aggregation = match raw.aggregation.as_str() {
        "additive" => Aggregation::Additive,
        "whole" => Aggregation::Whole,
        other => {
            return Err(bad(format!(
                "`describe` gives the aggregation `{}`; expected `additive` or `whole`",
                other.escape_debug()
            )));
        }
    };
    let headline = match raw.headline.as_str() {
        "corpus" => Headline::Corpus,
        "mean" => Headline::Mean,
        other => {
            return Err(bad(format!(
                "`describe` gives the headline `{}`; expected `corpus` or `mean`",
                other.escape_debug()
            )));
        }
    };
    let is_range = raw.minimum < raw.maximum;
    if !is_range {
        return Err(bad(format!(
            "`describe` gives the range {} to {}, which is empty",
            raw.minimum, raw.maximum
        )));
    }
    let statistics_length = raw.statistics_length as usize;
    if statistics_length > crate::plugin::limits::STATISTICS_MAX {
        return Err(bad(format!(
            "`describe` announces {statistics_length} statistics a sample; at most {} are kept",
            crate::plugin::limits::STATISTICS_MAX
        )));
    }
    if (aggregation == Aggregation::Additive) == (statistics_length == 0) {
        return Err(bad(format!(
            "`describe` announces {statistics_length} statistics for the aggregation `{}`",
            raw.aggregation
        )));
    }
    Ok(Descriptor {
        name: crate::plugin::plain_name(&raw.name).map_err(bad)?,
        version: words(&raw.version),
        summary: words(&raw.summary),
        minimum: raw.minimum,
        maximum: raw.maximum,
        higher_is_better: raw.higher_is_better,
        unit: words(&raw.unit),
        components: raw.components,
        aggregation,
        headline,
        statistics_length,
        needs: raw.needs,
        citation: words(&raw.citation),
        signature: words(&raw.signature),
        fits: raw
            .extra
            .iter()
            .any(|(key, value)| key == "fit" && value == "references"),
    })
}

/// A score, checked against what the metric says of itself.
///
/// # Errors
/// A value that is not finite or out of range; components that are not the announced ones.
pub fn score(raw: GivenScore, descriptor: &Descriptor) -> Result<Score, Failure> {
    // Sums of floats may overshoot the ends of a range by rounding.
    const SLACK: f64 = 1e-9;
    let bad = |message: String| Err(Failure::BadResult { message });
    let Descriptor {
        minimum, maximum, ..
    } = *descriptor;
    if !raw.value.is_finite() || raw.value < minimum - SLACK || raw.value > maximum + SLACK {
        return bad(format!(
            "score {} is not within {minimum} to {maximum}",
            raw.value
        ));
    }
    if raw.components.len() != descriptor.components.len() {
        return bad(format!(
            "{} components, expected {}: {}",
            raw.components.len(),
            descriptor.components.len(),
            descriptor.components.join(", ")
        ));
    }
    let mut components = Vec::with_capacity(raw.components.len());
    for (component, expected) in raw.components.into_iter().zip(&descriptor.components) {
        if !component.name.is(expected) {
            return bad(format!(
                "component `{}` where `{expected}` was expected",
                component.name.text().escape_debug()
            ));
        }
        if !component.value.is_finite() {
            return bad(format!("component `{expected}` is {}", component.value));
        }
        components.push(component.value);
    }
    Ok(Score {
        value: raw.value,
        components,
    })
}

/// What an adapter says about itself, checked.
///
/// # Errors
/// A name that is none.
fn adapter_descriptor(raw: adapter_wit::Descriptor) -> Result<data_adapter::Descriptor, Failure> {
    Ok(data_adapter::Descriptor {
        name: crate::plugin::plain_name(&raw.name)
            .map_err(|message| Failure::BadResult { message })?,
        version: words(&raw.version),
        summary: words(&raw.summary),
        extensions: raw.extensions,
    })
}

fn origin(raw: adapter_wit::Origin) -> Origin {
    Origin {
        line: raw.line,
        row: raw.row,
    }
}

/// A row, or what is wrong with it.
pub fn row(raw: Result<adapter_wit::Row, adapter_wit::RowError>) -> Result<Row, RowError> {
    match raw {
        Ok(row) => Ok(Row {
            origin: origin(row.origin),
            content: content(row.content),
            extra: row.extra,
        }),
        Err(error) => Err(RowError {
            origin: origin(error.origin),
            field: words(&error.field),
            message: words(&error.message),
        }),
    }
}

fn content(raw: adapter_wit::Content) -> Content {
    match raw {
        adapter_wit::Content::Demonstration(row) => Content::Demonstration {
            prompt: row.prompt,
            response: row.response,
        },
        adapter_wit::Content::Comparison(row) => Content::Comparison {
            prompt: row.prompt,
            chosen: row.chosen,
            rejected: row.rejected,
        },
        adapter_wit::Content::Rating(row) => Content::Rating {
            prompt: row.prompt,
            response: row.response,
            rating: row.rating,
            logits: row.logits,
        },
        adapter_wit::Content::Evaluation(row) => Content::Evaluation {
            prompt: row.prompt,
            references: row.references,
            tests: row.tests,
        },
        adapter_wit::Content::Prediction(row) => Content::Prediction(Box::new(Sample {
            id: row.id,
            prompt: row.prompt,
            response: row.response,
            references: row.references,
            language: row.language,
            tests: row.tests,
        })),
    }
}

/// What a shaper says about itself, checked.
///
/// # Errors
/// A name that is none, of the shaper or of a part.
fn shaper_descriptor(raw: shaper_wit::Descriptor) -> Result<reward_shaper::Descriptor, Failure> {
    let plain = |name: &String| {
        crate::plugin::plain_name(name).map_err(|message| Failure::BadResult { message })
    };
    Ok(reward_shaper::Descriptor {
        name: plain(&raw.name)?,
        version: words(&raw.version),
        summary: words(&raw.summary),
        parts: raw.parts.iter().map(plain).collect::<Result<_, _>>()?,
        needs_metrics: raw
            .needs_metrics
            .iter()
            .map(plain)
            .collect::<Result<_, _>>()?,
    })
}

fn named(values: &[(String, f64)]) -> Vec<types::NamedValue> {
    values
        .iter()
        .map(|(name, value)| types::NamedValue {
            name: name.clone(),
            value: *value,
        })
        .collect()
}

/// The rollout as a component sees it.
pub fn rollout(rollout: &Rollout) -> shaper_wit::Rollout {
    shaper_wit::Rollout {
        sample: sample(&rollout.sample),
        tokens: rollout.tokens.clone(),
        reward_model_score: rollout.reward_model_score,
        metrics: named(&rollout.metrics),
        execution: rollout.execution.map(|execution| shaper_wit::Execution {
            total: execution.total,
            passed: execution.passed,
        }),
        kl: rollout.kl,
        finish_reason: rollout.finish_reason.clone(),
        extra: Vec::new(),
    }
}

/// What is the same for all rollouts, as a component sees it.
pub fn context(context: &reward_shaper::Context) -> shaper_wit::Context {
    shaper_wit::Context {
        step: context.step,
        steps_total: context.steps_total,
        response_tokens_max: context.response_tokens_max,
        targets: named(&context.targets),
        extra: Vec::new(),
    }
}

/// A reward, checked against its rollout and what the shaper says of itself.
///
/// # Errors
/// Numbers that are not finite, per-token rewards of another length than the
/// tokens, parts that are not the announced ones.
pub fn reward(
    raw: shaper_wit::Reward,
    tokens: usize,
    descriptor: &reward_shaper::Descriptor,
) -> Result<Reward, Failure> {
    let bad = |message: String| Err(Failure::BadResult { message });
    let raw = match raw {
        shaper_wit::Reward::Abstain(reason) => return Ok(Reward::Abstain(words(&reason))),
        shaper_wit::Reward::Value(raw) => raw,
    };
    if !raw.scalar.is_finite() {
        return bad(format!("the reward is {}", raw.scalar));
    }
    if !raw.per_token.is_empty() && raw.per_token.len() != tokens {
        return bad(format!(
            "{} per-token rewards for {tokens} tokens",
            raw.per_token.len()
        ));
    }
    if let Some(at) = raw.per_token.iter().position(|term| !term.is_finite()) {
        return bad(format!("per-token reward {at} is {}", raw.per_token[at]));
    }
    let mut parts = Vec::with_capacity(raw.parts.len());
    for part in raw.parts {
        if !descriptor.parts.contains(&part.name) {
            return bad(format!(
                "part `{}`, which `describe` does not announce",
                part.name.escape_debug()
            ));
        }
        if !part.value.is_finite() {
            return bad(format!("part `{}` is {}", part.name, part.value));
        }
        parts.push((part.name, part.value));
    }
    Ok(Reward::Value {
        scalar: raw.scalar,
        per_token: raw.per_token,
        parts,
    })
}

/// What a runner says about itself, checked.
///
/// # Errors
/// A name that is none, or no language.
fn runner_descriptor(raw: runner_wit::Descriptor) -> Result<code_runner::Descriptor, Failure> {
    let bad = |message: String| Failure::BadResult { message };
    if raw.languages.is_empty() {
        return Err(bad("`describe` gives no language".into()));
    }
    for (language, _) in &raw.languages {
        crate::plugin::plain_name(language).map_err(bad)?;
    }
    Ok(code_runner::Descriptor {
        name: crate::plugin::plain_name(&raw.name).map_err(bad)?,
        version: words(&raw.version),
        summary: words(&raw.summary),
        languages: raw.languages,
    })
}

/// What ended a program, as the guest tells it.
pub fn outcome(raw: types::Outcome) -> Outcome {
    Outcome {
        kind: raw.kind,
        exception: raw.exception,
        detail: raw.detail,
        exit_code: raw.exit_code,
        stdout: raw.stdout,
        stderr: raw.stderr,
    }
}

/// The same for a plugin that asked for the execution.
pub fn outcome_out(outcome: Outcome) -> types::Outcome {
    types::Outcome {
        kind: outcome.kind,
        exception: outcome.exception,
        detail: outcome.detail,
        exit_code: outcome.exit_code,
        stdout: outcome.stdout,
        stderr: outcome.stderr,
    }
}
