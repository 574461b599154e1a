//! `rlhf` trains language models that write code, with human feedback and with
//! rewards that can be trusted.
//!
//! The modules in the order in which data moves through them:
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`cli`] | flags, commands, exit codes |
//! | [`config`] | a run's settings: presets, files, ranges |
//! | [`files`] | files that are whole whatever ends the process |
//! | [`hub`] | from a model's name to a folder |
//! | [`gguf`] | the header of a file of llama.cpp's |
//! | [`tokenizer`] | text to ids and back, conversations to text |
//! | [`plugin`] | the WebAssembly runtime |
//! | [`sandbox`] | worker processes, programs nobody trusts, verdicts |
//! | [`data`] | examples: files through adapters, embedded tasks, splits |
//! | [`ops`], [`models`] | layers with forward and backward, and the networks made of them |
//! | [`rollout`] | sampling with a KV cache, log-probabilities, divergence from the reference |
//! | [`reward`] | what a response is worth, part by part |
//! | [`trainer`] | supervised warm-up, DPO, PPO, GRPO, RLOO, the optimizer, checkpoints |
//! | [`evaluate`] | metrics over responses, with intervals |
//! | [`tracking`], [`report`] | what a run tells while it goes on, and what it leaves |
//! | [`pipeline`] | the stages in order, and the only place where they meet |
//! | [`calendar`] | dates of days |
//! | [`random`] | one seed a run, one stream a purpose |
//! | `allocator` | memory of large pieces that come and go, on Linux |
//!
//! Invariants: everything random comes from the run's seed; plugins get values
//! and return values; a failure of a plugin is a value; files are written
//! beside and renamed; tensors are f32.
#![deny(unsafe_code)]

// `ops` comes first for its macro, which marks functions to be compiled for wide vectors.
#[macro_use]
pub mod ops;

#[cfg(target_os = "linux")]
pub mod allocator;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod data;
pub mod evaluate;
pub mod files;
pub mod gguf;
pub mod hub;
pub mod models;
pub mod pipeline;
pub mod plugin;
pub mod random;
pub mod report;
pub mod reward;
pub mod rollout;
pub mod sandbox;
pub mod tokenizer;
pub mod tracking;
pub mod trainer;
