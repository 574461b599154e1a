//! Adapters as PEFT keeps them: a folder with `adapter_config.json` and the adapters' weights.
//!
//! What we write, PEFT loads. What PEFT writes, we read where it is LoRA as [`super::lora`]
//! computes it; settings that would give other outputs are refused by their name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::weights::{self, ConfigError, ConfigReader, Error, Files};
use super::{Backbone, Model, restore_one};
use crate::config::model::Lora;

/// Folder of a model folder in which adapters that are not merged lie.
pub const FOLDER: &str = "adapter";
/// PEFT's name of their weights.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// The same, from before PEFT 0.7.
const PICKLE: &str = "adapter_model.bin";
/// PEFT's name of their configuration.
pub const CONFIG: &str = "adapter_config.json";
/// What PEFT puts before the names of a model's layers.
pub(super) const PREFIX: &str = "base_model.model.";

/// A folder of PEFT's whose settings are ones that we compute.
#[derive(Clone, Debug)]
pub struct Peft {
    folder: PathBuf,
    base: String,
    /// The scale is `alpha / rank`, whatever PEFT's settings call it; the layers are those of
    /// the weights.
    lora: Lora,
}

impl Peft {
    /// Whether a folder holds adapters without the model that they belong to.
    pub fn is_adapter(folder: &Path) -> bool {
        folder.join(CONFIG).is_file() && !weights::config_file(folder).is_file()
    }

    /// Reads the settings of a PEFT folder.
    ///
    /// # Errors
    /// No such settings, not JSON, or a setting that would give other outputs than ours.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let file = folder.join(CONFIG);
        let wrong = |source| Error::Config {
            file: file.clone(),
            source,
        };
        let text = fs::read_to_string(&file).map_err(|source| Error::Read {
            file: file.clone(),
            source,
        })?;
        let value: Value =
            serde_json::from_str(&text).map_err(|e| wrong(ConfigError::Json(e.to_string())))?;
        let base = value["base_model_name_or_path"].as_str();
        let base = base
            .ok_or_else(|| wrong(ConfigError::Missing("base_model_name_or_path".into())))?
            .to_owned();
        Ok(Self {
            folder: folder.into(),
            base,
            lora: settings(&ConfigReader(&value)).map_err(wrong)?,
        })
    }

    /// The model that the adapters belong to: a folder or a hub name, as the settings have it.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives `model` the adapters, switched on, and freezes the rest of it. Returns how many
    /// they are.
    ///
    /// # Errors
    /// A tensor is missing, of another shape, or belongs to no layer of the model; the model has
    /// adapters already.
    pub fn add_to(&self, model: &mut dyn Model) -> Result<usize, Error> {
        let safe = self.folder.join(WEIGHTS);
        let pickle = self.folder.join(PICKLE);
        let file = if !safe.is_file() && pickle.is_file() {
            pickle
        } else {
            safe
        };
        let mut files = Files::single(&file)?;
        // The settings may name layers by a pattern: the weights say what it meant.
        let known = model.backbone().layer_names();
        let has = |layer: &&str| files.contains(&format!("{PREFIX}{layer}.lora_A.weight"));
        let target_modules: Vec<String> =
            known.into_iter().filter(has).map(str::to_owned).collect();
        if target_modules.is_empty() {
            files.finish(|_| false)?;
            return Err(Error::Broken {
                file,
                message: "holds no adapters".into(),
            });
        }
        let lora = Lora {
            target_modules,
            ..self.lora.clone()
        };
        let count = model.add_adapters(&lora, 0)?;
        let base = model.base_parameters().len();
        for parameter in model.parameters_mut().split_off(base) {
            restore_one(parameter, &mut files)?;
        }
        files.finish(|_| false)?;
        Ok(count)
    }
}

