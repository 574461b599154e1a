//! A reward shaper that gives rewards which are none, for the rollout of `bad`.
//!
//! Written against the bindings, since the SDK would notice first.

use std::sync::Mutex;

use rlhf_sdk::__private::bindings::host::rlhf::plugin::types::{Error, NamedValue};
use rlhf_sdk::__private::bindings::reward_shaper::exports::rlhf::plugin::reward_shaper::{
    Context, Descriptor, Guest, Reward, Rollout, Value,
};

static OPTIONS: Mutex<String> = Mutex::new(String::new());

struct Raw;

fn how() -> String {
    let options: serde_json::Value = serde_json::from_str(&OPTIONS.lock().unwrap()).unwrap();
    options["how"].as_str().unwrap_or_default().to_owned()
}

impl Guest for Raw {
    fn describe() -> Descriptor {
        let part = if how() == "part-name" {
            "\u{1b}[31mred"
        } else {
            "known"
        };
        Descriptor {
            name: "shaper-lies".into(),
            version: "0.1.0".into(),
            summary: String::new(),
            parts: vec![part.into()],
            needs_metrics: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn configure(options: String) -> Result<(), Error> {
        *OPTIONS.lock().unwrap() = options;
        Ok(())
    }

    fn shape(rollouts: Vec<Rollout>, _: Context) -> Vec<Result<Reward, Error>> {
        let mut rewards: Vec<_> = rollouts.iter().map(|rollout| Ok(reward(rollout))).collect();
        if how() == "missing" && rollouts.iter().any(|rollout| rollout.sample.id == "bad") {
            rewards.pop();
        }
        rewards
    }
}

fn reward(rollout: &Rollout) -> Reward {
    let mut value = Value {
        scalar: 0.5,
        per_token: vec![0.0; rollout.tokens.len()],
        parts: Vec::new(),
    };
    if rollout.sample.id == "bad" {
        let part = |name: &str, value| NamedValue {
            name: name.into(),
            value,
        };
        match how().as_str() {
            "infinite" => value.scalar = f64::INFINITY,
            "nan" => value.scalar = f64::NAN,
            "short" => drop(value.per_token.pop()),
            "long" => value.per_token.push(0.0),
            "none" => value.per_token.clear(),
            "nan-token" => value.per_token[1] = f64::NAN,
            "part" => value.parts.push(part("\u{7}bell", 1.0)),
            "nan-part" => value.parts.push(part("known", f64::NAN)),
            _ => {}
        }
    }
    Reward::Value(value)
}

rlhf_sdk::__private::bindings::reward_shaper::export!(Raw);
