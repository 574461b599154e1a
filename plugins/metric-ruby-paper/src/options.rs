//! The options of a run.

use serde::Deserialize;

/// Options as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Which similarity is taken; see [`Level`].
    pub level: Level,
    /// Language of all samples, whatever they say; default each sample's own, `python` where it
    /// doesn't say.
    #[serde(alias = "lang")]
    pub language: Option<String>,
}

/// Which similarity is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The first that can be computed: the paper's RUBY.
    #[default]
    Auto,
    /// GRS alone; a sample without graphs is an error.
    Graph,
    /// TRS alone; a sample without trees is an error.
    Tree,
    /// STS alone.
    String,
}

impl Level {
    /// As options write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Graph => "graph",
            Self::Tree => "tree",
            Self::String => "string",
        }
    }
}
