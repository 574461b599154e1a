//! The typed front of the reward-shaper world: rollouts in, rewards out.

use std::sync::Arc;

use super::bindings::v0_1::{self, RewardShaperPlugin};
use super::discovery::{OnFailure, Spec};
use super::failure::Failure;
use super::host::Services;
use super::world::{Loaded, Timed, Used};
use super::{Component, Error, Runtime, Sample};

/// What a shaper says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// Names of the parts it may report.
    pub parts: Vec<String>,
    /// Metrics that must have been computed before it is called.
    pub needs_metrics: Vec<String>,
}

/// A response with everything known of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    pub sample: Sample,
    /// Texts of the response's tokens, in order.
    pub tokens: Vec<String>,
    pub reward_model_score: Option<f64>,
    /// Sample-level values; a metric that failed is absent.
    pub metrics: Vec<(String, f64)>,
    /// Of the first metric that has the components `passed` and `total`.
    pub execution: Option<Execution>,
    /// Log-probability of the response under the policy less that under the reference, in nats;
    /// None without a reference.
    pub kl: Option<f64>,
    /// `stop` or `length`.
    pub finish_reason: String,
}

/// What became of a response's tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    pub total: u32,
    pub passed: u32,
}

/// What is the same for all rollouts of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Optimizer steps done, and planned.
    pub step: u64,
    pub steps_total: u64,
    pub response_tokens_max: u32,
    /// Targets of the run, by metric.
    pub targets: Vec<(String, f64)>,
}

/// A checked reward: all numbers are finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Reward {
    Value {
        scalar: f64,
        /// Empty, or one a token of the response.
        per_token: Vec<f64>,
        /// Logged by name.
        parts: Vec<(String, f64)>,
    },
    /// No opinion, and why.
    Abstain(String),
}

impl Reward {
    /// What the whole response gets: the scalar and all per-token terms.
    pub fn total(&self) -> Option<f64> {
        match self {
            Reward::Value {
                scalar, per_token, ..
            } => Some(scalar + per_token.iter().sum::<f64>()),
            Reward::Abstain(_) => None,
        }
    }
}

/// A loaded, configured reward shaper.
pub struct RewardShaper {
    name: String,
    descriptor: Descriptor,
    on_failure: OnFailure,
    loaded: Loaded<RewardShaperPlugin>,
}

impl RewardShaper {
    /// Finds and loads a shaper, with nothing to offer but what every plugin gets.
    ///
    /// # Errors
    /// Those of [`RewardShaper::of`], or there is no such file.
    pub fn load(runtime: &Arc<Runtime>, spec: &Spec) -> Result<Self, Error> {
        let component = Component::find(runtime, spec)?;
        Self::of(component, spec, &Services::default())
    }

    /// Configures the shaper in a component and asks it to describe itself.
    ///
    /// # Errors
    /// It is no shaper, asks for what it was not granted, or fails in `describe` or `configure`.
    pub fn of(component: Component, spec: &Spec, services: &Services) -> Result<Self, Error> {
        let (loaded, instance, descriptor) =
            Loaded::<RewardShaperPlugin>::ready(component, spec, services)?;
        loaded.keep(instance);
        Ok(Self {
            name: spec.name.clone().unwrap_or_else(|| descriptor.name.clone()),
            descriptor,
            on_failure: spec.on_failure,
            loaded,
        })
    }

    /// What a new instance that has no options yet says about itself.
    ///
    /// # Errors
    /// It fails, or what it says can't be.
    pub fn describe_unconfigured(&self) -> Result<Descriptor, Failure> {
        self.loaded.describe_unconfigured()
    }

    /// Name in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub fn component(&self) -> &Component {
        &self.loaded.component
    }

    /// What becomes of a reward that it can't or won't give.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// What its calls have used so far.
    pub fn used(&self) -> Used {
        self.loaded.used()
    }

    /// One reward a rollout, in their order, shaped in parallel.
    pub fn shape(&self, rollouts: &[Rollout], context: &Context) -> Vec<Result<Reward, Failure>> {
        let timed = self.shape_timed(rollouts, context).into_iter();
        timed.map(|one| one.result).collect()
    }

    /// The same, with the time of each.
    pub fn shape_timed(&self, rollouts: &[Rollout], context: &Context) -> Vec<Timed<Reward>> {
        let context = v0_1::context(context);
        self.loaded.batch(
            rollouts,
            self.loaded.samples_per_call(),
            async |world, store, rollouts| {
                let raw: Vec<_> = rollouts.iter().map(v0_1::rollout).collect();
                world
                    .rlhf_plugin_reward_shaper()
                    .call_shape(store, &raw, &context)
                    .await
            },
            |rollout, reward| {
                let reward = reward.map_err(v0_1::failure)?;
                v0_1::reward(reward, rollout.tokens.len(), &self.descriptor)
            },
        )
    }
}
