//! Text to token ids and back.
//!
//! A wrapper over `tokenizers` that knows which tokens are special and can write down the files
//! it was read from, so that a trained model leaves with its tokenizer.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Files that belong to a tokenizer; those that are there travel with it.
const FILES: &[&str] = &[
    TOKENIZER,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// What can be wrong with a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("model folder `{}` has no `{TOKENIZER}`", .0.display())]
    Missing(PathBuf),
    #[error("`{}`: {message}", .file.display())]
    Broken { file: PathBuf, message: String },
    #[error("`{}`: {source}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("text cannot be tokenised: {0}")]
    Encode(String),
}

impl Error {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some(format!(
                "load and save the tokenizer with transformers (`AutoTokenizer`) to get `{TOKENIZER}`"
            )),
            _ => None,
        }
    }
}

/// Ids with a meaning of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specials {
    /// Begin of sequence.
    pub bos: Option<u32>,
    /// Any of these ends a response; training appends the first.
    pub eos: Vec<u32>,
    /// Padding.
    pub pad: Option<u32>,
}

/// A tokenizer with its special tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    specials: Specials,
    /// File names and contents to be written beside a model.
    files: Arc<BTreeMap<String, Vec<u8>>>,
}

impl Tokenizer {
    /// Reads the tokenizer of a Hugging Face folder.
    ///
    /// Special tokens come from `tokenizer_config.json` and `special_tokens_map.json`; ids in
    /// `generation_config.json` and `config.json` are added (several tokens may end a response)
    /// or fill what is missing.
    ///
    /// # Errors
    /// There is no `tokenizer.json`, or a file is not what it should be.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        for name in FILES {
            let file = folder.join(name);
            match fs::read(&file) {
                Ok(bytes) => drop(files.insert((*name).to_owned(), bytes)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Read { file, source }),
            }
        }
        let bytes = files
            .get(TOKENIZER)
            .ok_or_else(|| Error::Missing(folder.into()))?;
        let inner = parse(bytes, &folder.join(TOKENIZER))?;
        let json = |name: &str| -> Result<Value, Error> {
            let file = folder.join(name);
            match fs::read(&file) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::Broken {
                    file,
                    message: format!("not JSON: {e}"),
                }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Value::Null),
                Err(source) => Err(Error::Read { file, source }),
            }
        };
        let named = [json(TOKENIZER_CONFIG)?, json("special_tokens_map.json")?];
        let numbered = [json("generation_config.json")?, json("config.json")?];
        let ids = |kind: &str| -> Vec<u32> {
            let token = format!("{kind}_token");
            let by_name = named.iter().filter_map(|file| {
                let value = file.get(&token)?;
                let text = value
                    .as_str()
                    .or_else(|| value.get("content").and_then(Value::as_str))?;
                inner.token_to_id(text)
            });
            let by_number =
                numbered
                    .iter()
                    .flat_map(|file| match file.get(format!("{kind}_token_id")) {
                        Some(Value::Array(ids)) => ids.clone(),
                        Some(id) => vec![id.clone()],
                        None => Vec::new(),
                    });
            let mut ids: Vec<u32> = Vec::new();
            for id in by_name.chain(by_number.filter_map(|id| id.as_u64().map(|id| id as u32))) {
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            ids
        };
        let specials = Specials {
            bos: ids("bos").first().copied(),
            eos: ids("eos"),
            pad: ids("pad").first().copied(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            specials,
            files: Arc::new(files),
        })
    }

    /// A tokenizer that ships with the program.
    ///
    /// # Errors
    /// `tokenizer_json` is not a `tokenizer.json`.
    pub fn from_bytes(tokenizer_json: &[u8], specials: Specials) -> Result<Self, Error> {
        let inner = parse(tokenizer_json, Path::new(TOKENIZER))?;
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
        });
        for (key, id) in [
            ("bos", specials.bos),
            ("eos", specials.eos.first().copied()),
            ("pad", specials.pad),
        ] {
            if let Some(text) = id.and_then(|id| inner.id_to_token(id)) {
                config[format!("{key}_token")] = text.into();
            }
        }
        let files = BTreeMap::from([
            (TOKENIZER.to_owned(), tokenizer_json.to_vec()),
            (
                TOKENIZER_CONFIG.to_owned(),
                format!("{config:#}\n").into_bytes(),
            ),
        ]);
        Ok(Self {
            inner: Arc::new(inner),
            specials,
            files: Arc::new(files),
        })
    }

    /// Token ids of a text. No special tokens are added; those written out in the text are
    /// recognised.
    ///
    /// # Errors
    /// The tokenizer's own model refuses the text (an unknown symbol without an unknown token).
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| Error::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of token ids, without special tokens. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        // Decoding fails only for decoders that need what a token list cannot give.
        self.inner.decode(ids, true).unwrap_or_default()
    }

    /// Text of one token, special tokens included.
    pub fn token_text(&self, id: u32) -> String {
        self.inner.decode(&[id], false).unwrap_or_default()
    }

    /// Ids with a meaning of their own.
    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    /// The token that training appends to a response.
    pub fn eos(&self) -> Option<u32> {
        self.specials.eos.first().copied()
    }

    /// Number of tokens, added ones included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Writes the tokenizer's files into an existing folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        self.files
            .iter()
            .try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
    }
}

fn parse(bytes: &[u8], file: &Path) -> Result<tokenizers::Tokenizer, Error> {
    let broken = |message: String| Error::Broken {
        file: file.into(),
        message,
    };
    let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
        .map_err(|e| broken(format!("no tokenizer: {e}")))?;
    // Files remember the padding and truncation of whoever saved them last.
    inner.with_padding(None);
    inner
        .with_truncation(None)
        .map_err(|e| broken(e.to_string()))?;
    Ok(inner)
}

#[cfg(test)]
mod tests {
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
        let error =
            |f: &tempfile::TempDir| Tokenizer::from_folder(f.path()).err().expect("refused");
        let missing = error(&folder(&[]));
        assert!(
            missing.to_string().contains("has no `tokenizer.json`") && missing.hint().is_some(),
            "{missing}"
        );
        let broken = error(&folder(&[(TOKENIZER, json!({"a": 1}))]));
        assert!(
            broken.to_string().contains("tokenizer.json`: no tokenizer"),
            "{broken}"
        );
    }
}
