//! A backbone whose states are used as they are, for embeddings of tokens.

use std::path::Path;

use candle_core::{Device, Result, Tensor};

use super::checkpoint::{Checkpoint, is_head};
use super::{Backbone, Packed, weights};

/// States of tokens: BERT's and RoBERTa's for BERTScore, or those of any other backbone.
#[derive(Debug)]
pub struct Encoder(Backbone);

impl Encoder {
    /// Loads a Hugging Face folder; heads and poolers in it are left out.
    ///
    /// # Errors
    /// See [`weights::Error`].
    pub fn load(folder: &Path, device: &Device) -> std::result::Result<Self, weights::Error> {
        let mut checkpoint = Checkpoint::open(folder)?;
        let spec = checkpoint.spec.clone();
        let backbone = Backbone::build(spec, device, &mut |name, shape, _| {
            checkpoint.take(name, shape, device)
        })?;
        checkpoint.finish(is_head)?;
        Ok(Self(backbone))
    }

    /// What makes the states.
    pub fn backbone(&self) -> &Backbone {
        &self.0
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.0.spec().layers
    }

    /// States `[T, H]` of all tokens behind `layer` layers; 0 is what goes into the first.
    ///
    /// # Errors
    /// As for [`Backbone::states`].
    pub fn states(&self, batch: &Packed, layer: usize) -> Result<Tensor> {
        self.0.states(batch, layer)
    }
}
