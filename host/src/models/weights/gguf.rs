//! GGUF: the configuration and the tensors of a model, under Hugging Face's names.

use std::path::Path;

use candle_core::quantized::GgmlDType;
use serde_json::{Value, json};

use super::Error;
use super::stored::{Element, Stored};
use crate::gguf::{Field, Header};

/// Architectures whose names are known here, and their classes in transformers.
const ARCHITECTURES: &[(&str, &str)] =
    &[("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM")];

/// Names outside the layers: llama.cpp's, and the checkpoint's.
const NAMES: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];
/// Names within a layer.
const LAYER_NAMES: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

fn header(path: &Path) -> Result<Header, Error> {
    Header::read(path).map_err(|e| Error::Broken {
        file: path.into(),
        message: e.to_string(),
    })
}

fn architecture(path: &Path, header: &Header) -> Result<(&'static str, &'static str), Error> {
    let found = header.text("general.architecture").unwrap_or("none");
    let known = ARCHITECTURES.iter().find(|(name, _)| *name == found);
    known.copied().ok_or_else(|| Error::Architecture {
        file: path.into(),
        found: found.into(),
    })
}

/// The `config.json` that the file's fields amount to.
pub(super) fn config(path: &Path) -> Result<Value, Error> {
    let header = header(path)?;
    let (kind, class) = architecture(path, &header)?;
    let integer = |key: &str| header.integer(&format!("{kind}.{key}"));
    let number = |key: &str| match header.fields.get(&format!("{kind}.{key}")) {
        Some(Field::Number(x)) => Some(*x),
        _ => None,
    };
    let token = |key: &str| header.integer(&format!("tokenizer.ggml.{key}_token_id"));
    let vocabulary = || header.list("tokenizer.ggml.tokens").map(|t| t.len() as i64);
    let tied = !header.tensors.iter().any(|t| t.name == "output.weight");
    let mut config = json!({
        "architectures": [class],
        "model_type": kind,
        "vocab_size": integer("vocab_size").or_else(vocabulary),
        "hidden_size": integer("embedding_length"),
        "intermediate_size": integer("feed_forward_length"),
        "num_hidden_layers": integer("block_count"),
        "num_attention_heads": integer("attention.head_count"),
        "num_key_value_heads": integer("attention.head_count_kv"),
        "hidden_act": "silu",
        "max_position_embeddings": integer("context_length"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "rope_theta": number("rope.freq_base").unwrap_or(10_000.0),
        "tie_word_embeddings": tied,
        "bos_token_id": token("bos"),
        "eos_token_id": token("eos"),
        "pad_token_id": token("padding"),
    });
    if let Some(width) = integer("attention.key_length").or_else(|| integer("rope.dimension_count"))
    {
        config["head_dim"] = width.into();
    }
    if let Some(scaling) = header.text(&format!("{kind}.rope.scaling.type"))
        && scaling != "none"
    {
        config["rope_scaling"] = json!({"rope_type": scaling});
    }
    Ok(config)
}

/// The tensors of a file of `length` bytes.
pub(super) fn tensors(path: &Path, length: u64) -> Result<Vec<(String, Stored)>, Error> {
    let header = header(path)?;
    let (kind, _) = architecture(path, &header)?;
    let heads = |key: &str| {
        let heads = header.integer(&format!("{kind}.attention.{key}"));
        heads
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0)
    };
    let queries = heads("head_count");
    let keys = heads("head_count_kv").or(queries);
    let mut all = Vec::new();
    for tensor in &header.tensors {
        let broken = |message: String| Error::Broken {
            file: path.into(),
            message,
        };
        let element = element(tensor.kind);
        let count = tensor
            .shape
            .iter()
            .try_fold(1usize, |product, n| product.checked_mul(*n));
        let bytes = count.and_then(|count| element.bytes(count));
        let end = bytes.and_then(|bytes| tensor.offset.checked_add(bytes as u64));
        if end.is_none_or(|end| end > length) {
            let known = !matches!(element, Element::Other(_));
            return Err(match known {
                true => broken(format!(
                    "is cut short at tensor `{}` ({length} bytes)",
                    tensor.name
                )),
                false => Error::Type {
                    file: path.into(),
                    tensor: tensor.name.clone(),
                    found: format!("ggml type {}", tensor.kind),
                },
            });
        }
        // llama.cpp turns neighbours, transformers the two halves of a head: its converter moves
        // the rows of queries and keys, for Llama only.
        let pairs = match kind {
            "llama" if tensor.name.contains(".attn_q.") => queries,
            "llama" if tensor.name.contains(".attn_k.") => keys,
            _ => None,
        };
        let rows = tensor.shape.first().copied().unwrap_or(0);
        if pairs.is_some_and(|heads| !rows.is_multiple_of(2 * heads)) {
            return Err(broken(format!(
                "has {rows} rows in tensor `{}`",
                tensor.name
            )));
        }
        let stored = Stored {
            element,
            shape: tensor.shape.clone(),
            strides: None,
            offset: tensor.offset,
            pairs,
        };
        all.push((checkpoint_name(&tensor.name), stored));
    }
    Ok(all)
}

