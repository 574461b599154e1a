//! `[data]`: where the examples come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when a row of a data file can't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// The run ends before it begins, naming the row.
    #[default]
    Error,
    /// The row is left out and counted.
    Skip,
}

/// Files and how to read them. Without files, the embedded tasks are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Demonstrations (`prompt,response[,rating]`) or preferences
    /// (`prompt,chosen,rejected`); CSV, JSON, JSON Lines or Parquet.
    pub train_data_path: Option<PathBuf>,
    /// Held-out tasks (`prompt,reference`). Without it, part of the training data is held out.
    pub eval_data_path: Option<PathBuf>,
    /// Ratings (`prompt,response,rating[,logits]`) or preferences.
    pub human_feedback_path: Option<PathBuf>,
    /// Responses that must not pass (`prompt,response`), scored with every batch beside the built-in
    /// ones; see `rollout.canaries`.
    pub canary_path: Option<PathBuf>,
    /// Field to column, where a file names its columns otherwise: `{"prompt": "question"}`. What
    /// names a column that a file does not have counts for the other files.
    pub columns: BTreeMap<String, String>,
    /// Options of adapters by their names, as `{"csv": {"escapes": true, "delimiter": ";"}}`.
    pub options: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    pub on_bad_row: OnBadRow,
    /// Part of the training data that is held out where no evaluation data are given. Default 0.2.
    pub eval_fraction: f64,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            train_data_path: None,
            eval_data_path: None,
            human_feedback_path: None,
            canary_path: None,
            columns: BTreeMap::new(),
            options: BTreeMap::new(),
            on_bad_row: OnBadRow::Error,
            eval_fraction: 0.2,
        }
    }
}
