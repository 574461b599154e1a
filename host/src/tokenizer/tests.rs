//! Tokenizers that are whole, against transformers, and folders that are not.

use super::*;

/// Byte-level BPE over a handful of tokens.
fn tiny() -> Value {
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [special(0, "<pad>"), special(1, "<end>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": {"<pad>": 0, "<end>": 1, "a": 2, "b": 3, "Ġ": 4, "ab": 5, "Ã": 6, "©": 7},
                  "merges": [["a", "b"]]},
    })
}

fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, value) in files {
        fs::write(folder.path().join(name), value.to_string()).expect("write");
    }
    folder
}

// Would catch specials that are added or shown, and the file's truncation being obeyed.
#[test]
fn text_comes_back() {
    let tokenizer = Tokenizer::from_bytes(
        tiny().to_string().as_bytes(),
        Specials {
            eos: vec![1],
            pad: Some(0),
            bos: None,
        },
    )
    .expect("loads");
    let ids = tokenizer.encode("ab aé<end>").expect("encodes");
    assert_eq!(ids, [5, 4, 2, 6, 7, 1]);
    assert_eq!(tokenizer.decode(&ids), "ab aé");
    assert_eq!(tokenizer.token_text(1), "<end>");
    assert_eq!(tokenizer.token_text(6), "\u{fffd}");
    assert_eq!((tokenizer.eos(), tokenizer.vocabulary()), (Some(1), 8));
}

// Would catch a response that is cut while there is a prompt to cut, a prompt cut from its end,
// and special tokens that are cut or counted wrong; for an encoder and a causal model.
#[test]
fn judged_texts_fit() {
    let golden = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/models/");
        Tokenizer::from_folder(Path::new(&format!("{folder}{name}"))).expect("loads")
    };
    let (prompt, response) = ("sort a list of numbers", "    return sorted(numbers)");
    for (name, causal) in [("tiny-roberta", false), ("tiny-llama", true)] {
        let tokenizer = golden(name);
        let judged = |max_length: usize| {
            let ids = tokenizer.encode_judged(prompt, response, causal, max_length);
            ids.expect("encodes")
        };
        let of_prompt = tokenizer.encode(prompt).expect("encodes");
        let of_response = tokenizer.encode(response).expect("encodes");
        let whole = judged(512);
        let around = whole.len() - of_prompt.len() - of_response.len();
        if causal {
            assert_eq!((around, whole.last().copied()), (1, tokenizer.eos()));
        } else {
            let both = tokenizer.encode_whole(prompt, Some(response));
            assert_eq!(whole, both.expect("encodes"));
        }
        let cut = judged(whole.len() - 2);
        assert_eq!(cut.len(), whole.len() - 2);
        // All behind the prompt is there, and the prompt's last tokens.
        let kept = of_prompt.len() - 2 + of_response.len();
        assert_eq!(cut[cut.len() - kept..], whole[whole.len() - kept..]);
        let short = judged(around + 3);
        assert_eq!(short.len(), around + 3);
        let within = short.windows(3).any(|ids| *ids == of_response[..3]);
        assert!(within, "{name}: {short:?}");
    }
}

// Would catch special tokens that are missed in one of the places where they stand, or lost
// on the way through a saved folder.
#[test]
fn specials_are_found_and_kept() {
    let check = |files: &[(&str, Value)], expected: Specials| {
        let mut all = vec![(TOKENIZER, tiny())];
        all.extend_from_slice(files);
        let first = folder(&all);
        let loaded = Tokenizer::from_folder(first.path()).expect("loads");
        assert_eq!(loaded.specials(), &expected);
        let second = folder(&[]);
        loaded.save(second.path()).expect("saves");
        for (name, value) in files {
            if name.ends_with("config.json") && *name != TOKENIZER_CONFIG {
                fs::write(second.path().join(name), value.to_string()).expect("write");
            }
        }
        assert_eq!(
            Tokenizer::from_folder(second.path())
                .expect("loads")
                .specials(),
            &expected
        );
    };
    check(&[], Specials::default());
    check(
        &[(
            TOKENIZER_CONFIG,
            json!({"eos_token": "<end>", "pad_token": {"content": "<pad>"}}),
        )],
        Specials {
            eos: vec![1],
            pad: Some(0),
            bos: None,
        },
    );
    check(
        &[(
            "special_tokens_map.json",
            json!({"eos_token": {"content": "<end>"}, "bos_token": "<pad>"}),
        )],
        Specials {
            eos: vec![1],
            pad: None,
            bos: Some(0),
        },
    );
    check(
        &[
            (TOKENIZER_CONFIG, json!({"eos_token": "<end>"})),
            ("generation_config.json", json!({"eos_token_id": [1, 3]})),
            ("config.json", json!({"pad_token_id": 0, "eos_token_id": 3})),
        ],
        Specials {
            eos: vec![1, 3],
            pad: Some(0),
            bos: None,
        },
    );
}

