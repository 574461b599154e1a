//! A reward model as a part of the reward: what people would say of a response.

use std::path::Path;

use candle_core::Device;

use crate::models::{Model, Packed, Scorer, weights};
use crate::tokenizer::{self, Tokenizer};

/// Texts that are scored at once.
const BATCH: usize = 8;

/// What keeps a reward model from scoring.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`{folder}` is no trained reward model but {found}\nhint: a run's is in its folder `final`; `rlhf reward train --reward-model-name {folder}` makes one of a model whose architecture can be one"
    )]
    NotTrained { folder: String, found: String },
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    #[error("reward model, {texts} texts: {source}")]
    Tensor {
        texts: usize,
        source: candle_core::Error,
    },
}

/// A trained reward model with its own tokenizer: texts in, scores out.
pub struct LearnedReward {
    model: Scorer,
    tokenizer: Tokenizer,
    max_length: usize,
}

impl LearnedReward {
    /// Texts are cut to `max_length` tokens and to the model's context, the prompt's beginning
    /// first. The model is frozen.
    pub fn new(mut model: Scorer, tokenizer: Tokenizer, max_length: usize) -> Self {
        model.freeze();
        let max_length = max_length.min(model.backbone().spec().context);
        Self {
            model,
            tokenizer,
            max_length,
        }
    }

    /// Loads what `rlhf reward train` saved, or any sequence classifier with one label.
    ///
    /// # Errors
    /// The folder lacks something, or is that of another kind of model.
    pub fn load(folder: &Path, max_length: usize, device: &Device) -> Result<Self, Error> {
        let model = Scorer::load_trained(folder, device).map_err(|error| match error {
            weights::Error::Architecture { found, .. } => Error::NotTrained {
                folder: folder.display().to_string(),
                found,
            },
            other => Error::Weights(other),
        })?;
        let tokenizer = Tokenizer::from_folder(folder)?;
        Ok(Self::new(model, tokenizer, max_length))
    }

    /// Scores of prompts with their responses, in order: without bounds, higher is better, only
    /// differences mean something. No human logits are shown: a rollout has none.
    ///
    /// # Errors
    /// The tokenizer refuses a text, or the device has no room.
    pub fn scores(&self, texts: &[(&str, &str)]) -> Result<Vec<f64>, Error> {
        let causal = self.model.backbone().spec().causal();
        let mut scores = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(BATCH) {
            let mut batch = Packed::default();
            for (prompt, response) in chunk {
                let encode = Tokenizer::encode_judged;
                batch.push(&encode(
                    &self.tokenizer,
                    prompt,
                    response,
                    causal,
                    self.max_length,
                )?);
            }
            let rows = self.model.rows(&batch);
            let found = self.model.scores(&batch, &rows);
            let found = found.map_err(|source| Error::Tensor {
                texts: chunk.len(),
                source,
            })?;
            scores.extend(found.into_iter().map(f64::from));
        }
        Ok(scores)
    }
}