/// What of PEFT's settings decides the outputs.
fn settings(config: &ConfigReader) -> Result<Lora, ConfigError> {
    for (key, only) in [
        ("peft_type", json!("LORA")),
        ("bias", json!("none")),
        ("use_dora", json!(false)),
        ("use_qalora", json!(false)),
        ("lora_bias", json!(false)),
        ("rank_pattern", json!({})),
        ("alpha_pattern", json!({})),
        ("modules_to_save", json!([])),
        ("trainable_token_indices", json!([])),
        ("layer_replication", json!([])),
        ("alora_invocation_tokens", json!([])),
    ] {
        config.require(key, &only)?;
    }
    // Some ways to begin change the base's weights as well, and PEFT repeats that on loading.
    let start = &config.0["init_lora_weights"];
    let plain = ["gaussian", "orthogonal", "eva"];
    if start.as_str().is_some_and(|name| !plain.contains(&name)) {
        return Err(ConfigError::Unsupported {
            key: "init_lora_weights".into(),
            found: start.as_str().unwrap_or_default().into(),
            supported: format!("true, false, {}", plain.join(", ")),
        });
    }
    let rank = config.size("r")?;
    // PEFT's default.
    let alpha = config.number_or("lora_alpha", 8.0)?;
    Ok(Lora {
        rank,
        // Rank-stabilised (Kalajdzievski 2023): `alpha / √rank`.
        alpha: match config.flag_or("use_rslora", false)? {
            true => alpha * (rank as f64).sqrt(),
            false => alpha,
        },
        dropout: config.number_or("lora_dropout", 0.0)?,
        ..Lora::default()
    })
}

/// Writes the adapters of `backbone` as a PEFT folder.
///
/// `base` is what they belong to, a folder or a hub name; `task` PEFT's `task_type`.
///
/// # Errors
/// The folder cannot be written.
pub fn save(folder: &Path, backbone: &Backbone, base: &str, task: &str) -> io::Result<()> {
    let Some(config) = backbone.lora() else {
        return Ok(());
    };
    fs::create_dir_all(folder)?;
    let parameters = backbone.adapter_parameters();
    let tensors = parameters.iter().map(|p| (p.name.as_str(), &p.value));
    weights::write_safetensors(&folder.join(WEIGHTS), tensors, &[("format", "pt")])?;
    let config = adapter_config(config, base, backbone.spec().transposed, task);
    weights::write_json(&folder.join(CONFIG), &config)
}

/// The `adapter_config.json` that PEFT reads.
///
/// `fan_in_fan_out`: whether the base's weights are stored transposed.
fn adapter_config(config: &Lora, base: &str, fan_in_fan_out: bool, task: &str) -> Value {
    let targets: Value = match config.targets() {
        [] => json!(Lora::ALL_LINEAR),
        names => json!(names),
    };
    json!({
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "target_modules": targets,
        "task_type": task,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(changes: Value, expected: Result<(usize, f64), &str>) {
        let mut value = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 16, "bias": "none",
            "rank_pattern": {}, "modules_to_save": null, "init_lora_weights": true});
        for (key, change) in changes.as_object().expect("an object") {
            value[key] = change.clone();
        }
        let found = settings(&ConfigReader(&value)).map(|lora| (lora.rank, lora.alpha));
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    // Would catch a setting that changes the outputs and is passed over.
    #[test]
    fn settings_are_taken_or_refused() {
        check(json!({}), Ok((4, 16.0)));
        check(json!({"use_rslora": true}), Ok((4, 32.0)));
        check(json!({"lora_alpha": null}), Ok((4, 8.0)));
        check(json!({"r": 0}), Err("key `r` is 0, which makes no sense"));
        for (key, value, shown) in [
            ("peft_type", json!("LOHA"), "LOHA"),
            ("use_dora", json!(true), "true"),
            ("bias", json!("all"), "all"),
            ("rank_pattern", json!({"q_proj": 8}), r#"{"q_proj":8}"#),
            ("modules_to_save", json!(["lm_head"]), r#"["lm_head"]"#),
            ("init_lora_weights", json!("pissa"), "pissa"),
        ] {
            let expected = format!("`{key}` is `{shown}`, which is not supported");
            check(json!({key: value}), Err(&expected));
        }
    }
}
