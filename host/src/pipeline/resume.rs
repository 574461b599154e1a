//! Whether a run that was ended may be gone on with: with other settings, plugins or data it would
//! be another run, and end in other bytes.

use std::path::Path;

use serde_json::Value;

use super::{Error, Plan};
use crate::config::differences::differences;
use crate::config::{Config, Layers};
use crate::report::manifest::Manifest;

/// Settings that change neither what is learnt nor what is reported of it, and the paths of files
/// whose content is compared. Such a difference is told and no more.
const FREE: [&str; 14] = [
    "output_dir",
    "experiment_name",
    "model.device",
    "data.train_data_path",
    "data.eval_data_path",
    "data.human_feedback_path",
    "training.save_steps",
    "training.save_total_limit",
    "dpo.cache_reference",
    "evaluation.target_bertscore",
    "evaluation.target_codebleu",
    "evaluation.target_bleu",
    "evaluation.target_rouge",
    "evaluation.target_ruby",
];

impl Plan {
    /// Compares the run in `folder` with this one; what differs and does not matter.
    ///
    /// # Errors
    /// Something that matters differs, all of it named; or the run's own record can't be read.
    pub(super) fn check_continued(&self, folder: &Path) -> Result<Vec<String>, Error> {
        let record = |file: &str| folder.join(file);
        let mut layers = Layers::default();
        let begun = layers
            .file(&record("config.json"))
            .and_then(|()| layers.over(&Config::default(), None))
            .map_err(|error| Error::Input(error.to_string()))?
            .config;
        let value = |config: &Config| serde_json::to_value(config).expect("settings are plain");
        let (mut wrong, mut told) = (Vec::new(), Vec::new());
        for difference in differences(&value(&begun), &value(&self.config)) {
            let free = FREE.contains(&difference.key.as_str());
            // Where a run was moved to says nothing.
            let moved = ["output_dir", "experiment_name"].contains(&difference.key.as_str());
            match (free, moved) {
                (true, true) => {}
                (true, false) => told.push(difference.to_string()),
                (false, _) => wrong.push(difference.to_string()),
            }
        }
        let manifest = std::fs::read_to_string(record("manifest.json")).ok();
        let manifest: Option<Value> = manifest.and_then(|text| serde_json::from_str(&text).ok());
        match manifest {
            Some(there) => compare(&there, &self.manifest(&[]), &mut wrong, &mut told),
            None => told.push("it has no manifest: plugins and data can't be compared".to_owned()),
        }
        if wrong.is_empty() {
            return Ok(told);
        }
        Err(Error::Input(format!(
            "the run in `{}` was begun otherwise:\n  {}\nhint: give the settings, plugins and data that it was begun with, or begin another with --output-dir",
            folder.display(),
            wrong.join("\n  ")
        )))
    }
}

/// Compares what two runs are pinned to.
fn compare(there: &Value, here: &Manifest, wrong: &mut Vec<String>, told: &mut Vec<String>) {
    let here = serde_json::to_value(here).expect("a manifest is plain data");
    if there["rlhf"] != here["rlhf"] {
        let (there, here) = (&there["rlhf"], &here["rlhf"]);
        told.push(format!("rlhf is {there} there and {here} here"));
    }
    for (list, name, ignored) in [("plugins", "name", ["path"]), ("data", "key", ["path"])] {
        let of = |manifest: &Value| -> Vec<Value> {
            manifest[list].as_array().cloned().unwrap_or_default()
        };
        let (there, here) = (of(there), of(&here));
        let called = |all: &[Value], wanted: &Value| -> Option<Value> {
            all.iter().find(|one| one[name] == wanted[name]).cloned()
        };
        for one in &here {
            let title = format!("{list} {}", one[name].as_str().unwrap_or_default());
            match called(&there, one) {
                None => wrong.push(format!("{title}: not there, but here")),
                Some(other) => wrong.extend(
                    differences(&other, one)
                        .iter()
                        .filter(|difference| !ignored.contains(&difference.key.as_str()))
                        .map(|difference| format!("{title}: {difference}")),
                ),
            }
        }
        let gone = there.iter().filter(|one| called(&here, one).is_none());
        wrong.extend(gone.map(|one| {
            format!(
                "{list} {}: there, but not here",
                one[name].as_str().unwrap_or_default()
            )
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a setting that was renamed: its entry would no longer free anything.
    #[test]
    fn free_settings_exist() {
        let config = serde_json::to_value(Config::default()).expect("settings are plain");
        for key in FREE {
            let pointer = format!("/{}", key.replace('.', "/"));
            assert!(config.pointer(&pointer).is_some(), "{key}");
        }
    }
}
