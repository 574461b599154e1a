//! A model folder that is being read: its configuration, and its weights under the names that the
//! model has with a head.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;

use super::spec::Spec;
use super::weights::{self, Error, Files};

pub(super) struct Checkpoint {
    folder: PathBuf,
    pub config: Value,
    pub spec: Spec,
    files: Files,
    /// Whether the file is of the bare backbone, whose names lack the prefix.
    bare: bool,
}

impl Checkpoint {
    /// Reads the configuration and opens the weight files.
    ///
    /// # Errors
    /// An architecture that is not supported, besides what [`weights::read_config`] and
    /// [`Files::open`] refuse.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let config = weights::read_config(folder)?;
        let kind = config.get("model_type").and_then(Value::as_str);
        if !kind.is_some_and(|kind| Spec::model_types().any(|known| known == kind)) {
            return Err(unsupported(folder, &config));
        }
        let spec = Spec::from_json(&config).map_err(|source| Error::Config {
            file: weights::config_file(folder),
            source,
        })?;
        let files = Files::open(folder)?;
        let embedding = format!("{}{}.weight", spec.names.prefix, spec.names.embedding);
        Ok(Self {
            folder: folder.into(),
            bare: !files.contains(&embedding),
            config,
            spec,
            files,
        })
    }

    /// Whether the class in `architectures` ends with one of these; true where there is none.
    pub fn class_ends_with(&self, endings: &[&str]) -> bool {
        let class = self.config.get("architectures").and_then(|a| a.get(0));
        class
            .and_then(Value::as_str)
            .is_none_or(|class| endings.iter().any(|end| class.ends_with(end)))
    }

    /// The error that names the architecture and the class.
    pub fn unsupported(&self) -> Error {
        unsupported(&self.folder, &self.config)
    }

    fn stored_name<'a>(&self, name: &'a str) -> &'a str {
        match self.bare {
            true => name.strip_prefix(self.spec.names.prefix).unwrap_or(name),
            false => name,
        }
    }

    /// Whether the tensor called `name` in a model with a head is there.
    pub fn contains(&self, name: &str) -> bool {
        self.files.contains(self.stored_name(name))
    }

    /// The tensor called `name` in a model with a head, as f32.
    pub fn take(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor, Error> {
        self.files.take(self.stored_name(name), shape, device)
    }

    /// Refuses tensors that nobody took, but for the architecture's constants and those that
    /// `ignored` names.
    pub fn finish(self, ignored: impl Fn(&str) -> bool) -> Result<(), Error> {
        let constants = self.spec.names.constants;
        self.files
            .finish(|name| ignored(name) || constants.iter().any(|end| name.ends_with(end)))
    }
}

/// Whether a tensor belongs to a head (of language models, masked or not, or of a classifier), or
/// to the dense layer behind BERT's first state.
pub(super) fn is_head(name: &str) -> bool {
    const HEADS: [&str; 6] = [
        "lm_head.",
        "cls.",
        "classifier.",
        "score.",
        "qa_outputs.",
        "pooler.",
    ];
    HEADS.iter().any(|head| name.starts_with(head)) || name.contains(".pooler.")
}

fn unsupported(folder: &Path, config: &Value) -> Error {
    let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
    let model_type = text(config.get("model_type"));
    let architecture = text(config.get("architectures").and_then(|a| a.get(0)));
    let found = match (model_type, architecture) {
        (Some(kind), Some(class)) => format!("{kind} ({class})"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "none".into(),
    };
    Error::Architecture {
        file: weights::config_file(folder),
        found,
    }
}
