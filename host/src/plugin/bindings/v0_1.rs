//! `rlhf:plugin@0.1.x`: the four worlds and the host interfaces.

use crate::plugin::data_adapter::{Content, Origin, Row, RowError};
use crate::plugin::failure::Failure;
use crate::plugin::metric::{Aggregation, Descriptor, Headline, Score};
use crate::plugin::{Sample, data_adapter};

pub mod metric_plugin {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "metric-plugin",
        imports: { default: trappable },
    });
}

pub mod reward_shaper_plugin {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "reward-shaper-plugin",
        imports: { default: trappable },
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
        with: {
            "rlhf:plugin/types": super::metric_plugin::rlhf::plugin::types,
            "rlhf:plugin/log": super::metric_plugin::rlhf::plugin::log,
        },
    });
}

pub use data_adapter_plugin::rlhf::plugin::source;
pub use metric_plugin::rlhf::plugin::{log, types};

use data_adapter_plugin::exports::rlhf::plugin::data_adapter as adapter_wit;
use metric_plugin::exports::rlhf::plugin::metric as metric_wit;

pub use metric_wit::Level;

/// The sample as a component sees it.
pub fn sample(sample: &Sample) -> types::Sample {
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

/// A plugin's own error as a failure.
pub fn failure(error: types::Error) -> Failure {
    Failure::Plugin {
        code: error.code,
        message: error.message,
    }
}

/// What a metric says about itself, checked.
///
/// # Errors
/// A name that is none, a range that is none, an aggregation or headline that we don't know.
pub fn metric_descriptor(raw: metric_wit::Descriptor) -> Result<Descriptor, Failure> {
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
        version: raw.version,
        summary: raw.summary,
        minimum: raw.minimum,
        maximum: raw.maximum,
        higher_is_better: raw.higher_is_better,
        unit: raw.unit,
        components: raw.components,
        aggregation,
        headline,
        statistics_length,
        needs: raw.needs,
        citation: raw.citation,
        signature: raw.signature,
    })
}

/// A score, checked against what the metric says of itself.
///
/// # Errors
/// A value that is not finite or out of range; components that are not the announced ones.
pub fn score(raw: metric_wit::MetricScore, descriptor: &Descriptor) -> Result<Score, Failure> {
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
        if component.name != *expected {
            return bad(format!(
                "component `{}` where `{expected}` was expected",
                component.name.escape_debug()
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
pub fn adapter_descriptor(
    raw: adapter_wit::Descriptor,
) -> Result<data_adapter::Descriptor, Failure> {
    Ok(data_adapter::Descriptor {
        name: crate::plugin::plain_name(&raw.name)
            .map_err(|message| Failure::BadResult { message })?,
        version: raw.version,
        summary: raw.summary,
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
            field: error.field,
            message: error.message,
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
