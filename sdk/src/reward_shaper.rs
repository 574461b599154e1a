//! Reward shapers: what is known of a rollout into its reward.

use serde::de::DeserializeOwned;

use crate::bindings::host::rlhf::plugin::types;
use crate::bindings::reward_shaper::exports::rlhf::plugin::reward_shaper as wit;
use crate::component::Holder;
use crate::options;
use crate::types::{Error, NamedValue, Sample, named, unnamed};

/// Turns what is known of a rollout into its reward.
///
/// ```
/// use rlhf_sdk::{Context, Error, NoOptions, Reward, RewardShaper, Rollout, ShaperDescriptor};
///
/// /// Rewards short answers: 1 for an empty one, 0 for the longest.
/// struct Brevity;
///
/// impl RewardShaper for Brevity {
///     type Options = NoOptions;
///
///     fn new(_: NoOptions) -> Result<Self, Error> {
///         Ok(Self)
///     }
///
///     fn describe(&self) -> ShaperDescriptor {
///         ShaperDescriptor::new("brevity", env!("CARGO_PKG_VERSION"), "Prefers short answers")
///     }
///
///     fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error> {
///         let used = rollout.tokens.len() as f64 / f64::from(context.response_tokens_max.max(1));
///         Ok(Reward::scalar(1.0 - used))
///     }
/// }
///
/// rlhf_sdk::export_reward_shaper!(Brevity);
/// ```
pub trait RewardShaper: Sized + 'static {
    /// Parsed from the run's configuration; [`NoOptions`](options::NoOptions) if there are none.
    type Options: DeserializeOwned + Default;

    /// The configured shaper. `Self::Options::default()` must work: the host
    /// asks for the description before there are options.
    ///
    /// # Errors
    /// An option's value is out of range: [`Error::bad_option`].
    fn new(options: Self::Options) -> Result<Self, Error>;

    /// Name, parts, the metrics it needs.
    fn describe(&self) -> ShaperDescriptor;

    /// The reward of one rollout, which must depend on nothing but the arguments.
    ///
    /// # Errors
    /// The rollout can't be judged. The run's policy decides what happens then.
    fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error>;
}

/// What a reward shaper says about itself.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ShaperDescriptor {
    /// Lower case, kebab-case: `length`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// Names of the parts it reports, in order.
    pub parts: Vec<String>,
    /// Metrics that must have been computed before it is called.
    pub needs_metrics: Vec<String>,
    /// For keys that a later version of the contract adds.
    pub extra: Vec<(String, String)>,
}

impl ShaperDescriptor {
    /// A shaper without parts that needs no metrics. Pass
    /// `env!("CARGO_PKG_VERSION")` as the version.
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            parts: Vec::new(),
            needs_metrics: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Names of the parts it reports, in order.
    #[must_use]
    pub fn parts<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.parts = names.into_iter().map(Into::into).collect();
        self
    }

    /// Metrics that must have been computed before it is called.
    #[must_use]
    pub fn needs_metrics<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.needs_metrics = names.into_iter().map(Into::into).collect();
        self
    }
}

/// A response as the policy generated it, and all that is known of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// Prompt, response, references and tests.
    pub sample: Sample,
    /// Texts of the response's tokens, in order.
    pub tokens: Vec<String>,
    /// Score of the learned reward model, if there is one.
    pub reward_model_score: Option<f64>,
    /// Sample-level metric values; a metric that failed is absent.
    pub metrics: Vec<NamedValue>,
    /// Executed tests, if a metric of the run executed them: one that has the components `passed`
    /// and `total`.
    pub execution: Option<Execution>,
    /// How far the policy has gone from the reference model here: the log-probability of the
    /// response under the policy less that under the reference, in nats. Its mean estimates their
    /// KL divergence. Absent without a reference.
    pub kl: Option<f64>,
    /// `stop` (end-of-sequence or stop string) or `length`.
    pub finish_reason: String,
    /// Whatever a later version adds, by key.
    pub extra: Vec<(String, String)>,
}

impl Rollout {
    /// The value of a metric, unless it failed or wasn't computed.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics
            .iter()
            .find(|metric| metric.name == name)
            .map(|metric| metric.value)
    }
}

/// What became of a response's tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// How many tests there are.
    pub total: u32,
    /// How many of them passed.
    pub passed: u32,
}

/// What is the same for all rollouts of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps planned.
    pub steps_total: u64,
    /// Largest response length of the run, in tokens.
    pub response_tokens_max: u32,
    /// Targets of the run, by metric.
    pub targets: Vec<NamedValue>,
    /// Whatever a later version adds, by key.
    pub extra: Vec<(String, String)>,
}

/// A reward, or the decision not to give one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reward {
    /// For the whole response, and optionally for each token.
    Value {
        /// Finite.
        scalar: f64,
        /// Empty, or as long as [`Rollout::tokens`], each finite: given at its token by a method
        /// that rewards tokens (PPO), and otherwise with the rest of the sum.
        per_token: Vec<f64>,
        /// Named as the descriptor's parts; logged by name.
        parts: Vec<NamedValue>,
    },
    /// No opinion, and why. The run's policy decides what happens then.
    Abstain(String),
}

impl Reward {
    /// A reward for the whole response.
    pub fn scalar(scalar: f64) -> Self {
        Self::Value {
            scalar,
            per_token: Vec::new(),
            parts: Vec::new(),
        }
    }
}

