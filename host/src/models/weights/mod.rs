//! Model folders of Hugging Face's layout, in and out.
//!
//! [`Files`] finds a folder's weights, whatever form they have, and hands them out by name, shape
//! checked, as f32. Each format has a file that says where the tensors lie ([`stored::Stored`]);
//! nothing is read before somebody takes it, and nothing that a file says is executed or
//! allocated on its word.

mod config;
mod gguf;
mod pickle;
mod pytorch;
#[cfg(test)]
mod pytorch_tests;
mod safetensors;
mod save;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;

pub(super) use config::ConfigReader;
pub use config::{ConfigError, config_file, read_config};
pub(super) use save::save;
pub use save::{remove_partial, replace_folder, write_json, write_safetensors};
use stored::{Element, Stored};

use super::spec;

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";
const PICKLE_INDEX: &str = "pytorch_model.bin.index.json";

/// What can be wrong with a model folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("model folder `{}` does not exist", .0.display())]
    NoFolder(PathBuf),
    #[error("`{}` is no model folder: it has no `{CONFIG}`", .0.display())]
    NoConfig(PathBuf),
    #[error("model folder `{}` holds no weights", .folder.display())]
    NoWeights {
        folder: PathBuf,
        /// A file in a format that is not read.
        other: Option<String>,
    },
    #[error("model folder `{}` holds several models: {files}", .folder.display())]
    SeveralModels { folder: PathBuf, files: String },
    #[error("`{}`: {source}", .file.display())]
    Config { file: PathBuf, source: ConfigError },
    #[error("`{}`: unsupported architecture `{found}`", .file.display())]
    Architecture { file: PathBuf, found: String },
    #[error("`{}`: {message}", .file.display())]
    Broken { file: PathBuf, message: String },
    /// A pickle that would have Python call something.
    #[error("`{}` asks for `{what}`: refused", .file.display())]
    Refused { file: PathBuf, what: String },
    #[error("`{}`: tensor `{tensor}` is missing", .file.display())]
    MissingTensor { file: PathBuf, tensor: String },
    #[error("`{}`: tensor `{tensor}` belongs to no part of the model", .file.display())]
    SurplusTensor { file: PathBuf, tensor: String },
    #[error("`{}`: tensor `{tensor}` has shape {found:?}, expected {expected:?}", .file.display())]
    Shape {
        file: PathBuf,
        tensor: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    #[error("`{}`: tensor `{tensor}` is stored as {found}", .file.display())]
    Type {
        file: PathBuf,
        tensor: String,
        found: String,
    },
    #[error("`{}`: {source}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("cannot write model folder `{}`: {message}", .folder.display())]
    Write { folder: PathBuf, message: String },
    #[error("loading the weights: {0}")]
    Device(#[from] candle_core::Error),
}

impl Error {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFolder(_) | Self::NoConfig(_) => Some(format!(
                "give a folder as transformers' `save_pretrained` writes it: {CONFIG}, {SINGLE}, tokenizer.json"
            )),
            Self::NoWeights {
                other: Some(file), ..
            } => Some(format!(
                "`{file}` is not read; load and save the model with transformers to get `{SINGLE}`"
            )),
            Self::NoWeights { other: None, .. } => Some(format!(
                "weights lie in `{SINGLE}` or `{PICKLE}`, or in parts named by `{INDEX}`"
            )),
            Self::SeveralModels { .. } => Some("give the file itself instead of its folder".into()),
            Self::Refused { .. } => Some(
                "a pickle can call any function of Python, so only what a plain state dict needs is read: get the weights as safetensors, from a source that you trust"
                    .into(),
            ),
            Self::Architecture { .. } => Some(format!(
                "supported `model_type`: {} as language models, {} as encoders and reward models",
                spec::CAUSAL.join(", "),
                spec::ENCODERS.join(", ")
            )),
            Self::Broken { .. } => Some(
                "the file may be cut short: compare its size with the original, or fetch it again"
                    .into(),
            ),
            Self::MissingTensor { .. } | Self::SurplusTensor { .. } | Self::Shape { .. } => Some(
                format!("`{CONFIG}` and the weights seem to come from different models"),
            ),
            Self::Type { .. } => Some("supported types: F32, BF16, F16, F64, and in GGUF Q2_K to Q8_0".into()),
            Self::Config { source, .. } => source.hint(),
            Self::Write { .. } => {
                Some("check that the folder can be written and the disk has room".into())
            }
            Self::Read { .. } | Self::Device(_) => None,
        }
    }
}

/// Number of weights that a model folder holds. None of them is read.
///
/// # Errors
/// The folder holds none, or a file that is broken.
pub fn count(folder: &Path) -> Result<usize, Error> {
    let files = Files::open(folder)?;
    let shapes = files.tensors.values().map(|place| &place.stored.shape);
    Ok(shapes.map(|shape| shape.iter().product::<usize>()).sum())
}

/// The weight files of a model.
pub(crate) struct Files {
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, Place>,
    /// The file that says what there is: named where something is missing.
    listing: PathBuf,
}

/// Where a tensor lies, and whether it was taken.
struct Place {
    file: usize,
    stored: Stored,
    taken: bool,
}

