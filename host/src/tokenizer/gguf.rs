//! The tokenizer in a GGUF file, put together as a `tokenizer.json`.
//!
//! Byte-level BPE alone (`tokenizer.ggml.model = gpt2`): SmolLM2, Qwen2, Llama 3 and GPT-2 have
//! it. How words are split, llama.cpp knows by name (`tokenizer.ggml.pre`).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Error;
use super::parts::QWEN2_WORDS;
use crate::gguf::{Field, Header};

/// What Llama 3 calls a word: Qwen2's, with numbers in groups of up to three digits.
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Token types (llama.cpp's `llama_token_type`).
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The GGUF file that `path` is, or that is the only one in it.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    let is_gguf = |path: &Path| path.extension().is_some_and(|ending| ending == "gguf");
    if path.is_file() {
        return is_gguf(path).then(|| path.to_owned());
    }
    let entries = std::fs::read_dir(path).ok()?.flatten();
    let mut files = entries
        .map(|entry| entry.path())
        .filter(|path| is_gguf(path));
    files.next().filter(|_| files.next().is_none())
}

/// The `tokenizer.json` and `tokenizer_config.json` that a file amounts to.
pub(super) fn read(file: &Path) -> Result<(Value, Value), Error> {
    let broken = |message: String| Error::Broken {
        file: file.into(),
        message,
    };
    let header = Header::read(file).map_err(|e| broken(e.to_string()))?;
    let unknown = |found: String| Error::Kind {
        folder: file.into(),
        found,
    };
    let kind = header.text("tokenizer.ggml.model").unwrap_or("none");
    if kind != "gpt2" {
        return Err(unknown(kind.into()));
    }
    let list = |key: &str| {
        let key = format!("tokenizer.ggml.{key}");
        header
            .list(&key)
            .ok_or_else(|| broken(format!("has no `{key}`")))
    };
    let tokens: Vec<&str> = list("tokens")?.iter().filter_map(Field::text).collect();
    let vocabulary: Map<String, Value> = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| ((*token).to_owned(), id.into()))
        .collect();
    let mut merges = Vec::new();
    for merge in list("merges")? {
        let pair = merge.text().and_then(|merge| merge.split_once(' '));
        let (left, right) = pair.ok_or_else(|| broken(format!("has the merge {merge:?}")))?;
        merges.push(json!([left, right]));
    }
    let types = header.list("tokenizer.ggml.token_type").unwrap_or_default();
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(types).enumerate() {
        if let Some(kind @ (CONTROL | USER_DEFINED)) = kind.integer() {
            added.push(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind == CONTROL,
            }));
        }
    }
    let bytes = |words: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words});
    let split = |words: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false},
            bytes(false),
        ]})
    };
    let pre = header.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
    let (normalizer, words, whole_words) = match pre {
        "gpt-2" => (Value::Null, bytes(true), false),
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            let words = json!({"type": "Sequence", "pretokenizers": [digits, bytes(true)]});
            (Value::Null, words, false)
        }
        "qwen2" => (json!({"type": "NFC"}), split(QWEN2_WORDS), false),
        // A word that is a token is one, whatever the merges say.
        "llama-bpe" => (Value::Null, split(LLAMA3_WORDS), true),
        other => return Err(unknown(format!("{kind}, {other}"))),
    };
    let whole = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": words,
        "post_processor": null,
        "decoder": bytes(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": whole_words, "vocab": vocabulary, "merges": merges,
        },
    });
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
    });
    for (role, key) in [
        ("bos", "bos"),
        ("eos", "eos"),
        ("unk", "unknown"),
        ("pad", "padding"),
    ] {
        let id = header.integer(&format!("tokenizer.ggml.{key}_token_id"));
        let token = id.and_then(|id| tokens.get(usize::try_from(id).ok()?));
        if let Some(token) = token {
            config[format!("{role}_token")] = (*token).into();
        }
    }
    if let Some(template) = header.text("tokenizer.chat_template") {
        config["chat_template"] = template.into();
    }
    Ok((whole, config))
}
