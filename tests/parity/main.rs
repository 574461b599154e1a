//! Do models, losses and optimizer steps match the reference numbers?
//!
//! Sources, versions and tolerances: `tests/golden/training/README.md`. With `RLHF_GOLDENS` set
//! to the folder of all goldens the comparison covers every logit and every weight; with
//! `RLHF_PEER_PYTHON` set to a Python that has torch and transformers, what we save is loaded
//! there; with `RLHF_TEST_DEVICE=cuda` models compute on a GPU.

mod adapters;
mod dpo;
mod encoders;
mod files;
mod forward;
mod peer;
mod reward;
mod rl;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use candle_core::{Device, Tensor};
use rlhf::models::{self, LanguageModel, Packed};
use serde_json::Value;

/// Relative above 1, absolute below: the goldens' own tolerance.
const TOLERANCE: f64 = 1e-4;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden")
        .join(path)
}

fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(golden(path)).expect("golden file");
    serde_json::from_str(&text).expect("golden file is JSON")
}

/// The folder of all goldens, where the machine has one.
fn all_goldens() -> Option<PathBuf> {
    std::env::var_os("RLHF_GOLDENS")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
}

/// The tiny language models: one for each architecture.
const LANGUAGE_MODELS: [&str; 3] = ["tiny-llama", "tiny-qwen2", "tiny-gpt2-code"];

/// Where models compute: the CPU, or what `RLHF_TEST_DEVICE` names, `cuda`.
fn device() -> Device {
    static DEVICE: LazyLock<Device> =
        LazyLock::new(|| match std::env::var("RLHF_TEST_DEVICE").as_deref() {
            Err(_) | Ok("cpu") => Device::Cpu,
            Ok("cuda") => models::cuda().expect("a CUDA device, and a build for it"),
            Ok(other) => panic!("RLHF_TEST_DEVICE is `{other}`: expected cpu or cuda"),
        });
    DEVICE.clone()
}

fn load(model: &str) -> LanguageModel {
    models::load(&golden(&format!("models/{model}")), &device()).expect("loads")
}

/// A golden's padded batch: its rows without padding, and where each token stood.
fn unpadded(expected: &Value) -> (Packed, Vec<Vec<usize>>) {
    let mask: Vec<Vec<u8>> = lists(&expected["attention_mask"])
        .iter()
        .map(|row| row.iter().map(|m| *m as u8).collect())
        .collect();
    Packed::from_padded(&lists(&expected["input_ids"]), &mask).expect("a batch")
}

/// A file of the full goldens, where the machine has them.
fn full_golden(file: &str) -> Option<HashMap<String, Tensor>> {
    let file = all_goldens()?.join(file);
    Some(candle_core::safetensors::load(file, &Device::Cpu).expect("golden file"))
}

fn floats(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|x| x.as_f64().expect("a number"))
        .collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|x| x.as_u64().expect("an id") as u32)
        .collect()
}

fn lists(value: &Value) -> Vec<Vec<u32>> {
    value.as_array().expect("a list").iter().map(ids).collect()
}

#[track_caller]
fn close(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
        "{what}: {found} for {expected}"
    );
}

#[track_caller]
fn all_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        close(*found, *expected, &format!("{what}[{i}]"));
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let values = tensor
        .flatten_all()
        .and_then(|t| t.to_vec1::<f32>())
        .expect("an f32 tensor");
    values.into_iter().map(f64::from).collect()
}
