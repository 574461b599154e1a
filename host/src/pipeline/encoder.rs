//! The encoder model of a run: what stands behind the interface `encoder` that plugins ask for.
//!
//! Tokens, weights and matching are those of bert-score 0.3.13 (Zhang et al. 2020, section 3,
//! <https://arxiv.org/abs/1904.09675>), without its rescaling by a baseline.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::Tensor;
use rayon::prelude::*;

use super::Error;
use crate::config;
use crate::hub;
use crate::models::{self, Packed};
use crate::plugin;
use crate::plugin::host::encoder::{Embeddings, Encoder, Frequencies, Matching};
use crate::plugin::host::{EncoderSource, encoder};
use crate::tokenizer::Tokenizer;

/// Tokens of one forward pass, at most, unless one text has more: enough to keep a device busy,
/// and 50 MB of a large model's activations a layer. Chosen; the scores don't depend on it.
const TOKENS_PER_PASS: usize = 4096;

/// Layers that bert-score 0.3.13 takes of the models that can be loaded here (`model2layers`),
/// by the last part of their names.
const LAYERS: [(&str, usize); 20] = [
    ("bert-base-uncased", 9),
    ("bert-large-uncased", 18),
    ("bert-base-cased-finetuned-mrpc", 9),
    ("bert-base-multilingual-cased", 9),
    ("bert-base-chinese", 8),
    ("roberta-base", 10),
    ("roberta-large", 17),
    ("roberta-large-mnli", 19),
    ("roberta-base-openai-detector", 7),
    ("roberta-large-openai-detector", 15),
    ("scibert_scivocab_uncased", 8),
    ("scibert_scivocab_cased", 9),
    ("scibert_basevocab_uncased", 9),
    ("finbert", 10),
    ("spanbert-base-cased", 8),
    ("spanbert-large-cased", 17),
    ("sup-simcse-bert-base-uncased", 10),
    ("sup-simcse-bert-large-uncased", 18),
    ("sup-simcse-roberta-base", 10),
    ("sup-simcse-roberta-large", 16),
];

/// Which encoder a run has, if any.
#[derive(Clone, Debug, Default)]
pub struct EncoderChoice {
    /// A Hugging Face folder or a hub name.
    pub model: Option<String>,
    /// States behind this layer; by default bert-score's choice, or the last.
    pub layer: Option<usize>,
    pub device: config::Device,
}

impl EncoderChoice {
    /// The encoder of a run's configuration.
    pub fn of(config: &config::Config) -> Self {
        Self {
            model: config.evaluation.encoder.clone(),
            layer: config.evaluation.encoder_layer,
            device: config.model.device,
        }
    }

    /// The encoder, loaded once, when it is asked for.
    pub(super) fn source(self) -> EncoderSource {
        let made: OnceLock<Arc<dyn Encoder>> = OnceLock::new();
        Arc::new(move || {
            let Some(model) = &self.model else {
                return Ok(None);
            };
            if let Some(encoder) = made.get() {
                return Ok(Some(Arc::clone(encoder)));
            }
            let loaded = TokenEncoder::load(model, self.layer, self.device);
            let loaded = loaded.map_err(|error| {
                let mut problem = error.to_string();
                if let Some(hint) = error.hint() {
                    problem.push_str("\nhint: ");
                    problem.push_str(&hint);
                }
                plugin::Error::Encoder {
                    model: model.clone(),
                    problem,
                }
            })?;
            Ok(Some(Arc::clone(made.get_or_init(|| Arc::new(loaded)))))
        })
    }
}

/// A BERT or a RoBERTa whose states are token embeddings.
pub struct TokenEncoder {
    tokenizer: Tokenizer,
    model: models::Encoder,
    layer: usize,
    /// Begin and end of every text: `[CLS]` and `[SEP]`, `<s>` and `</s>`.
    ends: [u32; 2],
    /// Tokens of a text at most, special ones included.
    tokens_max: usize,
    /// RoBERTa's words begin with their space, and so must a text's first one.
    space_first: bool,
    signature: String,
    /// Held in a pass: threads of one pass share the device already, and its memory is for one.
    pass: Mutex<()>,
}

/// What the embeddings of a text are.
struct Held {
    ids: Vec<u32>,
    /// `[T, H]`, each row of length 1.
    rows: Tensor,
}

/// In how many documents a token stands.
#[derive(Clone, Debug, Default)]
struct Documents {
    count: usize,
    with: HashMap<u32, usize>,
}

impl Documents {
    /// `ln((N + 1) / (df + 1))`.
    fn weight(&self, id: u32) -> f64 {
        let with = self.with.get(&id).copied().unwrap_or(0);
        ((self.count + 1) as f64 / (with + 1) as f64).ln()
    }
}

