#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod targets;

use std::collections::BTreeMap;

use rlhf_sdk::{Context, Error, NamedValue, Reward, RewardShaper, Rollout, ShaperDescriptor};
use serde::Deserialize;

use crate::targets::{reached, weighted_mean};

/// Metrics that a run has targets for by default.
const METRICS: [&str; 5] = ["bertscore", "codebleu", "bleu", "rouge", "ruby"];

/// Options of the shaper, see its README.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Metrics that count, with their weights.
    pub weights: BTreeMap<String, f64>,
    /// Largest part of a target that is rewarded.
    pub cap: f64,
    /// Whether a metric without a score makes the shaper abstain.
    pub all: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            weights: METRICS.map(|name| (name.to_owned(), 1.0)).into(),
            cap: 1.0,
            all: false,
        }
    }
}

/// The shaper as the host sees it.
#[derive(Debug)]
pub struct Targets(Options);

impl RewardShaper for Targets {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        for (name, weight) in &options.weights {
            if !weight.is_finite() || *weight < 0.0 {
                return Err(Error::bad_option(
                    &format!("weights.{name}"),
                    format!("expected 0 or more, found {weight}"),
                ));
            }
        }
        if !options.weights.values().any(|weight| *weight > 0.0) {
            return Err(Error::bad_option(
                "weights",
                "expected a metric with a weight above 0, found none",
            ));
        }
        if !options.cap.is_finite() || options.cap <= 0.0 {
            return Err(Error::bad_option(
                "cap",
                format!("expected a number above 0, found {}", options.cap),
            ));
        }
        Ok(Self(options))
    }

    fn describe(&self) -> ShaperDescriptor {
        ShaperDescriptor::new(
            "targets",
            env!("CARGO_PKG_VERSION"),
            "0 to 1: how far the metrics have come on the way to their targets",
        )
        .parts(self.0.weights.keys())
    }

    fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error> {
        let (mut terms, mut parts) = (Vec::new(), Vec::new());
        for (name, weight) in &self.0.weights {
            let target = context.targets.iter().find(|target| target.name == *name);
            let Some(target) = target.filter(|target| target.value > 0.0) else {
                continue;
            };
            let Some(value) = rollout.metric(name) else {
                if self.0.all {
                    return Ok(Reward::Abstain(format!("`{name}` has no score")));
                }
                continue;
            };
            let part = reached(value, target.value, self.0.cap);
            terms.push((part, *weight));
            parts.push(NamedValue {
                name: name.clone(),
                value: part,
            });
        }
        Ok(match weighted_mean(&terms) {
            Some(scalar) => Reward::Value {
                scalar,
                per_token: Vec::new(),
                parts,
            },
            None => Reward::Abstain("no metric has both a target and a score".to_owned()),
        })
    }
}

rlhf_sdk::export_reward_shaper!(Targets);

#[cfg(test)]
mod tests {
    // Catches rewards that changed, and options that are read otherwise than the README says.
    #[test]
    fn golden_cases() {
        rlhf_sdk::testing::check_reward_shaper::<super::Targets>("golden/cases.jsonl");
    }
}
