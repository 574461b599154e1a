//! Hugging Face folders: configuration and safetensors, in and out.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::Parameter;

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Values of `model_type` that can be loaded.
pub const SUPPORTED: &[&str] = &["llama"];

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
    #[error("`{}`: {source}", .file.display())]
    Config { file: PathBuf, source: ConfigError },
    #[error("`{}`: unsupported architecture `{found}`", .file.display())]
    Architecture { file: PathBuf, found: String },
    #[error("`{}`: {message}", .file.display())]
    Broken { file: PathBuf, message: String },
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
                "`{file}` is not read yet; load and save the model with transformers to get `{SINGLE}`"
            )),
            Self::NoWeights { other: None, .. } => Some(format!(
                "weights lie in `{SINGLE}`, or in parts named by `{INDEX}`"
            )),
            Self::Architecture { .. } => {
                Some(format!("supported `model_type`: {}", SUPPORTED.join(", ")))
            }
            Self::Broken { .. } => Some(
                "the file may be cut short: compare its size with the original, or fetch it again"
                    .into(),
            ),
            Self::MissingTensor { .. } | Self::SurplusTensor { .. } | Self::Shape { .. } => Some(
                format!("`{CONFIG}` and the weights seem to come from different models"),
            ),
            Self::Type { .. } => Some("supported types: F32, BF16, F16".into()),
            Self::Config { source, .. } => source.hint(),
            Self::Read { .. } | Self::Write { .. } | Self::Device(_) => None,
        }
    }
}

/// What can be wrong with a `config.json`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("not a JSON object: {0}")]
    Json(String),
    #[error("key `{0}` is missing")]
    Missing(String),
    #[error("key `{key}` is {found}, which makes no sense")]
    Invalid { key: String, found: String },
    #[error("`{key}` is `{found}`, which is not supported")]
    Unsupported {
        key: String,
        found: String,
        supported: String,
    },
}

impl ConfigError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { key, supported, .. } => {
                Some(format!("supported `{key}`: {supported}"))
            }
            _ => None,
        }
    }
}

/// Reads keys of a `config.json`.
pub(super) struct ConfigReader<'a>(pub &'a Value);

impl ConfigReader<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    /// A positive integer.
    pub(super) fn size(&self, key: &str) -> Result<usize, ConfigError> {
        let value = self
            .get(key)
            .ok_or_else(|| ConfigError::Missing(key.into()))?;
        value
            .as_u64()
            .filter(|n| *n > 0)
            .map(|n| n as usize)
            .ok_or_else(|| ConfigError::Invalid {
                key: key.into(),
                found: value.to_string(),
            })
    }

    pub(super) fn size_or(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        if self.get(key).is_some() {
            self.size(key)
        } else {
            Ok(default)
        }
    }

    pub(super) fn number_or(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| ConfigError::Invalid {
                key: key.into(),
                found: value.to_string(),
            }),
        }
    }

    /// One token id, several, or none.
    pub(super) fn ids(&self, key: &str) -> Vec<u32> {
        match self.get(key) {
            Some(Value::Array(ids)) => ids
                .iter()
                .filter_map(Value::as_u64)
                .map(|id| id as u32)
                .collect(),
            Some(id) => id.as_u64().map(|id| id as u32).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The key is absent or has the one value that is supported.
    pub(super) fn require(&self, key: &str, supported: &Value) -> Result<(), ConfigError> {
        match self.get(key) {
            Some(found) if found != supported => Err(ConfigError::Unsupported {
                key: key.into(),
                found: found
                    .as_str()
                    .map_or_else(|| found.to_string(), str::to_owned),
                supported: supported
                    .as_str()
                    .map_or_else(|| supported.to_string(), str::to_owned),
            }),
            _ => Ok(()),
        }
    }
}

/// Reads a folder's `config.json`.
///
/// # Errors
/// No folder, no configuration, or not JSON.
pub fn read_config(folder: &Path) -> Result<Value, Error> {
    if !folder.is_dir() {
        return Err(Error::NoFolder(folder.into()));
    }
    let file = folder.join(CONFIG);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoConfig(folder.into()));
        }
        Err(source) => return Err(Error::Read { file, source }),
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(Error::Config {
            file,
            source: ConfigError::Json("found another value".into()),
        }),
        Err(e) => Err(Error::Config {
            file,
            source: ConfigError::Json(e.to_string()),
        }),
    }
}