impl TokenEncoder {
    /// Loads a model by folder or hub name. `layer` counts as transformers' `hidden_states`.
    ///
    /// # Errors
    /// There is no such model or device, the model is no BERT or RoBERTa, has no such layer, or
    /// its tokenizer does not put one token before and one behind a text.
    pub fn load(name: &str, layer: Option<usize>, device: config::Device) -> Result<Self, Error> {
        let device = super::device(device)?;
        let folder = hub::resolve(name)?;
        let tokenizer = Tokenizer::from_folder(&folder)?;
        let model = models::Encoder::load(&folder, &device)?;
        let spec = model.backbone().spec();
        if !matches!(spec.model_type, "bert" | "roberta") {
            return Err(Error::Input(format!(
                "is a {}; expected a BERT or a RoBERTa",
                spec.model_type
            )));
        }
        // A folder's path says nothing about the model, and differs between machines.
        let is_folder = Path::new(name).exists();
        let last = Path::new(name).file_name();
        let last = last.map_or(name.to_owned(), |last| last.to_string_lossy().into_owned());
        let layer = layer
            .or_else(|| layer_of(&last).filter(|layer| *layer <= spec.layers))
            .unwrap_or(spec.layers);
        if layer > spec.layers {
            return Err(Error::Input(format!(
                "has no layer {layer}; expected 0 to {}",
                spec.layers
            )));
        }
        let empty = tokenizer.encode_whole("", None)?;
        let Ok(ends) = <[u32; 2]>::try_from(empty) else {
            return Err(Error::Input(
                "has a tokenizer that doesn't put a token before and one behind a text, as those of BERT and RoBERTa do".into(),
            ));
        };
        let tokens_max = tokenizer.tokens_max().unwrap_or(usize::MAX);
        let shown = if is_folder { last.as_str() } else { name };
        Ok(Self {
            tokens_max: tokens_max.min(spec.context).max(ends.len()),
            space_first: spec.model_type == "roberta",
            signature: format!("model:{shown}|layer:{layer}"),
            pass: Mutex::new(()),
            tokenizer,
            model,
            layer,
            ends,
        })
    }

    /// Ids of a text, special tokens included, cut off at the model's maximum.
    fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        let text = text.trim_matches(is_python_space);
        let spaced;
        let text = match text {
            "" => return Ok(self.ends.to_vec()),
            text if self.space_first => {
                spaced = format!(" {text}");
                &spaced
            }
            text => text,
        };
        let inner = self.tokenizer.encode(text);
        let mut inner = inner.map_err(|error| error.to_string())?;
        inner.truncate(self.tokens_max - self.ends.len());
        let [first, last] = self.ends;
        Ok([&[first][..], &inner, &[last]].concat())
    }

    fn all_ids(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, String> {
        texts.par_iter().map(|text| self.ids(text)).collect()
    }

    /// Rows of length 1 of the texts in `batch`, `[T, H]`.
    fn rows(&self, batch: &Packed) -> candle_core::Result<Tensor> {
        let _pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let states = self.model.states(batch, self.layer)?;
        let lengths = states.sqr()?.sum_keepdim(1)?.sqrt()?;
        states.broadcast_div(&lengths)
    }

    /// Weight of each token.
    fn weights(&self, ids: &[u32], documents: Option<&Documents>) -> Vec<f64> {
        let weight = |id: &u32| match documents {
            Some(documents) => documents.weight(*id),
            None if self.ends.contains(id) => 0.0,
            None => 1.0,
        };
        ids.iter().map(weight).collect()
    }
}

/// The layer that bert-score's authors chose for a model of this name.
fn layer_of(name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    let known = LAYERS.iter().find(|(known, _)| *known == name);
    known.map(|(_, layer)| *layer)
}

/// What Python's `str.strip` takes away.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn held(embeddings: &Embeddings) -> Result<&Held, String> {
    let held = embeddings.held.downcast_ref();
    held.ok_or_else(|| "these embeddings are of another encoder".into())
}

fn documents(frequencies: &Frequencies) -> Result<&Documents, String> {
    let documents = frequencies.downcast_ref();
    documents.ok_or_else(|| "these frequencies are of another encoder".into())
}

impl encoder::Encoder for TokenEncoder {
    fn signature(&self) -> String {
        self.signature.clone()
    }

    fn fit(
        &self,
        references: &[String],
        learned: Option<&Frequencies>,
    ) -> Result<Arc<Frequencies>, String> {
        let mut all = learned.map_or(Ok(Documents::default()), |l| documents(l).cloned())?;
        all.count += references.len();
        for ids in self.all_ids(references)? {
            for id in HashSet::<u32>::from_iter(ids) {
                *all.with.entry(id).or_insert(0) += 1;
            }
        }
        Ok(Arc::new(all))
    }

