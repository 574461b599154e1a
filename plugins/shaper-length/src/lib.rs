#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod length;

use rlhf_sdk::{Context, Error, NamedValue, Reward, RewardShaper, Rollout, ShaperDescriptor};
use serde::Deserialize;

use crate::length::Bounds;

/// DAPO's share: 4,096 of 20,480 tokens.
const BUFFER_SHARE: f64 = 0.2;

/// Options of the shaper, see its README.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The run's longest response if absent.
    pub max_tokens: Option<u32>,
    /// A fifth of the longest response if absent.
    pub buffer_tokens: Option<u32>,
    /// Fewer tokens than this are too few.
    pub min_tokens: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_tokens: None,
            buffer_tokens: None,
            min_tokens: 1,
        }
    }
}

/// The shaper as the host sees it.
#[derive(Debug)]
pub struct Length(Options);

impl Length {
    fn bounds(&self, context: &Context) -> Bounds {
        let max_tokens = f64::from(self.0.max_tokens.unwrap_or(context.response_tokens_max));
        let share = || (max_tokens * BUFFER_SHARE).floor();
        Bounds {
            min_tokens: f64::from(self.0.min_tokens),
            max_tokens,
            buffer_tokens: self.0.buffer_tokens.map_or_else(share, f64::from),
        }
    }
}

impl RewardShaper for Length {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        if let (Some(max), Some(buffer)) = (options.max_tokens, options.buffer_tokens)
            && buffer > max
        {
            return Err(Error::bad_option(
                "buffer_tokens",
                format!("expected at most `max_tokens`, {max}, found {buffer}"),
            ));
        }
        Ok(Self(options))
    }

    fn describe(&self) -> ShaperDescriptor {
        ShaperDescriptor::new(
            "length",
            env!("CARGO_PKG_VERSION"),
            "-1 to 0: penalties for overlong and for empty responses",
        )
        .parts(["overlong", "underlong"])
    }

    fn shape(&self, rollout: &Rollout, context: &Context) -> Result<Reward, Error> {
        let bounds = self.bounds(context);
        let tokens = rollout.tokens.len() as f64;
        let (overlong, underlong) = (bounds.overlong(tokens), bounds.underlong(tokens));
        let part = |name: &str, value| NamedValue {
            name: name.to_owned(),
            value,
        };
        Ok(Reward::Value {
            scalar: overlong + underlong,
            per_token: Vec::new(),
            parts: vec![part("overlong", overlong), part("underlong", underlong)],
        })
    }
}

rlhf_sdk::export_reward_shaper!(Length);

#[cfg(test)]
mod tests {
    // Catches rewards that changed, and options that are read otherwise than the README says.
    #[test]
    fn golden_cases() {
        rlhf_sdk::testing::check_reward_shaper::<super::Length>("golden/cases.jsonl");
    }
}