/// Refuses a model that is not of the given type with a language-model head.
pub(super) fn require_architecture(
    folder: &Path,
    config: &Value,
    kind: &str,
    class: &str,
) -> Result<(), Error> {
    let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
    let model_type = text(config.get("model_type"));
    let architecture = text(config.get("architectures").and_then(|a| a.get(0)));
    let fits =
        model_type.as_deref() == Some(kind) && architecture.as_deref().is_none_or(|a| a == class);
    if fits {
        return Ok(());
    }
    let found = match (model_type, architecture) {
        (Some(kind), Some(class)) => format!("{kind} ({class})"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "none".into(),
    };
    Err(Error::Architecture {
        file: folder.join(CONFIG),
        found,
    })
}

/// The weight files of a folder, memory-mapped while they are read.
pub(crate) struct Files {
    files: Vec<(PathBuf, MmapedSafetensors)>,
    /// Where each tensor lies, and whether it was taken.
    tensors: BTreeMap<String, (usize, bool)>,
    /// The file that says what there is: named where something is missing.
    listing: PathBuf,
}

impl Files {
    /// The weights of a model folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let (listing, paths) = weight_files(folder)?;
        Self::map_all(listing, paths)
    }

    /// One safetensors file.
    pub(crate) fn single(file: &Path) -> Result<Self, Error> {
        Self::map_all(file.into(), vec![file.into()])
    }

    fn map_all(listing: PathBuf, paths: Vec<PathBuf>) -> Result<Self, Error> {
        let mut files = Vec::new();
        let mut tensors = BTreeMap::new();
        for path in paths {
            let mapped = map(&path)?;
            for (name, _) in mapped.tensors() {
                tensors.insert(name, (files.len(), false));
            }
            files.push((path, mapped));
        }
        Ok(Self {
            files,
            tensors,
            listing,
        })
    }

    /// A tensor of the shape expected, as f32.
    pub(crate) fn take(
        &mut self,
        name: &str,
        shape: &[usize],
        device: &Device,
    ) -> Result<Tensor, Error> {
        let Some((number, taken)) = self.tensors.get_mut(name) else {
            return Err(Error::MissingTensor {
                file: self.listing.clone(),
                tensor: name.into(),
            });
        };
        *taken = true;
        let (file, mapped) = &self.files[*number];
        let view = mapped.get(name)?;
        if view.shape() != shape {
            return Err(Error::Shape {
                file: file.clone(),
                tensor: name.into(),
                expected: shape.into(),
                found: view.shape().into(),
            });
        }
        use safetensors::Dtype;
        if !matches!(view.dtype(), Dtype::F32 | Dtype::BF16 | Dtype::F16) {
            return Err(Error::Type {
                file: file.clone(),
                tensor: name.into(),
                found: format!("{:?}", view.dtype()),
            });
        }
        Ok(view.load(device)?.to_dtype(DType::F32)?)
    }

    /// Refuses tensors that nobody took, but for those that `ignored` names.
    pub(crate) fn finish(self, ignored: impl Fn(&str) -> bool) -> Result<(), Error> {
        match self
            .tensors
            .iter()
            .find(|(name, (_, taken))| !taken && !ignored(name))
        {
            Some((name, (number, _))) => Err(Error::SurplusTensor {
                file: self.files[*number].0.clone(),
                tensor: name.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// The file that lists a folder's tensors, and the files that hold them.
fn weight_files(folder: &Path) -> Result<(PathBuf, Vec<PathBuf>), Error> {
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok((single.clone(), vec![single]));
    }
    let index = folder.join(INDEX);
    if !index.is_file() {
        let others = [
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "model.gguf",
        ];
        let other = others
            .iter()
            .find(|name| folder.join(name).is_file())
            .map(|name| (*name).to_owned());
        return Err(Error::NoWeights {
            folder: folder.into(),
            other,
        });
    }
    let text = fs::read_to_string(&index).map_err(|source| Error::Read {
        file: index.clone(),
        source,
    })?;
    let broken = |message: String| Error::Broken {
        file: index.clone(),
        message,
    };
    let value: Value = serde_json::from_str(&text).map_err(|e| broken(format!("not JSON: {e}")))?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| broken("has no `weight_map`".into()))?;
    let mut paths = Vec::new();
    for name in map.values() {
        // A part lies in the folder itself: an index that points elsewhere is refused.
        let name = name
            .as_str()
            .filter(|name| !name.contains(['/', '\\']) && !name.starts_with('.'));
        let path = folder
            .join(name.ok_or_else(|| broken("`weight_map` names no file of this folder".into()))?);
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Ok((index, paths))
}

fn map(path: &Path) -> Result<MmapedSafetensors, Error> {
    let length = fs::metadata(path)
        .map_err(|source| Error::Read {
            file: path.into(),
            source,
        })?
        .len();
    #[allow(
        unsafe_code,
        reason = "a memory map is only as safe as the file it shows"
    )]
    // SAFETY: the file is read while this map lives; who changes a model under a running load
    // gets other weights, or a bus error if he cuts it short.
    unsafe { MmapedSafetensors::new(path) }.map_err(|e| {
        use safetensors::SafeTensorError as S;
        let mut cause: &(dyn std::error::Error + 'static) = &e;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let kind = match &e {
            candle_core::Error::SafeTensor(kind) => Some(kind),
            candle_core::Error::WithPath { inner, .. } => match &**inner {
                candle_core::Error::SafeTensor(kind) => Some(kind),
                _ => None,
            },
            _ => None,
        };
        let message = match kind {
            Some(S::HeaderTooSmall | S::InvalidHeaderLength | S::MetadataIncompleteBuffer) => {
                format!("is cut short, or no safetensors file ({length} bytes)")
            }
            Some(kind) => format!("is no safetensors file: {kind}"),
            None => format!("cannot be mapped: {cause}"),
        };
        Error::Broken {
            file: path.into(),
            message,
        }
    })
}

/// Writes a model folder under another name and renames it.
///
/// # Errors
/// [`Error::Write`]; what was there before is then still there.
pub(super) fn save(
    folder: &Path,
    config: &Value,
    generation: &Value,
    parameters: &[&Parameter],
    extras: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<(), Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Write {
        folder: folder.into(),
        message: e.to_string(),
    };
    let mut config = config.clone();
    if let Some(keys) = config.as_object_mut() {
        keys.remove("torch_dtype");
        keys.insert("dtype".into(), json!("float32"));
    }
    replace_folder(folder, |partial| {
        extras(partial)?;
        write_json(&partial.join(CONFIG), &config)?;
        write_json(&partial.join("generation_config.json"), generation)?;
        write_safetensors(
            &partial.join(SINGLE),
            parameters.iter().map(|p| (p.name.as_str(), &p.value)),
            &[("format", "pt")],
        )
    })
    .map_err(|e| failed(&e))
}

/// Writes tensors and text metadata as one safetensors file.
///
/// # Errors
/// The file cannot be written.
pub fn write_safetensors<'a>(
    file: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    metadata: &[(&str, &str)],
) -> io::Result<()> {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    let tensors: Vec<(&str, &Tensor)> = tensors.collect();
    safetensors::serialize_to_file(tensors, Some(metadata), file).map_err(io::Error::other)
}

/// Writes indented JSON with a newline at its end.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(file: &Path, value: &Value) -> io::Result<()> {
    fs::write(file, serde_json::to_string_pretty(value)? + "\n")
}

