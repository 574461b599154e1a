//! The reward shaper as the host sees it; the formula is in `brevity.rs`.

pub mod brevity;

use rlhf_sdk::{
    Context, Error, NamedValue, NoOptions, Reward, RewardShaper, Rollout, ShaperDescriptor,
};

/// Prefers short answers.
pub struct Brevity;

impl RewardShaper for Brevity {
    type Options = NoOptions;

    fn new(_: NoOptions) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> ShaperDescriptor {
        let summary = "prefers short answers: 1 - tokens / the most that a response may have";
        ShaperDescriptor::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
            .parts(["brevity"])
    }

    fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error> {
        // The shortest answer says nothing. It must not earn the highest reward.
        if rollout.sample.response.trim().is_empty() {
            return Ok(Reward::Abstain("the response is empty".into()));
        }
        let brevity = brevity::brevity(rollout.tokens.len(), context.response_tokens_max);
        Ok(Reward::Value {
            scalar: brevity,
            per_token: Vec::new(),
            parts: vec![NamedValue::new("brevity", brevity)],
        })
    }
}

rlhf_sdk::export_reward_shaper!(Brevity);

#[cfg(test)]
mod tests {
    // Catches rewards, parts and reasons other than those in the file.
    #[test]
    fn golden_cases() {
        rlhf_sdk::testing::check_reward_shaper::<super::Brevity>("golden/cases.jsonl");
    }
}
