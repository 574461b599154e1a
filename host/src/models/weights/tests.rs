//! Folders that are whole, and folders that are not.

use candle_core::DType;
use serde_json::json;

use super::*;
use crate::models::{LanguageModel, LlamaConfig, Model};

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

fn saved(change: impl FnOnce(&Path)) -> (tempfile::TempDir, Result<LanguageModel, Error>) {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = root.path().join("model");
    let model = tiny().init(1, &Device::Cpu).expect("init");
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
    let model = tiny().init(1, &Device::Cpu).expect("init");
    assert_eq!(loaded.config(), &tiny().to_json());
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
        |f| fs::rename(f.join(SINGLE), f.join("tf_model.h5")).expect("rename"),
        "holds no weights",
        "`tf_model.h5` is not read",
    );
    check(
        |f| fs::rename(f.join(SINGLE), f.join(PICKLE)).expect("rename"),
        "pytorch_model.bin`: is no file that torch.save wrote",
        "fetch it again",
    );
    check(
        |f| edit(f, "\"model_type\": \"llama\"", "\"model_type\": \"bloom\""),
        "unsupported architecture `bloom",
        "supported `model_type`: gpt2",
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
            let names: Vec<String> = names(&f.join(SINGLE));
            rewrite(f, |name, t| {
                vec![(place(&name), name, t.to_dtype(dtype).expect("dtype"))]
            });
            let map: serde_json::Map<String, Value> = names
                .into_iter()
                .map(|n| (n.clone(), json!(place(&n))))
                .collect();
            write_json(&f.join(INDEX), &json!({"metadata": {}, "weight_map": map})).expect("index");
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

fn names(file: &Path) -> Vec<String> {
    let all = candle_core::safetensors::load(file, &Device::Cpu).expect("load");
    all.into_keys().collect()
}

// Would catch parts that are too large, an index that does not fit them, and a tensor lost.
#[test]
fn large_models_are_saved_in_parts() {
    let (root, loaded) = saved(|_| ());
    let model = loaded.expect("loads");
    let folder = root.path().join("model");
    fs::remove_file(folder.join(SINGLE)).expect("remove");
    let parameters = model.parameters();
    let tensors: Vec<_> = parameters
        .iter()
        .map(|p| (p.name.as_str(), &p.value))
        .collect();
    save::write_parts(&folder, &tensors, 800).expect("writes");
    let mut parts: Vec<String> = fs::read_dir(&folder)
        .expect("folder")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("name")
        })
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    parts.sort();
    assert!(
        parts.len() > 2 && parts[0] == format!("model-00001-of-{:05}.safetensors", parts.len())
    );
    for part in &parts {
        let size = fs::metadata(folder.join(part)).expect("size").len();
        let single = names(&folder.join(part)).len() == 1;
        // The header is not counted.
        assert!(single || size < 800 + 700, "{part}: {size}");
    }
    let again = crate::models::load(&folder, &Device::Cpu).expect("loads");
    for (a, b) in parameters.iter().zip(again.parameters()) {
        let bits = |t: &Tensor| {
            t.flatten_all()
                .and_then(|t| t.to_vec1::<f32>())
                .expect("f32")
        };
        assert_eq!((&a.name, bits(&a.value)), (&b.name, bits(&b.value)));
    }
    // A part that lacks a tensor which the index promises.
    let stray = [("stray", &parameters[0].value)];
    write_safetensors(&folder.join(&parts[1]), stray.into_iter(), &[]).expect("writes");
    let error = crate::models::load(&folder, &Device::Cpu).expect_err("must be refused");
    assert!(
        error.to_string().contains(&parts[1]) && error.to_string().contains("is missing"),
        "{error}"
    );
}
