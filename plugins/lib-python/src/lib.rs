//! Python source text as CPython reads it.
//!
//! Owns the tokeniser of CPython 3.11 and its idea of a word, and the rule
//! which program a model's response stands for. What follows from the tokens
//! is left to the metrics.

pub mod candidate;
pub mod tokens;
pub mod words;
