//! A model of SmolLM2-135M's shape that needs no download: its weights and texts are random.

use std::path::PathBuf;

use candle_core::Device;
use rlhf::models::{LlamaConfig, Model};
use serde_json::json;
use xtask::workspace::target_dir;

/// SmolLM2-135M's.
pub fn shape() -> LlamaConfig {
    LlamaConfig {
        vocab_size: 49152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        max_position_embeddings: 8192,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        tie_word_embeddings: true,
        bos_token_id: Some(1),
        eos_token_id: vec![2],
        pad_token_id: Some(2),
    }
}

/// A fixed row of token ids that looks like nothing.
pub fn tokens(count: usize, seed: u64) -> Vec<u32> {
    let mix = |i: u64| (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) % 49_000;
    (0..count as u64)
        .map(|i| 100 + mix(i + 1000 * seed) as u32)
        .collect()
}

/// The model's folder, which transformers loads as well. A token is a word, `t` and its number, so
/// that both sides' texts have as many tokens as a benchmark wants.
pub fn folder() -> PathBuf {
    let folder = target_dir().expect("there is one").join("bench-model");
    let model = shape().init(1, &Device::Cpu).expect("room for the weights");
    let words = (0..shape().vocab_size).map(|id| (format!("t{id}"), id.into()));
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "WordLevel",
            "vocab": words.collect::<serde_json::Map<_, _>>(),
            "unk_token": "t0",
        },
    });
    let specials = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "t1",
        "eos_token": "t2",
        "pad_token": "t3",
        "unk_token": "t0",
    });
    let write_tokenizer = |folder: &std::path::Path| {
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string())?;
        std::fs::write(folder.join("tokenizer_config.json"), specials.to_string())
    };
    model
        .save(&folder, &write_tokenizer)
        .expect("the model is saved");
    folder
}