// Would catch a folder without a tokenizer that is refused without a name.
#[test]
fn bad_folders_are_named() {
    let error = |f: &tempfile::TempDir| Tokenizer::from_folder(f.path()).err().expect("refused");
    let missing = error(&folder(&[]));
    assert!(
        missing
            .to_string()
            .contains("has no `tokenizer.json`, `vocab.json`")
            && missing.hint().is_some(),
        "{missing}"
    );
    let broken = error(&folder(&[(TOKENIZER, json!({"a": 1}))]));
    assert!(
        broken.to_string().contains("tokenizer.json`: no tokenizer"),
        "{broken}"
    );
}

// Would catch the library's panics at what is JSON and no tokenizer, and at what is no JSON.
#[test]
fn what_the_library_panics_at_is_named() {
    let mut odd = tiny();
    odd["decoder"] = json!({"type": "Bytes"});
    let cut = tiny()
        .to_string()
        .replace("\"trim_offsets\":true", "\"trim_offsets\":yes");
    for text in [odd.to_string(), cut] {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::write(folder.path().join(TOKENIZER), text).expect("write");
        let error = Tokenizer::from_folder(folder.path()).err().expect("broken");
        let error = error.to_string();
        assert!(error.contains("tokenizer.json`: no tokenizer: "), "{error}");
    }
}

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden")
        .join(path)
}

