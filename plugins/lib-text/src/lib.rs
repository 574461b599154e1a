//! Text as the reference metrics see it.
//!
//! Owns what more than one metric needs to give the numbers of its Python
//! reference: Python's idea of whitespace, bytes of a kind, clipped n-gram counts, an exactly
//! rounded sum, the two terms every BLEU shares (brevity penalty, weighted
//! geometric mean), longest common subsequences and edit distances. It leaves
//! tokenisation beyond `str.split()`, smoothing and everything about a
//! particular metric to that metric's crate.

mod bleu_terms;
mod bytes;
mod char_numbers;
mod edit_distance;
mod exact_sum;
mod ngrams;
mod positions;
mod subsequence;
mod vocabulary;
mod whitespace;

pub use bleu_terms::{brevity_penalty, closest_reference_length, geometric_mean};
pub use bytes::for_each_within;
pub use char_numbers::CharNumbers;
pub use edit_distance::levenshtein;
pub use exact_sum::exact_sum;
pub use ngrams::{Clipped, ngram_total};
pub use subsequence::{LcsRows, Step, lcs_length};
pub use whitespace::{
    is_ascii_whitespace, is_blank, is_whitespace, split, split_at_others, strip, strip_end, words,
};
