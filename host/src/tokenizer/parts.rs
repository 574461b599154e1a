//! Tokenizers without a `tokenizer.json`: `vocab.json` with `merges.txt` (GPT-2, RoBERTa, Qwen2)
//! or `vocab.txt` (BERT), and the files that name their special tokens.
//!
//! They are put together as the `tokenizer.json` that transformers would make of them, so that
//! one reader serves both.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Error;

/// What Qwen2 calls a word (transformers' `tokenization_qwen2.py`).
pub(super) const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Kinds of tokenizers that have files of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Gpt2,
    Roberta,
    Qwen2,
    Bert,
}

/// Special tokens in the order in which transformers adds those that the vocabulary lacks.
const ROLES: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

impl Kind {
    /// By the tokenizer's class, else by the model's type, else by the files.
    fn of(parts: &Parts) -> Result<Self, Error> {
        let class = parts.config["tokenizer_class"].as_str();
        let class = class.map(|name| name.strip_suffix("Fast").unwrap_or(name));
        let model = parts.model["model_type"].as_str();
        match (class, model) {
            (Some("GPT2Tokenizer"), _) => Ok(Self::Gpt2),
            (Some("RobertaTokenizer"), _) => Ok(Self::Roberta),
            (Some("Qwen2Tokenizer"), _) => Ok(Self::Qwen2),
            (Some("BertTokenizer"), _) => Ok(Self::Bert),
            // These say nothing of the kind.
            (Some(other), _) if !matches!(other, "PreTrainedTokenizer" | "TokenizersBackend") => {
                Err(Error::Kind {
                    folder: parts.folder.into(),
                    found: other.into(),
                })
            }
            (_, Some("gpt2")) => Ok(Self::Gpt2),
            (_, Some("roberta")) => Ok(Self::Roberta),
            (_, Some("qwen2")) => Ok(Self::Qwen2),
            (_, Some("bert")) => Ok(Self::Bert),
            (_, Some(other)) => Err(Error::Kind {
                folder: parts.folder.into(),
                found: other.into(),
            }),
            (_, None) if parts.files.contains_key("vocab.txt") => Ok(Self::Bert),
            (_, None) => Ok(Self::Gpt2),
        }
    }

    /// The special token of a role where no file names one.
    fn default_token(self, role: &str) -> Option<&'static str> {
        match (self, role) {
            (Self::Gpt2, "bos" | "eos" | "unk") => Some("<|endoftext|>"),
            (Self::Qwen2, "eos" | "unk" | "pad") => Some("<|endoftext|>"),
            (Self::Roberta, "bos" | "cls") => Some("<s>"),
            (Self::Roberta, "eos" | "sep") => Some("</s>"),
            (Self::Roberta, "unk") => Some("<unk>"),
            (Self::Roberta, "pad") => Some("<pad>"),
            (Self::Roberta, "mask") => Some("<mask>"),
            (Self::Bert, "unk") => Some("[UNK]"),
            (Self::Bert, "sep") => Some("[SEP]"),
            (Self::Bert, "pad") => Some("[PAD]"),
            (Self::Bert, "cls") => Some("[CLS]"),
            (Self::Bert, "mask") => Some("[MASK]"),
            _ => None,
        }
    }
}

/// The files of a folder without a `tokenizer.json`.
pub(super) struct Parts<'a> {
    pub(super) folder: &'a std::path::Path,
    pub(super) files: &'a BTreeMap<String, Vec<u8>>,
    /// `tokenizer_config.json`, or null.
    pub(super) config: &'a Value,
    /// `special_tokens_map.json`, or null.
    pub(super) specials: &'a Value,
    /// `config.json`, or null.
    pub(super) model: &'a Value,
}

