//! Weights: pickles in both forms, safetensors, GGUF.

#![no_main]

use rlhf_fuzz as holds;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holds::weights(bytes));