fn check(reward: Reward, tokens: usize) -> Result<wit::Reward, Error> {
    let (scalar, per_token, parts) = match reward {
        Reward::Abstain(reason) => return Ok(wit::Reward::Abstain(reason)),
        Reward::Value {
            scalar,
            per_token,
            parts,
        } => (scalar, per_token, parts),
    };
    if !per_token.is_empty() && per_token.len() != tokens {
        return Err(Error::bad_result(format!(
            "per-token rewards: expected none or {tokens}, one a token, found {}",
            per_token.len()
        )));
    }
    let numbers = std::iter::once(&scalar)
        .chain(&per_token)
        .chain(parts.iter().map(|part| &part.value));
    for number in numbers {
        if !number.is_finite() {
            return Err(Error::bad_result(format!(
                "reward: expected finite numbers, found {number}"
            )));
        }
    }
    Ok(wit::Reward::Value(wit::Value {
        scalar,
        per_token,
        parts: named(parts),
    }))
}

impl From<wit::Rollout> for Rollout {
    fn from(rollout: wit::Rollout) -> Self {
        Self {
            sample: rollout.sample.into(),
            tokens: rollout.tokens,
            reward_model_score: rollout.reward_model_score,
            metrics: unnamed(rollout.metrics),
            execution: rollout
                .execution
                .map(|wit::Execution { total, passed }| Execution { total, passed }),
            kl: rollout.kl,
            finish_reason: rollout.finish_reason,
            extra: rollout.extra,
        }
    }
}

impl From<wit::Context> for Context {
    fn from(context: wit::Context) -> Self {
        Self {
            step: context.step,
            steps_total: context.steps_total,
            response_tokens_max: context.response_tokens_max,
            targets: unnamed(context.targets),
            extra: context.extra,
        }
    }
}

/// [`RewardShaper`] as the host calls it.
#[derive(Debug)]
pub struct Shaping<S>(S);

/// What the export macro and [`testing`](crate::testing) work on.
pub trait Implementation: Sized + 'static {
    /// Options as one JSON object.
    fn configure(options: &str) -> Result<Self, Error>;
    /// What the author wrote.
    fn describe(&self) -> ShaperDescriptor;
    /// The author's reward.
    fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error>;
}

impl<S: RewardShaper> Implementation for Shaping<S> {
    fn configure(options: &str) -> Result<Self, Error> {
        Ok(Self(S::new(options::parse(options)?)?))
    }

    fn describe(&self) -> ShaperDescriptor {
        self.0.describe()
    }

    fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error> {
        self.0.shape(rollout, context)
    }
}

impl<H: Holder> wit::Guest for H
where
    H::Plugin: Implementation,
{
    fn describe() -> wit::Descriptor {
        let described = H::slot(|slot| {
            slot.get_or_make(|| H::Plugin::configure(""), |shaper| shaper.describe())
        });
        // There is no way to report it: WIT's `describe` can't fail.
        let described =
            described.unwrap_or_else(|error| panic!("`new` failed with default options: {error}"));
        let ShaperDescriptor {
            name,
            version,
            summary,
            parts,
            needs_metrics,
            extra,
        } = described;
        wit::Descriptor {
            name,
            version,
            summary,
            parts,
            needs_metrics,
            extra,
        }
    }

    fn configure(options: String) -> Result<(), types::Error> {
        let shaper = H::Plugin::configure(&options)?;
        H::slot(|slot| slot.set(shaper));
        Ok(())
    }

    fn shape(
        rollouts: Vec<wit::Rollout>,
        context: wit::Context,
    ) -> Vec<Result<wit::Reward, types::Error>> {
        let context = Context::from(context);
        H::slot(|slot| {
            rollouts
                .into_iter()
                .map(|rollout| {
                    let rollout = Rollout::from(rollout);
                    slot.get_or_make(
                        || H::Plugin::configure(""),
                        |shaper| shaper.shape(&rollout, &context),
                    )
                    .and_then(|shaped| check(shaped?, rollout.tokens.len()))
                    .map_err(Into::into)
                })
                .collect()
        })
    }
}

/// Makes the crate a component whose reward shaper is this [`RewardShaper`].
#[macro_export]
macro_rules! export_reward_shaper {
    ($shaper:ty) => {
        $crate::__export!(
            reward_shaper,
            $crate::__private::Shaping<$shaper>,
            $crate::__private::ShaperImplementation
        );
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches rewards that would be added to the wrong tokens or poison a whole batch.
    #[test]
    fn rewards_are_checked_before_they_leave() {
        let value = |scalar, per_token: &[f64]| Reward::Value {
            scalar,
            per_token: per_token.to_vec(),
            parts: Vec::new(),
        };
        assert!(check(value(1.0, &[]), 3).is_ok());
        assert!(check(value(1.0, &[0.1, 0.2, 0.3]), 3).is_ok());
        assert!(check(Reward::Abstain("no tests".into()), 3).is_ok());
        for (reward, expected) in [
            (
                value(1.0, &[0.1]),
                "per-token rewards: expected none or 3, one a token, found 1",
            ),
            (
                value(f64::NAN, &[]),
                "reward: expected finite numbers, found NaN",
            ),
            (
                value(0.0, &[0.0, f64::INFINITY, 0.0]),
                "reward: expected finite numbers, found inf",
            ),
        ] {
            let error = check(reward, 3).expect_err("refused");
            assert_eq!(
                (error.code.as_str(), error.message.as_str()),
                ("bad-result", expected)
            );
        }
    }
}