impl Parts<'_> {
    /// The `tokenizer.json` that these files amount to, and the special tokens by role
    /// (`bos_token`); none where there is no vocabulary.
    ///
    /// # Errors
    /// The kind is not known, or a file is not what it should be.
    pub(super) fn assemble(&self) -> Result<Option<(Value, Value)>, Error> {
        let has = |name: &str| self.files.contains_key(name);
        let byte_level = has("vocab.json") && has("merges.txt");
        if !(byte_level || has("vocab.txt")) {
            return Ok(None);
        }
        let kind = Kind::of(self)?;
        if (kind == Kind::Bert && !has("vocab.txt")) || (kind != Kind::Bert && !byte_level) {
            return Ok(None);
        }
        let vocabulary = match kind {
            Kind::Bert => self.word_pieces()?,
            _ => self.json("vocab.json")?,
        };
        let roles: BTreeMap<&str, String> = ROLES
            .into_iter()
            .filter_map(|role| Some((role, self.token(role, kind)?)))
            .collect();
        let added = self.added(&vocabulary, &roles)?;
        let id = |token: &str| -> Option<u64> {
            let of_added = || {
                let found = added.iter().find(|t| t["content"] == token)?;
                found["id"].as_u64()
            };
            of_added().or_else(|| vocabulary.get(token).and_then(Value::as_u64))
        };
        let flag = |key: &str, default: bool| self.config[key].as_bool().unwrap_or(default);
        let around = |role: &str| -> Value {
            let token = roles.get(role).map(String::as_str).unwrap_or_default();
            json!([token, id(token).unwrap_or_default()])
        };
        let prefix = flag("add_prefix_space", false);
        let bytes = |words: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": words});
        let (normalizer, words, post_processor, decoder, model);
        match kind {
            Kind::Bert => {
                normalizer = json!({
                    "type": "BertNormalizer",
                    "clean_text": true,
                    "handle_chinese_chars": flag("tokenize_chinese_chars", true),
                    "strip_accents": self.config["strip_accents"],
                    "lowercase": flag("do_lower_case", true),
                });
                words = json!({"type": "BertPreTokenizer"});
                post_processor =
                    json!({"type": "BertProcessing", "sep": around("sep"), "cls": around("cls")});
                decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
                model = json!({
                    "type": "WordPiece",
                    "unk_token": roles.get("unk"),
                    "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 100,
                    "vocab": vocabulary,
                });
            }
            Kind::Gpt2 | Kind::Roberta | Kind::Qwen2 => {
                normalizer = match kind {
                    Kind::Qwen2 => json!({"type": "NFC"}),
                    _ => Value::Null,
                };
                words = match kind {
                    Kind::Qwen2 => json!({"type": "Sequence", "pretokenizers": [
                        {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": false},
                        bytes(false),
                    ]}),
                    _ => bytes(true),
                };
                post_processor = match kind {
                    Kind::Roberta => json!({
                        "type": "RobertaProcessing",
                        "sep": around("sep"),
                        "cls": around("cls"),
                        "trim_offsets": flag("trim_offsets", true),
                        "add_prefix_space": prefix,
                    }),
                    _ => Value::Null,
                };
                decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
                model = json!({
                    "type": "BPE",
                    "dropout": null,
                    "unk_token": null,
                    "continuing_subword_prefix": "",
                    "end_of_word_suffix": "",
                    "fuse_unk": false,
                    "byte_fallback": false,
                    "ignore_merges": false,
                    "vocab": vocabulary,
                    "merges": self.merges()?,
                });
            }
        }
        let named: Map<String, Value> = roles
            .iter()
            .map(|(role, token)| (format!("{role}_token"), token.as_str().into()))
            .collect();
        let whole = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": normalizer,
            "pre_tokenizer": words,
            "post_processor": post_processor,
            "decoder": decoder,
            "model": model,
        });
        Ok(Some((whole, named.into())))
    }

    /// The special token of a role: a file's (null means that there is none), else the kind's.
    fn token(&self, role: &str, kind: Kind) -> Option<String> {
        let key = format!("{role}_token");
        for file in [self.config, self.specials] {
            match file.get(&key) {
                Some(Value::Null) => return None,
                Some(value) => return super::token_text(value).map(str::to_owned),
                None => {}
            }
        }
        kind.default_token(role).map(str::to_owned)
    }

    /// Tokens that are looked for before the text is split, in the order of their ids.
    fn added(
        &self,
        vocabulary: &Value,
        roles: &BTreeMap<&str, String>,
    ) -> Result<Vec<Value>, Error> {
        let more = ["additional_special_tokens", "extra_special_tokens"];
        let more = [self.config, self.specials]
            .into_iter()
            .flat_map(|file| more.map(|key| file.get(key)))
            .flatten()
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(super::token_text);
        let mut specials: Vec<&str> = ROLES
            .iter()
            .filter_map(|role| roles.get(role).map(String::as_str))
            .collect();
        specials.extend(more);

        let mut all: BTreeMap<u64, Value> = BTreeMap::new();
        let token = |id: u64, content: &str, special: bool| {
            // A token of the user's goes through the normalizer, a special one does not.
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": !special, "special": special})
        };
        if let Some(added) = self
            .config
            .get("added_tokens_decoder")
            .and_then(Value::as_object)
        {
            for (id, value) in added {
                let (Ok(id), Some(content)) = (id.parse(), super::token_text(value)) else {
                    return Err(self.broken(
                        "tokenizer_config.json",
                        format!("`added_tokens_decoder`: `{id}` is no id with a token"),
                    ));
                };
                let special = value["special"].as_bool().unwrap_or(false);
                let mut entry = token(id, content, special);
                for key in ["single_word", "lstrip", "rstrip", "normalized"] {
                    if let Some(flag) = value.get(key).filter(|v| v.is_boolean()) {
                        entry[key] = flag.clone();
                    }
                }
                all.insert(id, entry);
            }
        }
        if self.files.contains_key("added_tokens.json") {
            for (content, id) in self
                .json("added_tokens.json")?
                .as_object()
                .into_iter()
                .flatten()
            {
                let id = id.as_u64().ok_or_else(|| {
                    self.broken("added_tokens.json", format!("`{content}` has no id"))
                })?;
                all.entry(id)
                    .or_insert_with(|| token(id, content, specials.contains(&content.as_str())));
            }
        }
        let size = vocabulary.as_object().map_or(0, Map::len) as u64;
        for content in specials {
            if all.values().any(|t| t["content"] == content) {
                continue;
            }
            let next = all.keys().last().map_or(size, |last| size.max(last + 1));
            let id = vocabulary
                .get(content)
                .and_then(Value::as_u64)
                .unwrap_or(next);
            all.insert(id, token(id, content, true));
        }
        Ok(all.into_values().collect())
    }

    fn json(&self, name: &str) -> Result<Value, Error> {
        let value: Value = serde_json::from_slice(&self.files[name])
            .map_err(|e| self.broken(name, format!("not JSON: {e}")))?;
        match value.is_object() {
            true => Ok(value),
            false => Err(self.broken(name, "is no list of tokens with their ids".into())),
        }
    }

    fn text(&self, name: &str) -> Result<&str, Error> {
        std::str::from_utf8(&self.files[name]).map_err(|_| self.broken(name, "is not UTF-8".into()))
    }

    /// `vocab.txt`: a token a line, its number the id.
    fn word_pieces(&self) -> Result<Value, Error> {
        let lines = self.text("vocab.txt")?.lines().enumerate();
        let all: Map<String, Value> = lines
            .map(|(id, line)| (line.to_owned(), id.into()))
            .collect();
        Ok(all.into())
    }

    /// `merges.txt`: two tokens a line, the most important first.
    fn merges(&self) -> Result<Vec<[&str; 2]>, Error> {
        let lines = self.text("merges.txt")?.lines().enumerate();
        let mut merges = Vec::new();
        for (number, line) in lines {
            if line.is_empty() || (number == 0 && line.starts_with("#version")) {
                continue;
            }
            match line.split_once(' ') {
                Some((left, right)) if !left.is_empty() && !right.is_empty() => {
                    merges.push([left, right]);
                }
                _ => {
                    let message =
                        format!("line {}: expected two tokens, found `{line}`", number + 1);
                    return Err(self.broken("merges.txt", message));
                }
            }
        }
        Ok(merges)
    }

    fn broken(&self, name: &str, message: String) -> Error {
        Error::Broken {
            file: self.folder.join(name),
            message,
        }
    }
}
