//! `[[plugins]]`: components beside the shipped ones.

use serde::{Deserialize, Serialize};

/// One plugin, as `--plugin` would name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginEntry {
    /// Path, or name of a shipped component.
    pub path: String,
    /// Name in reports instead of the plugin's own.
    #[serde(default)]
    pub name: Option<String>,
    /// Capabilities: `encoder`, `sandbox`.
    #[serde(default)]
    pub grants: Vec<String>,
    /// The plugin's own options.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}
