//! What makes two trainings the same one.

use std::path::Path;

use serde_json::{Value, json};

use super::Error;
use crate::config::differences::differences;
use crate::config::training::Training;
use crate::models::Model;

/// Settings by which the best checkpoint is found.
const KEEPING: [&str; 4] = [
    "save_steps",
    "metric_for_best_model",
    "greater_is_better",
    "load_best_model_at_end",
];

/// What must be equal for a run to be continued: with it, the rest follows from the seed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::trainer) struct Fingerprint(Value);

impl Fingerprint {
    pub fn new<M: Model + ?Sized>(
        trainer: &str,
        examples: usize,
        steps: u64,
        seed: u64,
        training: &Training,
        model: &M,
    ) -> Self {
        let mut settings = serde_json::to_value(training).expect("settings are plain values");
        if let Some(settings) = settings.as_object_mut() {
            // How often checkpoints are written, and how many stay, changes nothing else, unless
            // the training ends with one of them.
            settings.remove("save_total_limit");
            if !training.load_best_model_at_end {
                for key in KEEPING {
                    settings.remove(key);
                }
            }
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
    pub fn with(mut self, more: Value) -> Self {
        if let (Some(all), Value::Object(more)) = (self.0.as_object_mut(), more) {
            all.extend(more);
        }
        self
    }

    /// As checkpoints hold it.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Refuses the state of another run, naming everything that differs.
    ///
    /// # Errors
    /// [`Error::OtherRun`].
    pub fn check(&self, folder: &Path, state: &Value) -> Result<(), Error> {
        let found = differences(state.get("run").unwrap_or(&Value::Null), &self.0);
        if found.is_empty() {
            return Ok(());
        }
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        Err(Error::OtherRun {
            folder: folder.into(),
            message: found.join("; "),
        })
    }
}
