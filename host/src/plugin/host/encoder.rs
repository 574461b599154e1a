//! `rlhf:plugin/encoder`: token embeddings of the run's encoder model.
//!
//! This module knows no tensors: what an embedding is made of is the business
//! of whoever implements [`Encoder`].

use std::any::Any;
use std::sync::Arc;

use wasmtime::component::Resource;

use crate::plugin::bindings::v0_1::{encoder, types};
use crate::plugin::instance::State;
use crate::plugin::limits::EMBEDDINGS_MAX;

/// Inverse document frequencies, as the encoder keeps them.
pub type Frequencies = dyn Any + Send + Sync;

/// A model that turns texts into token embeddings.
pub trait Encoder: Send + Sync {
    /// Which model and which of its layers, for signatures: `model:NAME|layer:6`.
    fn signature(&self) -> String;

    /// Learns inverse document frequencies from the references of a corpus, or from more of
    /// them on top of what `learned` has.
    ///
    /// # Errors
    /// For people: what the model could not do.
    fn fit(
        &self,
        references: &[String],
        learned: Option<&Frequencies>,
    ) -> Result<Arc<Frequencies>, String>;

    /// The embeddings of each text, in order.
    ///
    /// # Errors
    /// For people: what the model could not do.
    fn encode(&self, texts: &[String]) -> Result<Vec<Embeddings>, String>;

    /// Greedy matching of candidate and reference by cosine similarity
    /// (BERTScore, Zhang et al. 2020, eq. 1 to 3), weighted where there are frequencies.
    ///
    /// # Errors
    /// For people: what the model could not do.
    fn matches(
        &self,
        candidate: &Embeddings,
        reference: &Embeddings,
        frequencies: Option<&Frequencies>,
    ) -> Result<Matching, String>;

    /// All vectors of a text, `[tokens, width]` row by row.
    ///
    /// # Errors
    /// For people: what the model could not do.
    fn vectors(&self, embeddings: &Embeddings) -> Result<Vec<f32>, String>;
}

/// The token embeddings of one text, kept where the encoder computes.
pub struct Embeddings {
    /// Special tokens included.
    pub tokens: u32,
    pub width: u32,
    pub held: Box<dyn Any + Send + Sync>,
}

/// How well two texts' tokens match; each from -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matching {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

fn refused(code: &str, message: impl Into<String>) -> types::Error {
    types::Error {
        code: code.to_owned(),
        message: message.into(),
    }
}

impl State {
    /// The encoder, whose time is not the plugin's.
    fn with_encoder<T>(
        &mut self,
        call: impl FnOnce(&mut Self, &dyn Encoder) -> Result<T, String>,
    ) -> Result<T, types::Error> {
        // Loading refuses plugins that lack the grant, so this is only a second wall.
        let Some(encoder) = self.granted.encoder.clone() else {
            return Err(refused("not-granted", "the run granted no encoder"));
        };
        self.in_host(|state| call(state, &*encoder))
            .map_err(|message| refused("encoder-failed", message))
    }
}

impl encoder::Host for State {
    fn fit(&mut self, references: Vec<String>) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.with_encoder(|state, encoder| {
            state.granted.frequencies = Some(encoder.fit(&references, None)?);
            Ok(())
        }))
    }

    fn encode(
        &mut self,
        texts: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Resource<Embeddings>>, types::Error>> {
        if self.granted.embeddings + texts.len() > EMBEDDINGS_MAX {
            return Ok(Err(refused(
                "too-many-embeddings",
                format!(
                    "at most {EMBEDDINGS_MAX} embeddings in one call; drop those that are no longer needed"
                ),
            )));
        }
        let encoded = self.with_encoder(|_, encoder| {
            let encoded = encoder.encode(&texts)?;
            if encoded.len() == texts.len() {
                Ok(encoded)
            } else {
                Err(format!(
                    "{} embeddings for {} texts",
                    encoded.len(),
                    texts.len()
                ))
            }
        });
        match encoded {
            Ok(encoded) => {
                let mut handles = Vec::with_capacity(encoded.len());
                for embeddings in encoded {
                    handles.push(self.table.push(embeddings)?);
                    self.granted.embeddings += 1;
                }
                Ok(Ok(handles))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn matches(
        &mut self,
        a: Resource<Embeddings>,
        b: Resource<Embeddings>,
    ) -> wasmtime::Result<Result<encoder::Matching, types::Error>> {
        // Looked up first: a bad handle is the guest's mistake and traps.
        self.table.get(&a)?;
        self.table.get(&b)?;
        let matching = self.with_encoder(|state, encoder| {
            let lost = |error: wasmtime_wasi::ResourceTableError| error.to_string();
            let candidate = state.table.get(&a).map_err(lost)?;
            let reference = state.table.get(&b).map_err(lost)?;
            let granted = &state.granted;
            let frequencies = granted.frequencies.as_ref().or(granted.of_corpus.as_ref());
            encoder.matches(candidate, reference, frequencies.map(AsRef::as_ref))
        });
        Ok(matching.map(|matching| encoder::Matching {
            precision: matching.precision,
            recall: matching.recall,
            f1: matching.f1,
        }))
    }
}

impl encoder::HostEmbeddings for State {
    fn tokens(&mut self, handle: Resource<Embeddings>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&handle)?.tokens)
    }

    fn width(&mut self, handle: Resource<Embeddings>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&handle)?.width)
    }

    fn vectors(&mut self, handle: Resource<Embeddings>) -> wasmtime::Result<Vec<f32>> {
        self.table.get(&handle)?;
        let vectors = self.with_encoder(|state, encoder| {
            let embeddings = state
                .table
                .get(&handle)
                .map_err(|error| error.to_string())?;
            encoder.vectors(embeddings)
        });
        vectors.map_err(|error| wasmtime::Error::msg(error.message))
    }

    fn drop(&mut self, handle: Resource<Embeddings>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.granted.embeddings = self.granted.embeddings.saturating_sub(1);
        Ok(())
    }
}
