//! `[[plugins]]`: components beside the shipped ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One plugin, as `--plugin` would name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginEntry {
    /// Path, or name of a shipped component.
    pub path: String,
    /// Name in reports instead of the plugin's own.
    #[serde(default)]
    pub name: Option<String>,
    /// Capabilities: `encoder`, `sandbox`, `folder:PATH`.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Limits that differ from the defaults: `fuel_per_sample`, `memory_bytes_max`, ….
    #[serde(default)]
    pub limits: serde_json::Map<String, serde_json::Value>,
    /// What becomes of a reward that it can't give: `abstain` (default), `abort`, `penalty:NUMBER`.
    #[serde(default)]
    pub on_failure: Option<String>,
    /// Its share in the reward, if it is a part of it. Default 1 for reward
    /// shapers; a metric is a part only if it has a weight.
    #[serde(default)]
    pub weight: Option<f64>,
    /// Its rewards are cut to ± this before they are weighed; unset: they are not.
    #[serde(default)]
    pub clip: Option<f64>,
    /// The plugin's own options.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}
