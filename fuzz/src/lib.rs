//! What must hold for whatever bytes a file has: reading it never panics, and an error names the
//! file. Each function breaks where that does not hold.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rlhf::config::{self, Config, Layers};
use rlhf::plugin::{Component, Runtime};
use rlhf::tokenizer::Tokenizer;
use rlhf_sdk::{DataAdapter, ReadError, Source};

/// Rows that are read of one file: a damaged count is not an endless file.
const ROWS_MAX: usize = 10_000;

/// A file of these bytes, in a folder that stays as long as the process.
fn file(folder: &str, name: &str, bytes: &[u8]) -> PathBuf {
    static ROOT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let root = ROOT.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
    // Tests have threads, which must not write into each other's files.
    let thread = format!("{:?}", std::thread::current().id());
    let folder = root.path().join(thread).join(folder);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("the file can be written");
    path
}

/// An error is text, and says which file it is about.
fn check_error(path: &Path, error: &dyn std::fmt::Display) {
    let text = error.to_string();
    assert!(
        text.contains(&path.display().to_string()),
        "{} is not named: {text}",
        path.display()
    );
}

/// A configuration, in both of its forms.
pub fn config(bytes: &[u8]) {
    for name in ["run.toml", "run.json"] {
        let path = file("config", name, bytes);
        let mut layers = Layers::default();
        match layers.file(&path) {
            // Whether its values make sense is said by their keys.
            Ok(()) => drop(layers.over(&Config::default(), None)),
            Err(error) => check_error(&path, &error),
        }
    }
}

/// The weights of a model folder, in each form that they can have.
pub fn weights(bytes: &[u8]) {
    let device = rlhf::pipeline::device(config::Device::Cpu).expect("there is a CPU");
    for name in ["pytorch_model.bin", "model.safetensors", "model.gguf"] {
        let path = file(name, name, bytes);
        let folder = path.parent().expect("it lies in one");
        if name != "model.gguf" {
            std::fs::write(folder.join("config.json"), MODEL).expect("it can be written");
        }
        if let Err(error) = rlhf::models::load(folder, &device) {
            check_error(folder, &error);
        }
    }
}

/// The smallest model that golden weights could belong to.
const MODEL: &str = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"],
"vocab_size": 8, "hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1,
"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2,
"max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
"tie_word_embeddings": true}"#;

/// A tokenizer, and the model's settings beside it.
pub fn tokenizer(bytes: &[u8]) {
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let path = file(name, name, bytes);
        let folder = path.parent().expect("it lies in one");
        if let Err(error) = Tokenizer::from_folder(folder) {
            check_error(folder, &error);
        }
    }
    let path = file("settings", "config.json", bytes);
    let folder = path.parent().expect("it lies in one");
    if let Err(error) = rlhf::models::weights::read_config(folder) {
        check_error(folder, &error);
    }
}

/// A data file, by each adapter; it does not know the file's name, which the host adds.
pub fn rows(bytes: &[u8]) {
    read::<adapter_csv::Csv>(bytes);
    read::<adapter_json::Json>(bytes);
    read::<adapter_parquet::Parquet>(bytes);
}

fn read<A: DataAdapter>(bytes: &[u8]) {
    let Ok(mut adapter) = A::open(Source::from_bytes(bytes), A::Options::default()) else {
        return;
    };
    for _ in 0..ROWS_MAX {
        match adapter.next() {
            Ok(Some(_)) | Err(ReadError::Row(_)) => {}
            Ok(None) | Err(ReadError::End(_)) => break,
        }
    }
}

/// A component, up to its compiled code; nothing of it is run, and nothing kept.
pub fn plugin(bytes: &[u8]) {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new(None, 1).expect("the engine starts"));
    let path = file("plugin", "plugin.wasm", bytes);
    if let Err(error) = Component::load(runtime, &path) {
        check_error(&path, &error);
    }
}
