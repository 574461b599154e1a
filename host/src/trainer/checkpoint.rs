//! Checkpoints: a model folder with the optimizer's state and the run's position beside it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::loss_scale::LossScale;
use super::optimizer::AdamW;
use super::{Checkpoints, Error};
use crate::config::training::Training;
use crate::models::{Model, weights};

pub(super) const STATE: &str = "trainer_state.json";
pub(super) const OPTIMIZER: &str = "optimizer.safetensors";

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Loss of the last step.
    pub loss: f64,
    /// Where activations are in f16.
    pub loss_scale: Option<LossScale>,
}

impl State {
    /// Steps that the optimizer made: those that overflowed were left out.
    fn updates(&self) -> u64 {
        self.step - self.loss_scale.map_or(0, |s| s.skipped)
    }
}

/// What must be equal for a run to be continued: with it, the rest follows from the seed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fingerprint(Value);

impl Fingerprint {
    pub(super) fn new<M: Model + ?Sized>(
        trainer: &str,
        examples: usize,
        steps: u64,
        seed: u64,
        training: &Training,
        model: &M,
    ) -> Self {
        let mut settings = serde_json::to_value(training).expect("settings are plain values");
        if let Some(settings) = settings.as_object_mut() {
            // How often checkpoints are written changes nothing else.
            settings.remove("save_steps");
        }
        // As text: numbers of a seed's size do not survive every JSON reader.
        Self(json!({
            "trainer": trainer,
            "examples": examples,
            "steps": steps,
            "seed": seed.to_string(),
            "training": settings,
            "lora": model.backbone().lora(),
        }))
    }

    /// The same with what one kind of training has besides.
    pub(super) fn with(mut self, more: Value) -> Self {
        if let (Some(all), Value::Object(more)) = (self.0.as_object_mut(), more) {
            all.extend(more);
        }
        self
    }

    /// As checkpoints hold it.
    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    /// Refuses the state of another run.
    pub(super) fn check(&self, folder: &Path, state: &Value) -> Result<(), Error> {
        match self.difference(state.get("run").unwrap_or(&Value::Null)) {
            None => Ok(()),
            Some(message) => Err(Error::OtherRun {
                folder: folder.into(),
                message,
            }),
        }
    }

    /// The first difference, for people.
    fn difference(&self, found: &Value) -> Option<String> {
        let pairs = |v: &Value| -> Vec<(String, Value)> {
            let top = v
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()));
            let nested = v
                .get("training")
                .and_then(Value::as_object)
                .into_iter()
                .flatten();
            top.filter(|(k, _)| k != "training")
                .chain(nested.map(|(k, v)| (format!("training.{k}"), v.clone())))
                .collect()
        };
        let found = pairs(found);
        pairs(&self.0).into_iter().find_map(|(key, expected)| {
            let other = found
                .iter()
                .find(|(k, _)| *k == key)
                .map_or(Value::Null, |(_, v)| v.clone());
            (other != expected).then(|| format!("{key} is {other} there and {expected} here"))
        })
    }
}

/// Writes `checkpoint-N` beside its place and renames it there.
pub(super) fn save<M: Model + ?Sized>(
    checkpoints: &Checkpoints,
    model: &M,
    optimizer: &AdamW,
    state: &State,
    fingerprint: &Fingerprint,
) -> Result<(), Error> {
    let folder = checkpoints
        .folder
        .join(format!("checkpoint-{}", state.step));
    let value = json!({
        "global_step": state.step,
        "num_input_tokens_seen": state.tokens,
        // By its bits: a loss is not always a JSON number.
        "loss_bits": state.loss.to_bits().to_string(),
        "loss_scale": state.loss_scale.map(|s| json!([s.scale, s.steps, s.skipped])),
        "run": fingerprint.0,
    });
    model.save(&folder, &|partial| {
        (checkpoints.extras)(partial)?;
        optimizer.save(&partial.join(OPTIMIZER), model)?;
        weights::write_json(&partial.join(STATE), &value)
    })?;
    Ok(())
}

/// Puts a checkpoint's weights and state into a model and optimizer of the same run.
pub(super) fn load<M: Model + ?Sized>(
    folder: &Path,
    model: &mut M,
    optimizer: &mut AdamW,
    fingerprint: &Fingerprint,
) -> Result<State, Error> {
    let broken = |message: String| Error::BrokenCheckpoint {
        folder: folder.into(),
        message,
    };
    let value = read_state(folder)?;
    let number = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_u64)
            .ok_or_else(|| broken(format!("`{STATE}` has no `{key}`")))
    };
    let bits = value
        .get("loss_bits")
        .and_then(Value::as_str)
        .and_then(|bits| bits.parse().ok());
    let state = State {
        step: number("global_step")?,
        tokens: number("num_input_tokens_seen")?,
        loss: bits.map_or(f64::NAN, f64::from_bits),
        loss_scale: value.get("loss_scale").and_then(|scale| {
            Some(LossScale {
                scale: scale.get(0)?.as_f64()?,
                steps: scale.get(1)?.as_u64()?,
                skipped: scale.get(2)?.as_u64()?,
            })
        }),
    };
    fingerprint.check(folder, &value)?;
    model.restore(folder)?;
    optimizer.load(&folder.join(OPTIMIZER), model, state.updates())?;
    Ok(state)
}

/// The state that a checkpoint was written with.
pub(super) fn read_state(folder: &Path) -> Result<Value, Error> {
    let broken = |message: String| Error::BrokenCheckpoint {
        folder: folder.into(),
        message,
    };
    let text =
        fs::read_to_string(folder.join(STATE)).map_err(|e| broken(format!("`{STATE}`: {e}")))?;
    serde_json::from_str(&text).map_err(|e| broken(format!("`{STATE}` is not JSON: {e}")))
}

/// The checkpoint with the most steps in an output folder.
pub fn latest(folder: &Path) -> Option<PathBuf> {
    let numbered = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| {
        let number: u64 = entry
            .file_name()
            .to_str()?
            .strip_prefix("checkpoint-")?
            .parse()
            .ok()?;
        entry
            .path()
            .join(STATE)
            .is_file()
            .then(|| (number, entry.path()))
    });
    numbered
        .max_by_key(|(number, _)| *number)
        .map(|(_, path)| path)
}
