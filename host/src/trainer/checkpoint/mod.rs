//! Checkpoints: a model folder with the optimizer's state and the run's position beside it.
//!
//! [`listing`] knows a whole one from one that is not, [`fingerprint`] the checkpoint of another
//! run, and [`keeping`] says which are written, which stay, and which is the best.

mod fingerprint;
mod keeping;
mod listing;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::loss_scale::LossScale;
use super::optimizer::AdamW;
use super::{Checkpoints, Error};
use crate::models::{Model, weights};

pub(super) use fingerprint::Fingerprint;
pub(super) use keeping::Keeper;
pub use listing::{all, check, newest};

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

/// Writes `checkpoint-N` beside its place and renames it there; `more` adds what this kind of
/// training has besides. Then those that are too many go.
pub(super) fn write<M: Model + ?Sized>(
    checkpoints: &Checkpoints,
    keeper: &mut Keeper,
    step: u64,
    model: &M,
    mut state: Value,
    more: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<Vec<String>, Error> {
    if let Some(state) = state.as_object_mut() {
        state.extend(keeper.state());
    }
    let folder = checkpoints.folder.join(format!("checkpoint-{step}"));
    model.save(&folder, &|partial| {
        (checkpoints.extras)(partial)?;
        more(partial)?;
        weights::write_json(&partial.join(STATE), &state)?;
        // The last file: what has it has everything.
        listing::write(partial)
    })?;
    Ok(keeper.saved(checkpoints.folder, step))
}

pub(super) fn save<M: Model + ?Sized>(
    checkpoints: &Checkpoints,
    keeper: &mut Keeper,
    model: &M,
    optimizer: &AdamW,
    state: &State,
    fingerprint: &Fingerprint,
) -> Result<Vec<String>, Error> {
    let value = json!({
        "global_step": state.step,
        "num_input_tokens_seen": state.tokens,
        // By its bits: a loss is not always a JSON number.
        "loss_bits": state.loss.to_bits().to_string(),
        "loss_scale": state.loss_scale.map(|s| json!([s.scale, s.steps, s.skipped])),
        "run": fingerprint.value(),
    });
    write(checkpoints, keeper, state.step, model, value, &|partial| {
        optimizer.save(&partial.join(OPTIMIZER), model)
    })
}

/// Puts a checkpoint's weights and state into a model and optimizer of the same run; also returns
/// all that it says of itself.
pub(super) fn load<M: Model + ?Sized>(
    folder: &Path,
    model: &mut M,
    optimizer: &mut AdamW,
    fingerprint: &Fingerprint,
) -> Result<(State, Value), Error> {
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
    listing::check(folder)?;
    model.restore(folder)?;
    optimizer.load(&folder.join(OPTIMIZER), model, state.updates())?;
    Ok((state, value))
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

/// The newest whole checkpoint of an output folder.
pub fn latest(folder: &Path) -> Option<PathBuf> {
    newest(folder).0
}

/// Takes every checkpoint of an output folder away.
///
/// # Errors
/// One can't be removed.
pub fn remove_all(folder: &Path) -> io::Result<()> {
    all(folder)
        .iter()
        .try_for_each(|(_, checkpoint)| keeping::remove(checkpoint))
}

/// Puts the weights of the best checkpoint into a model.
pub(super) fn restore_best<M: Model + ?Sized>(folder: &Path, model: &mut M) -> Result<(), Error> {
    check(folder)?;
    Ok(model.restore(folder)?)
}