    fn encode(&self, texts: &[String]) -> Result<Vec<Embeddings>, String> {
        let ids = self.all_ids(texts)?;
        // Texts of about the same length go together: devices compute them as one block.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|at| ids[*at].len());
        let mut encoded: Vec<Option<Embeddings>> = texts.iter().map(|_| None).collect();
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut batch = Packed::default();
            let mut placed = Vec::new();
            for at in rest {
                if !placed.is_empty() && batch.tokens() + ids[*at].len() > TOKENS_PER_PASS {
                    break;
                }
                placed.push((*at, batch.push(&ids[*at])));
            }
            rest = &rest[placed.len()..];
            let failed = |error: candle_core::Error| {
                format!(
                    "{} texts of {} tokens: {error}",
                    placed.len(),
                    batch.tokens()
                )
            };
            let rows = self.rows(&batch).map_err(failed)?;
            for (at, tokens) in &placed {
                let rows = rows.narrow(0, tokens.start, tokens.len()).map_err(failed)?;
                let width = rows.dim(1).map_err(failed)?;
                encoded[*at] = Some(Embeddings {
                    tokens: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
                    width: u32::try_from(width).unwrap_or(u32::MAX),
                    held: Box::new(Held {
                        ids: ids[*at].clone(),
                        rows,
                    }),
                });
            }
        }
        let all: Option<Vec<Embeddings>> = encoded.into_iter().collect();
        all.ok_or_else(|| "a text was left out".into())
    }

    fn matches(
        &self,
        candidate: &Embeddings,
        reference: &Embeddings,
        frequencies: Option<&Frequencies>,
    ) -> Result<Matching, String> {
        let (candidate, reference) = (held(candidate)?, held(reference)?);
        let documents = frequencies.map(documents).transpose()?;
        // Without a token of its own a text matches nothing.
        let empty = |held: &Held| held.ids.len() <= self.ends.len();
        if empty(candidate) || empty(reference) {
            return Ok(Matching {
                precision: 0.0,
                recall: 0.0,
                f1: 0.0,
            });
        }
        let similar = || -> candle_core::Result<Vec<f32>> {
            let product = candidate.rows.matmul(&reference.rows.t()?)?;
            product.flatten_all()?.to_vec1()
        };
        let similar = similar().map_err(|error| error.to_string())?;
        let columns = reference.ids.len();
        let mut best_of_rows = Vec::with_capacity(candidate.ids.len());
        // A token's best is 0 at least: bert-score pads the texts of a batch to the longest, and a
        // padded token's similarity is 0.
        let mut best_of_columns = vec![0.0_f32; columns];
        for row in similar.chunks_exact(columns) {
            best_of_rows.push(row.iter().copied().fold(0.0, f32::max));
            for (best, value) in best_of_columns.iter_mut().zip(row) {
                *best = best.max(*value);
            }
        }
        let mean = |what, best: &[f32], ids: &[u32]| -> Result<f64, String> {
            let weights = self.weights(ids, documents);
            let sum: f64 = weights.iter().sum();
            if sum <= 0.0 {
                return Err(format!(
                    "idf: all tokens of the {what} stand in every one of the {} references, so that none has a weight",
                    documents.map_or(0, |documents| documents.count)
                ));
            }
            let weighted = best.iter().zip(&weights);
            let weighted: f64 = weighted
                .map(|(best, weight)| f64::from(*best) * weight)
                .sum();
            // Rounding alone leaves the range of a cosine.
            Ok((weighted / sum).clamp(0.0, 1.0))
        };
        let precision = mean("response", &best_of_rows, &candidate.ids)?;
        let recall = mean("reference", &best_of_columns, &reference.ids)?;
        let f1 = 2.0 * precision * recall / (precision + recall);
        Ok(Matching {
            precision,
            recall,
            f1: if f1.is_nan() { 0.0 } else { f1.clamp(0.0, 1.0) },
        })
    }

    fn vectors(&self, embeddings: &Embeddings) -> Result<Vec<f32>, String> {
        let rows = held(embeddings)?.rows.flatten_all();
        let vectors = rows.and_then(|rows| rows.to_vec1());
        vectors.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch weights of another formula, and counts that are forgotten between blocks.
    #[test]
    fn weights_are_bert_scores() {
        let documents = Documents {
            count: 3,
            with: HashMap::from([(5, 3), (6, 1)]),
        };
        // Reference: math.log((3 + 1) / (df + 1)) as in bert_score/utils.py.
        assert_eq!(documents.weight(5), 0.0);
        assert_eq!(documents.weight(6), 2_f64.ln());
        assert_eq!(documents.weight(7), 4_f64.ln());
    }

    // Would catch a model that is taken for another, or none.
    #[test]
    fn layers_go_by_name() {
        assert_eq!(layer_of("roberta-large"), Some(17));
        assert_eq!(
            layer_of("SpanBERT-base-cased".to_lowercase().as_str()),
            Some(8)
        );
        assert_eq!(layer_of("codebert-base"), None);
    }
}
