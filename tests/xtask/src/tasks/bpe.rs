//! Trains a byte-level byte-pair encoding (Sennrich et al. 2016,
//! <https://arxiv.org/abs/1508.07909>; bytes as in GPT-2) and writes it as a `tokenizer.json`.
//!
//! Ours rather than the `tokenizers` trainer: a hundred lines, nothing to install, and ties
//! between equally frequent pairs are broken by a rule that no release can change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Entries in all: specials, the 256 bytes, merges.
const VOCABULARY_SIZE: usize = 640;

/// Ids 0 and 1.
const SPECIALS: [&str; 2] = ["<|pad|>", "<|endoftext|>"];

/// How text is cut before merging, as an alternation tried from the left: a line break with the
/// indentation after it; a word; a single digit; a run of other signs (each but the line break
/// with at most one space before it); other white space.
///
/// `pieces` below does by hand what the pattern says, so that training needs no regex crate; a
/// test in `host/src/data/builtin.rs` encodes the corpus with the real one.
const PATTERN: &str = r"\n *| ?[A-Za-z_]+| ?[0-9]| ?[^\sA-Za-z_0-9]+|[^\S\n]+";

/// A `tokenizer.json` trained on `texts`.
pub fn train<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    let alphabet = alphabet();
    let mut counts = BTreeMap::<Vec<String>, usize>::new();
    for text in texts {
        for piece in pieces(text) {
            let symbols = piece
                .bytes()
                .map(|byte| alphabet[usize::from(byte)].to_string());
            *counts.entry(symbols.collect()).or_default() += 1;
        }
    }
    let mut words: Vec<(Vec<String>, usize)> = counts.into_iter().collect();

    let mut vocabulary: Vec<String> = SPECIALS.iter().map(|&special| special.to_owned()).collect();
    vocabulary.extend(
        alphabet
            .iter()
            .map(char::to_string)
            .collect::<BTreeSet<String>>(),
    );
    let mut known: BTreeSet<String> = vocabulary.iter().cloned().collect();
    let mut merges = Vec::<(String, String)>::new();
    while vocabulary.len() < VOCABULARY_SIZE {
        let mut pairs = BTreeMap::<(String, String), usize>::new();
        for (symbols, count) in &words {
            for pair in symbols.windows(2) {
                *pairs.entry((pair[0].clone(), pair[1].clone())).or_default() += count;
            }
        }
        // The most frequent; of equals the alphabetically first. A pair seen once teaches nothing.
        let Some((pair, _)) = pairs
            .into_iter()
            .filter(|&(_, count)| count > 1)
            .max_by(|left, right| left.1.cmp(&right.1).then_with(|| right.0.cmp(&left.0)))
        else {
            break;
        };
        let merged = format!("{}{}", pair.0, pair.1);
        for (symbols, _) in &mut words {
            merge(symbols, &pair, &merged);
        }
        // Two merges can spell the same token; it has one id.
        if known.insert(merged.clone()) {
            vocabulary.push(merged);
        }
        merges.push(pair);
    }
    tokenizer(&vocabulary, &merges)
}

fn merge(symbols: &mut Vec<String>, pair: &(String, String), merged: &str) {
    let mut index = 0;
    while index + 1 < symbols.len() {
        if symbols[index] == pair.0 && symbols[index + 1] == pair.1 {
            merged.clone_into(&mut symbols[index]);
            symbols.remove(index + 1);
        }
        index += 1;
    }
}

/// GPT-2's printable stand-in for each byte: itself where it is printable, else from U+0100 on.
fn alphabet() -> [char; 256] {
    let mut next = 256;
    std::array::from_fn(|byte| {
        let byte = byte as u32;
        let code = match byte {
            0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => byte,
            _ => {
                next += 1;
                next - 1
            }
        };
        char::from_u32(code).expect("below the surrogates")
    })
}

/// Cuts a text as [`PATTERN`] does.
fn pieces(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_sign = |c: char| !c.is_whitespace() && !is_word(c) && !c.is_ascii_digit();
    let run = |text: &str, accepts: &dyn Fn(char) -> bool| {
        text.find(|c| !accepts(c)).unwrap_or(text.len())
    };
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first == '\n' {
            1 + run(&rest[1..], &|c| c == ' ')
        } else {
            let space = usize::from(first == ' ');
            let after = &rest[space..];
            match after.chars().next() {
                Some(c) if is_word(c) => space + run(after, &is_word),
                Some(c) if c.is_ascii_digit() => space + 1,
                Some(c) if is_sign(c) => space + run(after, &is_sign),
                _ => run(rest, &|c| c.is_whitespace() && c != '\n'),
            }
        };
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn tokenizer(vocabulary: &[String], merges: &[(String, String)]) -> Value {
    let added: Vec<Value> = SPECIALS
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({
                "id": id,
                "content": content,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": true,
            })
        })
        .collect();
    let ids: Map<String, Value> = vocabulary
        .iter()
        .enumerate()
        .map(|(id, token)| (token.clone(), id.into()))
        .collect();
    let merges: Vec<Value> = merges
        .iter()
        .map(|(left, right)| json!([left, right]))
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": { "Regex": PATTERN },
                    "behavior": "Isolated",
                    "invert": false,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": false,
                    "trim_offsets": true,
                    "use_regex": false,
                },
            ],
        },
        "post_processor": null,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": false,
            "trim_offsets": true,
            "use_regex": false,
        },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": ids,
            "merges": merges,
        },
    })
}

/// The `tokenizer_config.json` with which transformers loads it.
pub fn config() -> Value {
    let [pad, end] = SPECIALS;
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": false,
        "add_eos_token": false,
        "bos_token": null,
        "eos_token": end,
        "pad_token": pad,
        "unk_token": null,
        "padding_side": "left",
        "clean_up_tokenization_spaces": false,
        "model_max_length": 128,
    })
}