fn expected(folder: &str) -> Value {
    let text = fs::read_to_string(golden(folder).join("expected.json")).expect("golden file");
    serde_json::from_str(&text).expect("golden file is JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("a list").iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

// Would catch a word, a normalizer, a special or an added token that is not transformers'.
#[test]
fn ids_are_transformers() {
    let expected = expected("tokenizers");
    let pair: Vec<&str> = expected["pair"]
        .as_array()
        .expect("two texts")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (name, golden_ids) in expected["tokenizers"].as_object().expect("tokenizers") {
        let folder = match name.starts_with("tiny-") {
            true => golden(&format!("models/{name}")),
            false => golden(&format!("tokenizers/{name}")),
        };
        let tokenizer = Tokenizer::from_folder(&folder).expect(name);
        for row in golden_ids["rows"].as_array().expect("rows") {
            let text = row["text"].as_str().expect("a text");
            let found = tokenizer.encode(text).expect("encodes");
            assert_eq!(found, ids(&row["ids"]), "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&found), row["decoded"], "{name}: {text:?}");
            let whole = tokenizer.encode_whole(text, None).expect("encodes");
            assert_eq!(whole, ids(&row["with_specials"]), "{name}: {text:?}");
        }
        let both = tokenizer
            .encode_whole(pair[0], Some(pair[1]))
            .expect("encodes");
        assert_eq!(both, ids(&golden_ids["pair"]), "{name}");
        assert_eq!(
            tokenizer.vocabulary() as u64,
            golden_ids["length"],
            "{name}"
        );
        let id = |key: &str| golden_ids[key].as_u64().map(|id| id as u32);
        let specials = tokenizer.specials();
        assert_eq!(
            (specials.bos, specials.pad),
            (id("bos"), id("pad")),
            "{name}"
        );
        assert_eq!(specials.eos, Vec::from_iter(id("eos")), "{name}");
    }
}

// Would catch a file without which transformers would see another tokenizer, and one that changed.
#[test]
fn files_travel_unchanged() {
    for name in [
        "models/tiny-roberta",
        "tokenizers/bert",
        "tokenizers/gpt2-added",
        "models/tiny-llama",
    ] {
        let out = folder(&[]);
        let tokenizer = Tokenizer::from_folder(&golden(name)).expect(name);
        tokenizer.save(out.path()).expect("saves");
        for entry in fs::read_dir(golden(name)).expect("a folder") {
            let entry = entry.expect("an entry");
            let file = entry.file_name().into_string().expect("a name");
            let copied = fs::read(out.path().join(&file)).ok();
            match FILES.contains(&file.as_str()) {
                true => assert_eq!(copied, fs::read(entry.path()).ok(), "{name}/{file}"),
                false => assert_eq!(copied, None, "{name}/{file}"),
            }
        }
    }
}

/// A copy of a golden folder with one file changed.
fn check_broken(folder: &str, file: &str, content: &str, message: &str) {
    let copy = tempfile::tempdir().expect("temporary folder");
    for entry in fs::read_dir(golden(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copies");
    }
    fs::write(copy.path().join(file), content).expect("write");
    let error = Tokenizer::from_folder(copy.path()).err().expect("refused");
    assert!(error.to_string().contains(message), "{error}");
}

// Would catch a file that is wrong and passed over, or not named.
#[test]
fn broken_parts_are_named() {
    let gpt2 = "tokenizers/gpt2-added";
    check_broken(
        gpt2,
        "merges.txt",
        "#version: 0.2\na b\nab\n",
        "merges.txt`: line 3: expected two tokens, found `ab`",
    );
    check_broken(gpt2, "merges.txt", "qqq zzz\n", "vocab.json`: no tokenizer");
    check_broken(
        gpt2,
        "vocab.json",
        "[1]",
        "vocab.json`: is no list of tokens",
    );
    check_broken(gpt2, "vocab.json", "{", "vocab.json`: not JSON");
    check_broken(
        gpt2,
        "added_tokens.json",
        r#"{"<x>": "a"}"#,
        "added_tokens.json`: `<x>` has no id",
    );
    check_broken(
        gpt2,
        "added_tokens.json",
        r#"{"<x>": 7000}"#,
        "`<x>` has id 7000 and would get 1024",
    );
    check_broken(
        gpt2,
        "config.json",
        r#"{"model_type": "t5"}"#,
        "a kind that is not read: `t5`",
    );
    check_broken(
        gpt2,
        "tokenizer_config.json",
        r#"{"tokenizer_class": "LlamaTokenizer"}"#,
        "a kind that is not read: `LlamaTokenizer`",
    );
}

// Would catch a template that is rendered otherwise than transformers does, or passes where it
// raises.
#[test]
fn chats_are_transformers() {
    let expected = expected("chat");
    let mut config = expected["specials"].clone();
    for case in expected["cases"].as_array().expect("cases") {
        let template = case["template"].as_str().expect("a name");
        config["chat_template"] = expected["templates"][template].clone();
        let folder = folder(&[(TOKENIZER, tiny()), (TOKENIZER_CONFIG, config.clone())]);
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("loads");
        assert!(tokenizer.has_chat_template());
        let chat = case["chat"].as_str().expect("a name");
        let prompt = case["prompt"] == true;
        let found = tokenizer.chat(&expected["chats"][chat], &case["tools"], prompt);
        let what = format!("{template}: {chat}, {prompt}");
        match case["text"].as_str() {
            Some(text) => assert_eq!(found.expect(&what), text, "{what}"),
            None => {
                let error = found.expect_err(&what).to_string();
                assert!(error.starts_with("chat template: line "), "{what}: {error}");
                if template == "instruct" && chat == "twice" {
                    assert!(error.contains("Roles must alternate"), "{error}");
                }
            }
        }
    }
}

// Would catch a template that is not looked for in one of its places, and a missing one that is
// not said.
#[test]
fn templates_are_found() {
    let check = |config: Value, jinja: Option<&str>, expected: Result<&str, &str>| {
        let folder = folder(&[(TOKENIZER, tiny()), (TOKENIZER_CONFIG, config)]);
        if let Some(jinja) = jinja {
            fs::write(folder.path().join(CHAT_TEMPLATE), jinja).expect("write");
        }
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("loads");
        let found = tokenizer.chat(
            &json!([{"role": "user", "content": "x"}]),
            &Value::Null,
            false,
        );
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => {
                assert!(found.to_string().contains(expected) && found.hint().is_some());
            }
            (found, expected) => panic!("{found:?} for {expected:?}"),
        }
    };
    check(json!({}), None, Err("has no chat template"));
    check(json!({"chat_template": "a"}), None, Ok("a"));
    check(
        json!({"chat_template": "a"}),
        Some("b{{ messages[0].content }}"),
        Ok("bx"),
    );
    let several = json!([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "{{ eos_token }}"}]);
    check(
        json!({"chat_template": several, "eos_token": {"content": "<end>"}}),
        None,
        Ok("<end>"),
    );
}

// Would catch a GGUF file whose tokenizer, special tokens or template are other than its model's.
#[test]
fn gguf_files_have_tokenizers() {
    let expected = expected("gguf");
    let file = golden("gguf/tiny.gguf");
    let out = folder(&[]);
    let first = Tokenizer::from_folder(&file).expect("loads");
    first.save(out.path()).expect("saves");
    for tokenizer in [first, Tokenizer::from_folder(out.path()).expect("loads")] {
        for row in expected["tiny"].as_array().expect("rows") {
            let text = row["prompt"].as_str().expect("a text");
            assert_eq!(tokenizer.encode(text).expect("encodes"), ids(&row["ids"]));
        }
        let specials = Specials {
            bos: Some(1),
            eos: vec![2],
            pad: Some(0),
        };
        assert_eq!(tokenizer.specials(), &specials);
        let chat = json!([{"role": "user", "content": "x"}]);
        let text = tokenizer.chat(&chat, &Value::Null, true).expect("renders");
        assert_eq!(
            text,
            "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
        );
    }
    let error = Tokenizer::from_folder(&golden("gguf/blocks.gguf"))
        .err()
        .expect("refused");
    assert!(
        error
            .to_string()
            .contains("a kind that is not read: `none`"),
        "{error}"
    );
}
