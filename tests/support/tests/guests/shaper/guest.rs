//! A reward shaper that calls nothing.

use rlhf_sdk::{Context, Error, NoOptions, Reward, RewardShaper, Rollout, ShaperDescriptor};

struct Brevity;

impl RewardShaper for Brevity {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> ShaperDescriptor {
        ShaperDescriptor::new(
            "brevity",
            env!("CARGO_PKG_VERSION"),
            "Prefers short answers",
        )
    }

    fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error> {
        let used = rollout.tokens.len() as f64 / f64::from(context.response_tokens_max.max(1));
        Ok(Reward::scalar(1.0 - used))
    }
}

rlhf_sdk::export_reward_shaper!(Brevity);
