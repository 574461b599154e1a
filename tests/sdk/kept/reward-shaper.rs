//! The option `weight` (1 unless given) times the metric `kept`, at every token
//! 0.5, and the part `steps-left`. Abstains where the metric `kept` is absent,
//! with the reason `no metric kept`.
//!
//! A rollout whose language is not empty is checked in the sandbox first, and
//! fails with the sandbox's error if the response doesn't compile. Writes
//! `kept reward-shaper configured` to the log. Imports `log` and `sandbox`.

use rlhf_sdk::{Context, Error, NamedValue, Reward, RewardShaper, Rollout, ShaperDescriptor, host};

#[derive(serde::Deserialize)]
#[serde(default)]
struct Options {
    weight: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

struct Kept(Options);

impl RewardShaper for Kept {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        host::log::info("kept reward-shaper configured");
        Ok(Self(options))
    }

    fn describe(&self) -> ShaperDescriptor {
        ShaperDescriptor::new("kept", "1.0.0", "weighs the metric `kept`")
            .parts(["steps-left"])
            .needs_metrics(["kept"])
    }

    fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error> {
        let sample = &rollout.sample;
        if !sample.language.is_empty() {
            host::sandbox()?.check(&sample.language, &sample.response)?;
        }
        let Some(metric) = rollout.metric("kept") else {
            return Ok(Reward::Abstain("no metric kept".to_owned()));
        };
        let left = context.steps_total.saturating_sub(context.step);
        Ok(Reward::Value {
            scalar: self.0.weight * metric,
            per_token: vec![0.5; rollout.tokens.len()],
            parts: vec![NamedValue::new("steps-left", left as f64)],
        })
    }
}

rlhf_sdk::export_reward_shaper!(Kept);
