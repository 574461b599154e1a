#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod form;

use rlhf_sdk::{Context, Error, NamedValue, Reward, RewardShaper, Rollout, ShaperDescriptor};
use serde::Deserialize;

use crate::form::{Form, Wanted};

/// Options of the shaper, see its README.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    pub form: Form,
    /// Label of the block; any if empty.
    pub language: String,
    /// Share of a response that may be prose.
    pub prose_max: f64,
}

/// The shaper as the host sees it.
#[derive(Debug)]
pub struct Format(Wanted);

impl RewardShaper for Format {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        let Options {
            form,
            language,
            prose_max,
        } = options;
        if !(0.0..=1.0).contains(&prose_max) {
            return Err(Error::bad_option(
                "prose_max",
                format!("expected 0 to 1, found {prose_max}"),
            ));
        }
        Ok(Self(Wanted {
            form,
            language,
            prose_max,
        }))
    }

    fn describe(&self) -> ShaperDescriptor {
        ShaperDescriptor::new(
            "format",
            env!("CARGO_PKG_VERSION"),
            "-1 to 0: penalties for responses without the form that was asked for",
        )
        .parts(["fence", "prose", "unfinished"])
    }

    fn shape(&self, rollout: &Rollout, _: &Context) -> Result<Reward, Error> {
        let found = self.0.judge(&rollout.sample.response);
        let unfinished = match rollout.finish_reason.as_str() {
            "length" => -1.0,
            _ => 0.0,
        };
        let part = |name: &str, value| NamedValue {
            name: name.to_owned(),
            value,
        };
        Ok(Reward::Value {
            scalar: (found.fence + found.prose + unfinished).max(-1.0),
            per_token: Vec::new(),
            parts: vec![
                part("fence", found.fence),
                part("prose", found.prose),
                part("unfinished", unfinished),
            ],
        })
    }
}

rlhf_sdk::export_reward_shaper!(Format);

#[cfg(test)]
mod tests {
    // Catches rewards that changed, and options that are read otherwise than the README says.
    #[test]
    fn golden_cases() {
        rlhf_sdk::testing::check_reward_shaper::<super::Format>("golden/cases.jsonl");
    }
}
