//! The policy of a run: a model, its tokenizer, and where and how both compute.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use super::Error;
use crate::config;
use crate::config::model::Precision;
use crate::hub;
use crate::models::peft::Peft;
use crate::models::{self, LanguageModel, LlamaConfig, Model};
use crate::tokenizer::{Specials, Tokenizer};

/// Where a policy comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// `builtin:tiny-code`, initialised from the run's seed.
    TinyCode,
    /// A folder in Hugging Face's layout.
    Folder(PathBuf),
    /// Adapters in PEFT's layout, and the folder of the model that they belong to.
    Adapter { adapter: Peft, base: PathBuf },
}

impl Source {
    /// What `config.json` says of the model.
    ///
    /// # Errors
    /// There is none, or it is not JSON.
    pub fn config(&self) -> Result<serde_json::Value, Error> {
        Ok(match self {
            Source::TinyCode => tiny_code_config(&tiny_code_tokenizer()).to_json(),
            Source::Folder(folder) | Source::Adapter { base: folder, .. } => {
                crate::models::weights::read_config(folder)?
            }
        })
    }

    /// The model's tokenizer.
    ///
    /// # Errors
    /// The folder has none that can be read.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        Ok(match self {
            Source::TinyCode => tiny_code_tokenizer(),
            // The base's ids are what the adapters were trained on, and its files alone are whole:
            // stop tokens lie beside its weights.
            Source::Folder(folder) | Source::Adapter { base: folder, .. } => {
                Tokenizer::from_folder(folder)?
            }
        })
    }

    /// Number of weights of the policy: all, and those that are trained.
    ///
    /// # Errors
    /// The folder's configuration is none of a model that can be trained, or the settings name
    /// layers that it does not have.
    pub fn weights(&self, settings: &config::Model) -> Result<(usize, usize), Error> {
        let config = self.config()?;
        let lora = (settings.lora.rank > 0).then_some(&settings.lora);
        crate::models::count_weights(config, lora).map_err(|error| Error::Input(error.to_string()))
    }

    /// The same without adapters that the settings ask for.
    ///
    /// # Errors
    /// The folder's configuration is none of a model that can be trained.
    pub fn whole_weights(&self) -> Result<usize, Error> {
        let counted = crate::models::count_weights(self.config()?, None);
        let (all, _) = counted.map_err(|error| Error::Input(error.to_string()))?;
        Ok(all)
    }

    /// # Errors
    /// No such builtin model, folder or hub name.
    pub fn of(name: &str) -> Result<Self, Error> {
        match name.strip_prefix(config::model::BUILTIN) {
            Some("tiny-code") => Ok(Source::TinyCode),
            Some(other) => Err(Error::Input(format!(
                "no builtin model `{other}`\nhint: there is `builtin:tiny-code`"
            ))),
            None => {
                let folder = hub::resolve(name)?;
                if !Peft::is_adapter(&folder) {
                    return Ok(Source::Folder(folder));
                }
                let adapter = Peft::open(&folder)?;
                let base = base_folder(&adapter)?;
                Ok(Source::Adapter { adapter, base })
            }
        }
    }
}

/// The folder of the model that adapters belong to.
fn base_folder(adapter: &Peft) -> Result<PathBuf, Error> {
    // Checkpoints keep their adapters in a folder of their own and call the model `..`.
    if adapter.base().starts_with('.') && adapter.folder().join(adapter.base()).is_dir() {
        return Ok(adapter.folder().join(adapter.base()));
    }
    hub::resolve(adapter.base()).map_err(|error| {
        let error = error.to_string();
        let reason = error.split("\nhint:").next().unwrap_or_default();
        Error::Input(format!(
            "adapter `{}`: its {reason}\nhint: write where the model is into `base_model_name_or_path` in its {}",
            adapter.folder().display(),
            crate::models::peft::CONFIG
        ))
    })
}

/// What is trained.
pub struct Policy {
    pub model: LanguageModel,
    pub tokenizer: Tokenizer,
}

impl Policy {
    /// # Errors
    /// The folder lacks something, or has something that we can't use.
    pub fn load(source: &Source, seed: u64, device: &Device) -> Result<Self, Error> {
        let tokenizer = source.tokenizer()?;
        let model = match source {
            Source::TinyCode => {
                let config = tiny_code_config(&tokenizer);
                let initialised = config.init(seed, device);
                initialised.map_err(doing("initialising builtin:tiny-code"))?
            }
            Source::Folder(folder) => crate::models::load(folder, device)?,
            Source::Adapter { adapter, base } => {
                let mut model = crate::models::load(base, device)?;
                adapter.add_to(&mut model)?;
                model
                    .absorb_adapters()
                    .map_err(doing("merging the adapters"))?;
                model
            }
        };
        Ok(Self { model, tokenizer })
    }