/// Has `write` fill a folder beside `folder`, then puts it in its place.
///
/// # Errors
/// Whatever `write` met, or a rename; the partial folder is removed.
pub fn replace_folder(
    folder: &Path,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let name = folder
        .file_name()
        .ok_or_else(|| io::Error::other("the path names no folder"))?
        .to_string_lossy();
    let parent = folder
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let beside = |kind: &str| parent.join(format!(".{name}.{kind}-{}", std::process::id()));
    let (partial, old) = (beside("partial"), beside("old"));
    for left_over in [&partial, &old] {
        if left_over.exists() {
            fs::remove_dir_all(left_over)?;
        }
    }
    fs::create_dir(&partial)?;
    let result = write(&partial).and_then(|()| {
        if folder.exists() {
            fs::rename(folder, &old)?;
            if let Err(e) = fs::rename(&partial, folder) {
                fs::rename(&old, folder)?;
                return Err(e);
            }
            return fs::remove_dir_all(&old);
        }
        fs::rename(&partial, folder)
    });
    if result.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&partial);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{CausalLm, Llama, LlamaConfig};

    fn tiny() -> LlamaConfig {
        LlamaConfig {
            vocab_size: 20,
            hidden_size: 8,
            intermediate_size: 12,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 4,
            max_position_embeddings: 16,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            bos_token_id: None,
            eos_token_id: vec![2],
            pad_token_id: Some(0),
        }
    }

    fn saved(change: impl FnOnce(&Path)) -> (tempfile::TempDir, Result<Llama, Error>) {
        let root = tempfile::tempdir().expect("temporary folder");
        let folder = root.path().join("model");
        let model = Llama::init(tiny(), 1, &Device::Cpu).expect("init");
        model.save(&folder, &|_| Ok(())).expect("save");
        change(&folder);
        let loaded = crate::models::load(&folder, &Device::Cpu);
        (root, loaded)
    }

    #[track_caller]
    fn check(change: impl FnOnce(&Path), message: &str, hint: &str) {
        let (_root, loaded) = saved(change);
        let error = loaded.expect_err("must be refused");
        assert!(error.to_string().contains(message), "{error}");
        assert!(
            error.hint().unwrap_or_default().contains(hint),
            "{:?}",
            error.hint()
        );
    }

    fn edit(folder: &Path, from: &str, to: &str) {
        let file = folder.join(CONFIG);
        let text = fs::read_to_string(&file).expect("config");
        assert!(text.contains(from), "{text}");
        fs::write(file, text.replace(from, to)).expect("config");
    }

    // Would catch bits lost between saving and loading, and a leftover partial folder.
    #[test]
    fn a_saved_model_is_the_same() {
        let (root, loaded) = saved(|_| ());
        let loaded = loaded.expect("loads");
        let model = Llama::init(tiny(), 1, &Device::Cpu).expect("init");
        assert_eq!(loaded.config(), &tiny());
        for (a, b) in model.parameters().iter().zip(loaded.parameters()) {
            assert_eq!(a.name, b.name);
            let bits = |t: &Tensor| {
                t.flatten_all()
                    .and_then(|t| t.to_vec1::<f32>())
                    .expect("f32")
            };
            assert_eq!(bits(&a.value), bits(&b.value));
        }
        assert_eq!(fs::read_dir(root.path()).expect("folder").count(), 1);
        // Saving over it replaces the folder.
        loaded
            .save(&root.path().join("model"), &|_| Ok(()))
            .expect("save again");
        assert_eq!(fs::read_dir(root.path()).expect("folder").count(), 1);
    }

    // Would catch a failed save that destroys what was there.
    #[test]
    fn a_failed_save_leaves_the_old_folder() {
        let (root, loaded) = saved(|_| ());
        let folder = root.path().join("model");
        let result = loaded
            .expect("loads")
            .save(&folder, &|_| Err(io::Error::other("disk full")));
        assert!(result.expect_err("fails").to_string().contains("disk full"));
        assert!(crate::models::load(&folder, &Device::Cpu).is_ok());
        assert_eq!(fs::read_dir(root.path()).expect("folder").count(), 1);
    }

    // Would catch a bad folder that is loaded, or refused without naming the culprit.
    #[test]
    fn bad_folders_are_named() {
        check(
            |f| fs::remove_dir_all(f).expect("remove"),
            "does not exist",
            "save_pretrained",
        );
        check(
            |f| fs::remove_file(f.join(CONFIG)).expect("remove"),
            "no `config.json`",
            "save_pretrained",
        );
        check(
            |f| fs::write(f.join(CONFIG), "[").expect("write"),
            "config.json`: not a JSON object",
            "",
        );
        check(
            |f| fs::remove_file(f.join(SINGLE)).expect("remove"),
            "holds no weights",
            SINGLE,
        );
        check(
            |f| fs::rename(f.join(SINGLE), f.join("pytorch_model.bin")).expect("rename"),
            "holds no weights",
            "`pytorch_model.bin` is not read yet",
        );
        check(
            |f| edit(f, "\"model_type\": \"llama\"", "\"model_type\": \"bloom\""),
            "unsupported architecture `bloom",
            "supported `model_type`: llama",
        );
        check(
            |f| edit(f, "\"silu\"", "\"gelu\""),
            "`hidden_act` is `gelu`",
            "silu",
        );
        check(
            |f| edit(f, "\"rope_type\": \"default\"", "\"rope_type\": \"llama3\""),
            "`rope_type` is `llama3`",
            "default",
        );
        check(
            |f| edit(f, "\"hidden_size\": 8,", ""),
            "key `hidden_size` is missing",
            "",
        );
        check(
            |f| edit(f, "\"intermediate_size\": 12", "\"intermediate_size\": 13"),
            "tensor `model.layers.0.mlp.gate_proj.weight` has shape [12, 8], expected [13, 8]",
            "different models",
        );
        check(
            |f| edit(f, "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2"),
            "tensor `model.layers.1.input_layernorm.weight` is missing",
            "different models",
        );
        check(
            |f| {
                edit(
                    f,
                    "\"tie_word_embeddings\": true",
                    "\"tie_word_embeddings\": false",
                )
            },
            "tensor `lm_head.weight` is missing",
            "different models",
        );
        let cut = |f: &Path, keep: u64| {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(f.join(SINGLE))
                .expect("open");
            file.set_len(keep).expect("cut");
        };
        check(
            |f| cut(f, 3000),
            "model.safetensors`: is cut short",
            "cut short",
        );
        check(
            |f| cut(f, 5),
            "model.safetensors`: is cut short",
            "cut short",
        );
        check(
            |f| fs::write(f.join(SINGLE), [1u8; 100]).expect("write"),
            "no safetensors file",
            "",
        );
    }

    fn rewrite(folder: &Path, change: impl Fn(String, Tensor) -> Vec<(String, String, Tensor)>) {
        let all = candle_core::safetensors::load(folder.join(SINGLE), &Device::Cpu).expect("load");
        let mut files: BTreeMap<String, Vec<(String, Tensor)>> = BTreeMap::new();
        for (name, tensor) in all {
            for (file, name, tensor) in change(name, tensor) {
                files.entry(file).or_default().push((name, tensor));
            }
        }
        fs::remove_file(folder.join(SINGLE)).expect("remove");
        for (file, tensors) in files {
            let tensors = tensors.iter().map(|(n, t)| (n.as_str(), t));
            write_safetensors(&folder.join(file), tensors, &[]).expect("write");
        }
    }

    // Would catch a tensor that is silently dropped, or inverse frequencies that are not.
    #[test]
    fn surplus_tensors_are_named() {
        let add = |extra: &'static str| {
            move |f: &Path| {
                rewrite(f, |name, t| {
                    let mut all = vec![(SINGLE.to_owned(), name.clone(), t.clone())];
                    if name == "model.norm.weight" {
                        all.push((SINGLE.to_owned(), extra.to_owned(), t));
                    }
                    all
                })
            }
        };
        check(
            add("model.layers.7.norm.weight"),
            "tensor `model.layers.7.norm.weight` belongs to no part",
            "different",
        );
        assert!(
            saved(add("model.layers.0.self_attn.rotary_emb.inv_freq"))
                .1
                .is_ok()
        );
        assert!(saved(add("lm_head.weight")).1.is_ok());
    }

    // Would catch shards that are not found, low-precision weights that are not widened, and
    // integers taken for weights.
    #[test]
    fn shards_and_types_are_read() {
        let shard = |dtype: DType| {
            move |f: &Path| {
                let place = |name: &str| {
                    format!(
                        "model-0000{}-of-00002.safetensors",
                        1 + usize::from(name.contains("layers"))
                    )
                };
                let names: Vec<String> = MmapNames::of(&f.join(SINGLE));
                rewrite(f, |name, t| {
                    vec![(place(&name), name, t.to_dtype(dtype).expect("dtype"))]
                });
                let map: serde_json::Map<String, Value> = names
                    .into_iter()
                    .map(|n| (n.clone(), json!(place(&n))))
                    .collect();
                write_json(&f.join(INDEX), &json!({"metadata": {}, "weight_map": map}))
                    .expect("index");
            }
        };
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let model = saved(shard(dtype)).1.expect("loads");
            assert!(
                model
                    .parameters()
                    .iter()
                    .all(|p| p.value.dtype() == DType::F32)
            );
        }
        check(shard(DType::I64), "is stored as I64", "BF16");
        check(
            |f| {
                shard(DType::F32)(f);
                fs::remove_file(f.join("model-00002-of-00002.safetensors")).expect("remove");
            },
            "model-00002-of-00002.safetensors",
            "",
        );
        check(
            |f| {
                shard(DType::F32)(f);
                write_json(
                    &f.join(INDEX),
                    &json!({"weight_map": {"a": "../b.safetensors"}}),
                )
                .expect("index");
            },
            "names no file of this folder",
            "",
        );
    }

    struct MmapNames;

    impl MmapNames {
        fn of(file: &Path) -> Vec<String> {
            map(file)
                .expect("maps")
                .tensors()
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        }
    }
}
