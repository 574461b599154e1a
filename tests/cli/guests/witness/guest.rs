//! A reward shaper that tells what it is told of a response, and gives an eighth for each token:
//! at the token, or with the option `at_end` for the whole.

use rlhf_sdk::{Context, Error, NamedValue, Reward, RewardShaper, Rollout, ShaperDescriptor};

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Options {
    at_end: bool,
}

struct Witness(Options);

impl RewardShaper for Witness {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        Ok(Self(options))
    }

    fn describe(&self) -> ShaperDescriptor {
        ShaperDescriptor::new("witness", "1.0.0", "tells what it is told")
            .parts(["kl", "passed", "total"])
            .needs_metrics(["unit-tests"])
    }

    fn shape(&self, rollout: &Rollout, _: &Context) -> Result<Reward, Error> {
        let Some(execution) = rollout.execution else {
            return Ok(Reward::Abstain("no executed tests".to_owned()));
        };
        let Some(kl) = rollout.kl else {
            return Ok(Reward::Abstain("no reference".to_owned()));
        };
        let terms = vec![0.125; rollout.tokens.len()];
        let (scalar, per_token) = match self.0.at_end {
            true => (terms.iter().sum(), Vec::new()),
            false => (0.0, terms),
        };
        Ok(Reward::Value {
            scalar,
            per_token,
            parts: vec![
                NamedValue::new("kl", kl),
                NamedValue::new("passed", f64::from(execution.passed)),
                NamedValue::new("total", f64::from(execution.total)),
            ],
        })
    }
}

rlhf_sdk::export_reward_shaper!(Witness);
