//! `[sandbox]`: how programs that nobody trusts are run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the sandbox. What a program may use is set with its runner:
/// `--plugin runners/python.wasm,fuel=2G,memory=128M`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// Worker processes at most; 0: one for each core. Default 0.
    pub workers: usize,
    /// Tests that need live objects, and so can't be judged by value, run with the candidate in
    /// one instance, where it can forge their verdict. They are counted as unguarded. Default
    /// false: such tests fail, and say so.
    pub allow_unguarded: bool,
}
