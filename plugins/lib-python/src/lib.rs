//! Python source text as CPython reads it.
//!
//! Owns the tokeniser of CPython 3.11 and its idea of a word. What follows
//! from the tokens is left to the metrics.

pub mod tokens;
pub mod words;
