//! Text to token ids and back, and conversations to text.
//!
//! A wrapper over `tokenizers` that knows which tokens are special and can write down the files
//! it was read from, so that a trained model leaves with its tokenizer. Folders without a
//! `tokenizer.json` are read as well ([`parts`]); chat templates are rendered as transformers
//! does ([`chat`]).

mod caught;
mod chat;
mod gguf;
mod parts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caught::caught;
use serde_json::{Value, json};

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// Files that belong to a tokenizer; those that are there travel with it.
const FILES: &[&str] = &[
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS,
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    CHAT_TEMPLATE,
];

/// What can be wrong with a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("model folder `{}` has no `{TOKENIZER}`, `vocab.json` with `merges.txt`, or `vocab.txt`", .0.display())]
    Missing(PathBuf),
    #[error("model folder `{}` has a tokenizer of a kind that is not read: `{found}`", .folder.display())]
    Kind { folder: PathBuf, found: String },
    #[error("`{}`: {message}", .file.display())]
    Broken { file: PathBuf, message: String },
    #[error("`{}`: {source}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("text cannot be tokenised: {0}")]
    Encode(String),
    #[error("the tokenizer has no chat template")]
    NoChatTemplate,
    #[error("chat template: {0}")]
    Chat(String),
}

impl Error {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) | Self::Kind { .. } => Some(format!(
                "load and save the tokenizer with transformers (`AutoTokenizer`) to get `{TOKENIZER}`"
            )),
            Self::NoChatTemplate => Some(format!(
                "this is no chat model: give it the text itself, or put a `{CHAT_TEMPLATE}` into its folder"
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
    /// Texts of the special tokens by their role (`bos_token`), for chat templates.
    roles: Arc<BTreeMap<String, String>>,
    chat_template: Option<Arc<str>>,
}

impl Tokenizer {
    /// Reads the tokenizer of a Hugging Face folder, or of a GGUF file.
    ///
    /// Special tokens come from `tokenizer_config.json` and `special_tokens_map.json`; ids in
    /// `generation_config.json` and `config.json` are added (several tokens may end a response)
    /// or fill what is missing.
    ///
    /// # Errors
    /// There is no tokenizer, or a file is not what it should be.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        if folder.is_file() {
            return Self::from_gguf(folder);
        }
        let mut files = BTreeMap::new();
        for name in FILES {
            let file = folder.join(name);
            match fs::read(&file) {
                Ok(bytes) => drop(files.insert((*name).to_owned(), bytes)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Read { file, source }),
            }
        }
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
        let mut named = vec![json(TOKENIZER_CONFIG)?, json(SPECIAL_TOKENS)?];
        let numbered = [json("generation_config.json")?, json("config.json")?];
        let assembled;
        let (bytes, source, defaults) = match files.get(TOKENIZER) {
            Some(bytes) => (bytes, TOKENIZER, None),
            None => {
                let parts = parts::Parts {
                    folder,
                    files: &files,
                    config: &named[0],
                    specials: &named[1],
                    model: &numbered[1],
                };
                let Some((whole, defaults)) = parts.assemble()? else {
                    let file = gguf::find(folder).ok_or_else(|| Error::Missing(folder.into()))?;
                    return Self::from_gguf(&file);
                };
                assembled = whole.to_string().into_bytes();
                (&assembled, "vocab.json", Some(defaults))
            }
        };
        let inner = parse(bytes, &folder.join(source))?;
        let chat_template = match files.get(CHAT_TEMPLATE) {
            Some(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            None => chat_template(&named[0]),
        };
        // A kind of tokenizer has special tokens that no file needs to name.
        named.extend(defaults);
        let roles = roles(&named);
        let specials = find_specials(&inner, &named, &numbered);
        Ok(Self {
            inner: Arc::new(inner),
            specials,
            files: Arc::new(files),
            roles: Arc::new(roles),
            chat_template: chat_template.map(Into::into),
        })
    }

    /// The tokenizer in a GGUF file. It is saved as a `tokenizer.json`.
    fn from_gguf(file: &Path) -> Result<Self, Error> {
        let (whole, config) = gguf::read(file)?;
        let whole = whole.to_string().into_bytes();
        let inner = parse(&whole, file)?;
        let named = [config];
        let files = BTreeMap::from([
            (TOKENIZER.to_owned(), whole),
            (
                TOKENIZER_CONFIG.to_owned(),
                format!("{:#}\n", named[0]).into_bytes(),
            ),
        ]);
        Ok(Self {
            specials: find_specials(&inner, &named, &[]),
            inner: Arc::new(inner),
            files: Arc::new(files),
            roles: Arc::new(roles(&named)),
            chat_template: chat_template(&named[0]).map(Into::into),
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
            roles: Arc::new(roles(&[config])),
            chat_template: None,
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

    /// Token ids of a text, or of two that belong together, with the special tokens that the
    /// model was trained to see around them: `<s> … </s>` for RoBERTa, `[CLS] … [SEP]` for BERT,
    /// none for GPT-2.
    ///
    /// # Errors
    /// As for [`Tokenizer::encode`].
    pub fn encode_whole(&self, text: &str, second: Option<&str>) -> Result<Vec<u32>, Error> {
        let encoding = match second {
            None => self.inner.encode_fast(text, true),
            Some(second) => self.inner.encode_fast((text, second), true),
        };
        let encoding = encoding.map_err(|e| Error::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of a prompt and a response as a reward model reads them, at most `max_length`.
    ///
    /// For a causal model, one behind the other with the end token behind both; for an encoder,
    /// as two texts that belong together. What is too long loses the beginning of its prompt, and
    /// only then the end of its response.
    ///
    /// # Errors
    /// As for [`Tokenizer::encode`].
    pub fn encode_judged(
        &self,
        prompt: &str,
        response: &str,
        causal: bool,
        max_length: usize,
    ) -> Result<Vec<u32>, Error> {
        let failed = |e: tokenizers::Error| Error::Encode(e.to_string());
        let one = |text: &str| self.inner.encode_fast(text, false).map_err(failed);
        let (mut prompt, mut response) = (one(prompt)?, one(response)?);
        let around = match causal {
            true => usize::from(self.eos().is_some()),
            false => self.encode_whole("", Some(""))?.len(),
        };
        let room = max_length.saturating_sub(around);
        let kept = room.saturating_sub(response.len());
        prompt.truncate(kept, 0, tokenizers::TruncationDirection::Left);
        response.truncate(room, 0, tokenizers::TruncationDirection::Right);
        if causal {
            let ids = prompt.get_ids().iter().chain(response.get_ids());
            let mut ids: Vec<u32> = ids.copied().collect();
            ids.extend(self.eos().filter(|eos| ids.last() != Some(eos)));
            return Ok(ids);
        }
        let whole = self.inner.post_process(prompt, Some(response), true);
        Ok(whole.map_err(failed)?.get_ids().to_vec())
    }

    /// Tokens of a text at most, special ones included, as `tokenizer_config.json` has it
    /// (`model_max_length`); none where it is not there or no number of tokens.
    pub fn tokens_max(&self) -> Option<usize> {
        let config: Value = serde_json::from_slice(self.files.get(TOKENIZER_CONFIG)?).ok()?;
        usize::try_from(config.get("model_max_length")?.as_u64()?).ok()
    }

    /// Whether conversations can be rendered.
    pub fn has_chat_template(&self) -> bool {
        self.chat_template.is_some()
    }

    /// Text of a conversation, as the model was trained to see it.
    ///
    /// `messages` is a list of objects, as a rule with `role` and `content`; `tools` a list of
    /// functions that the model may call, or null. With `add_generation_prompt` the text ends
    /// where the assistant's answer begins. It holds its special tokens written out: encode it
    /// with [`Tokenizer::encode`].
    ///
    /// Rendered as transformers 5.23 does. Dates (`strftime_now`) are those of UTC.
    ///
    /// # Errors
    /// There is no chat template, it refuses these messages, or is broken.
    pub fn chat(
        &self,
        messages: &Value,
        tools: &Value,
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let template = self.chat_template.as_deref().ok_or(Error::NoChatTemplate)?;
        let mut context = json!({
            "messages": messages,
            "tools": tools,
            "documents": null,
            "add_generation_prompt": add_generation_prompt,
        });
        for (role, token) in self.roles.iter() {
            context[role] = token.as_str().into();
        }
        chat::render(template, &context).map_err(Error::Chat)
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
    let mut inner = caught(|| tokenizers::Tokenizer::from_bytes(bytes))
        .map_err(|panic| broken(format!("no tokenizer: {panic}")))?
        .map_err(|e| broken(format!("no tokenizer: {e}")))?;
    check_added(bytes, &inner).map_err(broken)?;
    // Files remember the padding and truncation of whoever saved them last.
    inner.with_padding(None);
    inner
        .with_truncation(None)
        .map_err(|e| broken(e.to_string()))?;
    Ok(inner)
}

/// The tokenizers library numbers added tokens itself: a gap in a file would move those behind it.
fn check_added(bytes: &[u8], inner: &tokenizers::Tokenizer) -> Result<(), String> {
    let json: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let (Some(content), Some(id)) = (token["content"].as_str(), token["id"].as_u64()) else {
            continue;
        };
        match inner.token_to_id(content) {
            Some(found) if u64::from(found) != id => {
                return Err(format!(
                    "added token `{content}` has id {id} and would get {found}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The text of a token that a file names, alone or with its properties.
fn token_text(value: &Value) -> Option<&str> {
    value
        .as_str()
        .or_else(|| value.get("content").and_then(Value::as_str))
}

/// Texts of the special tokens by role, the first file's first.
fn roles(named: &[Value]) -> BTreeMap<String, String> {
    let entries = named.iter().rev().filter_map(Value::as_object).flatten();
    entries
        .filter(|(key, _)| key.ends_with("_token"))
        .filter_map(|(key, value)| Some((key.clone(), token_text(value)?.to_owned())))
        .collect()
}

fn find_specials(inner: &tokenizers::Tokenizer, named: &[Value], numbered: &[Value]) -> Specials {
    let ids = |kind: &str| -> Vec<u32> {
        let token = format!("{kind}_token");
        let by_name = named
            .iter()
            .filter_map(|file| inner.token_to_id(token_text(file.get(&token)?)?));
        let by_number = numbered
            .iter()
            .flat_map(|file| match file.get(format!("{kind}_token_id")) {
                Some(Value::Array(ids)) => ids.clone(),
                Some(id) => vec![id.clone()],
                None => Vec::new(),
            })
            .filter_map(|id| id.as_u64().map(|id| id as u32));
        let mut ids: Vec<u32> = Vec::new();
        for id in by_name.chain(by_number) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    };
    Specials {
        bos: ids("bos").first().copied(),
        eos: ids("eos"),
        pad: ids("pad").first().copied(),
    }
}

/// The template in a `tokenizer_config.json`: one, or the default of several.
fn chat_template(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(template) => Some(template.clone()),
        Value::Array(several) => {
            let default = several.iter().find(|t| t["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}
