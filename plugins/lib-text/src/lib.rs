//! Text as the reference metrics see it.
//!
//! Owns what more than one metric needs to give the numbers of its Python
//! reference: Python's idea of whitespace, clipped n-gram counts, an exactly
//! rounded sum, and the two terms every BLEU shares (brevity penalty, weighted
//! geometric mean). It leaves tokenisation beyond `str.split()`, smoothing and
//! everything about a particular metric to that metric's crate.

mod bleu_terms;
mod exact_sum;
mod ngrams;
mod whitespace;

pub use bleu_terms::{brevity_penalty, closest_reference_length, geometric_mean};
pub use exact_sum::exact_sum;
pub use ngrams::{NgramIndex, ngram_total};
pub use whitespace::{is_blank, is_whitespace, split, strip, strip_end};
