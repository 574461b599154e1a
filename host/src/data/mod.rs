//! Examples: what the model is trained on and judged by.
//!
//! [`sources`] reads files through data-adapter plugins, [`conversations`] meet the
//! chat template of the model, [`builtin`] holds the embedded tasks, [`feedback`] turns ratings into preferences, [`splits`]
//! holds examples out.

pub mod builtin;
mod conversations;
pub mod feedback;
pub mod sources;
pub mod splits;

use std::path::PathBuf;

/// Where an example came from, for messages and reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub path: PathBuf,
    /// Counted from 1; 0 for formats without lines.
    pub line: u64,
    /// Counted from 1 among the data rows.
    pub row: u64,
}

/// A prompt and a response to imitate.
#[derive(Clone, Debug, PartialEq)]
pub struct Demonstration {
    pub prompt: String,
    pub response: String,
}

/// Two responses to a prompt, of which the first is preferred.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferencePair {
    pub prompt: String,
    pub chosen: String,
    pub rejected: String,
}

/// A response with people's rating.
#[derive(Clone, Debug, PartialEq)]
pub struct Rating {
    pub prompt: String,
    pub response: String,
    pub rating: f64,
    /// Raw scores people gave, the same number in every row of a file, or none.
    pub logits: Vec<f64>,
    pub origin: Origin,
}

/// A prompt with what a good response would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub id: String,
    pub prompt: String,
    pub references: Vec<String>,
    pub tests: Vec<String>,
}

/// All examples of one or several files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    pub demonstrations: Vec<Demonstration>,
    pub preferences: Vec<PreferencePair>,
    pub ratings: Vec<Rating>,
    pub tasks: Vec<Task>,
    /// Rows that could not be read and were skipped.
    pub rows_skipped: usize,
    /// The first of them: where they stand, and what is wrong with them.
    pub skipped_first: Vec<String>,
}

impl Dataset {
    /// Examples of every sort.
    pub fn len(&self) -> usize {
        self.demonstrations.len() + self.preferences.len() + self.ratings.len() + self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is in it, for people: `2 demonstrations, 5 preferences`.
    pub fn summary(&self) -> String {
        let parts: Vec<String> = [
            (self.demonstrations.len(), "demonstrations"),
            (self.preferences.len(), "preferences"),
            (self.ratings.len(), "ratings"),
            (self.tasks.len(), "tasks"),
            (self.rows_skipped, "rows skipped"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
        if parts.is_empty() {
            "nothing".to_owned()
        } else {
            parts.join(", ")
        }
    }
}