/// The checkpoint's name of a tensor; an unknown one keeps its own, and is then left over.
fn checkpoint_name(name: &str) -> String {
    let Some((stem, ending)) = name.rsplit_once('.') else {
        return name.into();
    };
    let of = |names: &[(&str, &'static str)], stem: &str| {
        names
            .iter()
            .find(|(theirs, _)| *theirs == stem)
            .map(|(_, ours)| *ours)
    };
    if let Some((number, part)) = stem
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
    {
        return match of(LAYER_NAMES, part) {
            Some(part) => format!("model.layers.{number}.{part}.{ending}"),
            None => name.into(),
        };
    }
    match of(NAMES, stem) {
        Some(stem) => format!("{stem}.{ending}"),
        None => name.into(),
    }
}

/// ggml's `enum ggml_type`.
fn element(kind: u32) -> Element {
    Element::Blocks(match kind {
        0 => return Element::F32,
        1 => return Element::F16,
        30 => return Element::BF16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        other => return Element::Other(format!("ggml type {other}")),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::PathBuf;

    use candle_core::Device;

    use super::*;
    use crate::models::{self, CausalLm, Packed};
    use crate::random::{Purpose, Stream};

    fn golden(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/golden/gguf")
            .join(path)
    }

    fn expected() -> Value {
        let text = fs::read_to_string(golden("expected.json")).expect("golden file");
        serde_json::from_str(&text).expect("golden file is JSON")
    }

    fn numbers(value: &Value) -> Vec<f64> {
        let all = value.as_array().expect("a list").iter();
        all.map(|x| x.as_f64().expect("a number")).collect()
    }

    // Would catch a block type that is taken apart otherwise than llama.cpp does. Products of an
    // f16 and an integer are rounded once or twice: tolerance 1e-6 of the largest value.
    #[test]
    fn blocks_are_llama_cpps() {
        let path = golden("blocks.gguf");
        let header = Header::read(&path).expect("reads");
        let file = File::open(&path).expect("opens");
        for tensor in &header.tensors {
            let stored = Stored {
                element: element(tensor.kind),
                shape: tensor.shape.clone(),
                strides: None,
                offset: tensor.offset,
                pairs: None,
            };
            assert_eq!(stored.shape, [2, 512], "{}", tensor.name);
            let found = stored.read(&file).expect(&tensor.name);
            let expected = numbers(&expected()["blocks"][&tensor.name]);
            let largest = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                assert!(
                    (f64::from(*a) - b).abs() <= 1e-6 * largest,
                    "{}: {a} {b}",
                    tensor.name
                );
            }
        }
        assert_eq!(header.tensors.len(), 13);
    }

    // Would catch rows of queries and keys in the wrong order, a name or a field that is wrong.
    #[test]
    fn a_model_is_transformers() {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::copy(golden("tiny.gguf"), folder.path().join("any-name.gguf")).expect("copies");
        for path in [golden("tiny.gguf"), folder.path().to_owned()] {
            let model = models::load(&path, &Device::Cpu).expect("loads");
            for row in expected()["tiny"].as_array().expect("rows") {
                let ids: Vec<u32> = numbers(&row["ids"]).iter().map(|id| *id as u32).collect();
                let mut batch = Packed::default();
                batch.push(&ids);
                let mut cache = model.cache(1, ids.len()).expect("cache");
                let logits = model
                    .prefill(&mut cache, &[(0, &ids)])
                    .expect("forward")
                    .squeeze(0)
                    .expect("one row");
                let logits = logits.to_vec1::<f32>().expect("f32");
                for (a, b) in logits.iter().zip(numbers(&row["logits"])) {
                    assert!(
                        (f64::from(*a) - b).abs() <= 1e-4 * b.abs().max(1.0),
                        "{a} {b}"
                    );
                }
            }
        }
    }

    // Would catch a file that is cut or changed anywhere and panics, or allocates what it claims.
    #[test]
    fn changed_files_never_panic() {
        let mut rng = Stream::new(3, Purpose::Split, 0, 0);
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("x.gguf");
        let whole = fs::read(golden("blocks.gguf")).expect("golden file");
        for round in 0..600 {
            let mut changed = whole.clone();
            match round % 3 {
                0 => changed.truncate(rng.below(whole.len())),
                _ => {
                    for _ in 0..=rng.below(4) {
                        // The header, mostly.
                        let at = rng.below(if round % 2 == 0 { 900 } else { changed.len() });
                        changed[at] = rng.below(256) as u8;
                    }
                }
            }
            let length = changed.len() as u64;
            fs::write(&path, &changed).expect("write");
            let file = File::open(&path).expect("opens");
            for (name, stored) in tensors(&path, length).into_iter().flatten() {
                if !matches!(stored.element, Element::Other(_)) {
                    let count = stored.read(&file).expect(&name).len();
                    assert!(count <= 8 * whole.len(), "{name}: {count}");
                }
            }
            let _ = config(&path);
        }
    }
}
