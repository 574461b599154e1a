//! `manifest.json`: what is needed to say how a run came about, and to repeat it.

use serde::Serialize;

use crate::config::Mode;
use crate::plugin::{Component, Limits, OnFailure, Spec, grants};

/// Versions, hashes, machine and times of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    pub rlhf: &'static str,
    /// Version of the WebAssembly engine.
    pub wasmtime: &'static str,
    /// What the run was begun with; left out where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    pub seed: u64,
    /// The command line as it was given.
    pub command: Vec<String>,
    pub machine: Machine,
    pub plugins: Vec<PluginPin>,
    /// The files that the run learns from and is judged by.
    pub data: Vec<DataPin>,
    /// Seconds each stage took.
    pub seconds: Vec<(String, f64)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub os: &'static str,
    pub architecture: &'static str,
    pub cores: usize,
    pub device: String,
}

/// A data file pinned by what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct DataPin {
    /// The key that names it: `data.train_data_path`.
    pub key: &'static str,
    pub path: String,
    pub sha256: String,
}

/// A plugin pinned by the bytes that ran.
#[derive(Clone, Debug, Serialize)]
pub struct PluginPin {
    pub name: String,
    pub kind: String,
    pub path: String,
    pub sha256: String,
    pub wit: String,
    /// What it asked for and was granted.
    pub grants: Vec<String>,
    pub limits: Limits,
    /// Its options, one JSON object.
    pub config: String,
    /// Its weight in the reward, where it was given one.
    pub weight: Option<f64>,
    pub on_failure: String,
    /// Score signature of a metric.
    pub signature: Option<String>,
}

impl PluginPin {
    pub fn of(component: &Component, spec: &Spec, name: &str, signature: Option<String>) -> Self {
        let asked = grants::requests(component);
        let given = grants::first_party(component);
        let given = given.union(&spec.grants);

        Self {
            name: name.to_owned(),
            kind: component.kind.to_string(),
            path: component.path.display().to_string(),
            sha256: component.sha256.clone(),
            wit: component.wit_version.clone(),
            grants: given
                .map(ToString::to_string)
                .filter(|grant| asked.iter().any(|name| grant.starts_with(name)))
                .collect(),
            limits: spec.limits.clone(),
            config: spec.config.clone(),
            weight: spec.weight,
            on_failure: match spec.on_failure {
                OnFailure::Abstain => "abstain".to_owned(),
                OnFailure::Abort => "abort".to_owned(),
                OnFailure::Penalty(penalty) => format!("penalty:{penalty}"),
            },
            signature,
        }
    }
}