    /// Sets how the model computes.
    pub fn compute(&mut self, settings: &config::Model) {
        let dtype = compute_type(settings.precision, self.model.device());
        let backbone = self.model.backbone_mut();
        backbone.set_gradient_checkpointing(settings.gradient_checkpointing);
        backbone.set_compute(dtype);
    }

    /// Gives the model its adapters where the settings ask for some.
    ///
    /// # Errors
    /// The settings name layers that the model does not have.
    pub fn adapt(&mut self, settings: &config::Model, seed: u64) -> Result<(), Error> {
        if settings.lora.rank == 0 {
            return Ok(());
        }
        let adapted = self.model.add_adapters(&settings.lora, seed);
        adapted.map_err(|error| Error::Input(error.to_string()))?;
        let stored = storage_type(settings.precision);
        let stored = self.model.backbone_mut().store_frozen(stored);
        stored.map_err(doing("storing the frozen weights"))
    }

    /// Makes what the adapters learnt a part of the model's own weights.
    ///
    /// # Errors
    /// The device has no room.
    pub fn absorb_adapters(&mut self) -> Result<(), Error> {
        let absorbed = self.model.absorb_adapters();
        absorbed.map_err(doing("merging the adapters"))
    }

    /// Saves both as one folder that transformers loads.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        Ok(self
            .model
            .save(folder, &|folder| self.tokenizer.save(folder))?)
    }
}

fn doing(what: &str) -> impl FnOnce(candle_core::Error) -> Error {
    let doing = what.to_owned();
    move |source| Error::Tensor { doing, source }
}

/// What activations are computed in: half precision is slower than f32 on a CPU (and candle
/// multiplies no bf16 there), so that it only stores weights then.
pub fn compute_type(precision: Precision, device: &Device) -> DType {
    match device {
        Device::Cpu => DType::F32,
        _ => storage_type(precision),
    }
}

pub(super) fn storage_type(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
    }
}

fn tiny_code_tokenizer() -> Tokenizer {
    let json = include_bytes!("../../assets/tiny-code/tokenizer.json");
    let specials = Specials {
        bos: None,
        eos: vec![1],
        pad: Some(0),
    };
    Tokenizer::from_bytes(json, specials)
        .expect("the shipped tokenizer loads; see the tests of `data::builtin`")
}

/// A Llama of about a million parameters: the smallest that learns the
/// embedded tasks in about a minute on two cores. Sizes chosen by trying; see
/// `host/assets/tasks/README.md` for what it learns.
fn tiny_code_config(tokenizer: &Tokenizer) -> LlamaConfig {
    LlamaConfig {
        vocab_size: tokenizer.vocabulary(),
        hidden_size: 128,
        intermediate_size: 384,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 32,
        max_position_embeddings: 128,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_id: tokenizer.specials().eos.clone(),
        pad_token_id: tokenizer.specials().pad,
    }
}

/// The device of a run.
///
/// # Errors
/// This build or this machine has no such device.
pub fn device(wanted: config::Device) -> Result<Device, Error> {
    let missing = |feature: &str| {
        Error::Input(format!(
            "device `{wanted}`: this build of rlhf has no {feature}\nhint: build with `--features {}`, or use `--device cpu`",
            feature.to_lowercase()
        ))
    };
    let broken = |error: candle_core::Error| {
        Error::Input(format!(
            "device `{wanted}` can't be used on this machine: {error}\nhint: use `--device cpu`"
        ))
    };
    match wanted {
        config::Device::Cpu => Ok(Device::Cpu),
        config::Device::Cuda if !candle_core::utils::cuda_is_available() => Err(missing("CUDA")),
        config::Device::Cuda => models::cuda().map_err(broken),
        config::Device::Metal if !candle_core::utils::metal_is_available() => Err(missing("Metal")),
        config::Device::Metal => Device::new_metal(0).map_err(broken),
        config::Device::Auto => Ok(models::cuda()
            .or_else(|_| Device::new_metal(0))
            .unwrap_or(Device::Cpu)),
    }
}