impl Files {
    /// The weights of a model folder: safetensors where there are any, else a pickle, else GGUF.
    /// `folder` may be a GGUF file itself.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        if folder.is_file() {
            return Self::single(folder);
        }
        for (single, index) in [(SINGLE, INDEX), (PICKLE, PICKLE_INDEX)] {
            let single = folder.join(single);
            if single.is_file() {
                return Self::single(&single);
            }
            let index = folder.join(index);
            if index.is_file() {
                return Self::sharded(folder, &index);
            }
        }
        if let Some(file) = gguf_file(folder)? {
            return Self::single(&file);
        }
        let others = ["tf_model.h5", "flax_model.msgpack", "model.onnx"];
        let other = others.iter().find(|name| folder.join(name).is_file());
        Err(Error::NoWeights {
            folder: folder.into(),
            other: other.map(|name| (*name).to_owned()),
        })
    }

    /// One file.
    pub(crate) fn single(file: &Path) -> Result<Self, Error> {
        let mut files = Self {
            files: Vec::new(),
            tensors: BTreeMap::new(),
            listing: file.into(),
        };
        files.add(file)?;
        Ok(files)
    }

    /// The parts that an index names, each with the tensors that the index says.
    fn sharded(folder: &Path, index: &Path) -> Result<Self, Error> {
        let mut files = Self {
            files: Vec::new(),
            tensors: BTreeMap::new(),
            listing: index.into(),
        };
        for (part, tensors) in read_index(index)? {
            let part = folder.join(part);
            let number = files.files.len();
            files.add(&part)?;
            for tensor in tensors {
                if files
                    .tensors
                    .get(&tensor)
                    .is_none_or(|place| place.file != number)
                {
                    return Err(Error::MissingTensor { file: part, tensor });
                }
            }
        }
        Ok(files)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let read = |source| Error::Read {
            file: path.into(),
            source,
        };
        let mut file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let tensors = match path.extension().and_then(|ending| ending.to_str()) {
            Some("bin") => pytorch::tensors(path, &mut file, length)?,
            Some("gguf") => gguf::tensors(path, length)?,
            _ => safetensors::tensors(path, &mut file, length)?,
        };
        for (name, stored) in tensors {
            let place = Place {
                file: self.files.len(),
                stored,
                taken: false,
            };
            self.tensors.insert(modern_name(name), place);
        }
        self.files.push((path.into(), file));
        Ok(())
    }

    /// Whether there is a tensor of this name: a checkpoint of a bare model lacks the prefix
    /// (`transformer.`, `roberta.`) that one with a head has.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor of the shape expected, as f32.
    pub(crate) fn take(
        &mut self,
        name: &str,
        shape: &[usize],
        device: &Device,
    ) -> Result<Tensor, Error> {
        let Some(place) = self.tensors.get_mut(name) else {
            return Err(Error::MissingTensor {
                file: self.listing.clone(),
                tensor: name.into(),
            });
        };
        place.taken = true;
        let stored = &place.stored;
        let (path, file) = &mut self.files[place.file];
        if stored.shape != shape {
            return Err(Error::Shape {
                file: path.clone(),
                tensor: name.into(),
                expected: shape.into(),
                found: stored.shape.clone(),
            });
        }
        if let Element::Other(found) = &stored.element {
            return Err(Error::Type {
                file: path.clone(),
                tensor: name.into(),
                found: found.clone(),
            });
        }
        let values = stored.read(file).map_err(|source| Error::Read {
            file: path.clone(),
            source,
        })?;
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    /// Refuses tensors that nobody took, but for those that `ignored` names.
    pub(crate) fn finish(self, ignored: impl Fn(&str) -> bool) -> Result<(), Error> {
        let left = self.tensors.iter();
        match left
            .into_iter()
            .find(|(name, place)| !place.taken && !ignored(name))
        {
            Some((name, place)) => Err(Error::SurplusTensor {
                file: self.files[place.file].0.clone(),
                tensor: name.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// The GGUF file of a folder, if there is one.
fn gguf_file(folder: &Path) -> Result<Option<PathBuf>, Error> {
    let read = |source| Error::Read {
        file: folder.into(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|ending| ending == "gguf") {
            found.push(path);
        }
    }
    found.sort();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(Error::SeveralModels {
            folder: folder.into(),
            files: found
                .iter()
                .filter_map(|path| path.file_name())
                .map(|name| name.to_string_lossy())
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// The name that a tensor has today. Files from TensorFlow's days call the parameters of a layer
/// norm gamma and beta; transformers renames them, too.
fn modern_name(name: String) -> String {
    for (old, new) in [
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("LayerNorm.beta", "LayerNorm.bias"),
    ] {
        if let Some(stem) = name.strip_suffix(old) {
            return format!("{stem}{new}");
        }
    }
    name
}

/// The parts of an index, in the order in which it names them, and the tensors of each.
fn read_index(index: &Path) -> Result<Vec<(String, Vec<String>)>, Error> {
    let text = fs::read_to_string(index).map_err(|source| Error::Read {
        file: index.into(),
        source,
    })?;
    let broken = |message: String| Error::Broken {
        file: index.into(),
        message,
    };
    let value: Value = serde_json::from_str(&text).map_err(|e| broken(format!("not JSON: {e}")))?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| broken("has no `weight_map`".into()))?;
    let mut parts: Vec<(String, Vec<String>)> = Vec::new();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (tensor, part) in map {
        // A part lies in the folder itself: an index that points elsewhere is refused.
        let part = part
            .as_str()
            .filter(|name| !name.contains(['/', '\\']) && !name.starts_with('.'))
            .ok_or_else(|| broken("`weight_map` names no file of this folder".into()))?;
        let number = *numbers.entry(part).or_insert(parts.len());
        if number == parts.len() {
            parts.push((part.to_owned(), Vec::new()));
        }
        parts[number].1.push(modern_name(tensor.clone()));
    }
    Ok(parts)
}
