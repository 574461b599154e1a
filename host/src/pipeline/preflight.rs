//! What a plan says beyond names and counts: token lengths, what is cut, files, steps.

use super::steps::Steps;
use super::{Error, Method, Plan, Source};
use crate::tokenizer::Tokenizer;
use crate::tracking::pace;

/// Examples that are tokenised for the lengths at most: enough for percentiles, and seconds of
/// work. Of more, every so-many-th is taken.
const SAMPLED_MAX: usize = 4096;

/// What DPO learns from, in words.
const PREFERENCES: &str = "preferences";

/// Token counts of examples, each of a prompt and its longest response.
struct Lengths {
    /// Examples there are; those looked at may be fewer.
    all: usize,
    prompts: Vec<usize>,
    responses: Vec<usize>,
}

impl Lengths {
    fn of<'a>(
        tokenizer: &Tokenizer,
        examples: impl ExactSizeIterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Self, Error> {
        let all = examples.len();
        let mut lengths = Self {
            all,
            prompts: Vec::new(),
            responses: Vec::new(),
        };
        // The token that ends a response is one more.
        let end = usize::from(tokenizer.eos().is_some());
        for (prompt, responses) in examples.step_by(all.div_ceil(SAMPLED_MAX).max(1)) {
            lengths.prompts.push(tokenizer.encode(prompt)?.len());
            let mut longest = 0;
            for response in responses {
                longest = longest.max(tokenizer.encode(response)?.len() + end);
            }
            lengths.responses.push(longest);
        }
        Ok(lengths)
    }

    fn describe(&self, what: &str) -> String {
        let counted = match self.prompts.len() {
            looked if looked < self.all => format!(" ({looked} of them looked at)"),
            _ => String::new(),
        };
        let prompts = percentiles(&self.prompts);
        let mut text = format!("{} {what}{counted}: prompts {prompts}", self.all);
        if self.responses.iter().any(|length| *length > 0) {
            text.push_str(&format!("; responses {}", percentiles(&self.responses)));
        }
        text
    }

    /// Examples whose prompt loses its beginning, and those whose response leaves it no room.
    fn cut(&self, max_length: usize) -> Cut {
        let mut cut = Cut::default();
        for (prompt, response) in self.prompts.iter().zip(&self.responses) {
            let counted = match (*prompt, *response) {
                (0, 0..=1) => &mut cut.out,
                (0, response) if response > max_length => &mut cut.ends,
                (0, _) => continue,
                (_, response) if response >= max_length => &mut cut.out,
                (prompt, response) if prompt + response > max_length => &mut cut.beginnings,
                _ => continue,
            };
            *counted += 1;
        }
        cut
    }
}

/// Examples that do not fit.
#[derive(Debug, Default, PartialEq)]
struct Cut {
    /// Those whose prompt loses its beginning.
    beginnings: usize,
    /// Texts without a prompt that lose their end.
    ends: usize,
    /// Those of which nothing can be learnt.
    out: usize,
}

/// `12 tokens in the median, 40 at 95 %, 88 at most`.
fn percentiles(lengths: &[usize]) -> String {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| {
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    };
    format!(
        "{} tokens in the median, {} at 95 %, {} at most",
        at(0.5),
        at(0.95),
        at(1.0)
    )
}

impl Plan {
    /// Lines about lengths: those of what is trained on, and what is cut off; and how many of the
    /// training's examples are left out, where all of them were looked at.
    pub(super) fn describe_tokens(&self) -> (Vec<String>, Option<usize>) {
        let unknown = |error| (vec![format!("tokens     unknown: {error}")], None);
        self.tokens().unwrap_or_else(unknown)
    }

    fn tokens(&self) -> Result<(Vec<String>, Option<usize>), Error> {
        let tokenizer = self.source.tokenizer()?;
        let examples = &self.examples;
        let max_length = self.config.training.max_length;
        let demonstrations = examples
            .demonstrations
            .iter()
            .map(|row| (row.prompt.as_str(), vec![row.response.as_str()]));
        let mut trained = Vec::new();
        let warms_up = self.config.warm_up.steps > 0 || self.method == Method::Sft;
        if warms_up && !examples.demonstrations.is_empty() {
            trained.push(("demonstrations", Lengths::of(&tokenizer, demonstrations)?));
        }
        if let (Method::Dpo, Some((pairs, _))) = (self.method, &examples.preferences) {
            let pairs = pairs
                .iter()
                .map(|pair| (pair.prompt.as_str(), vec![&*pair.chosen, &*pair.rejected]));
            trained.push((PREFERENCES, Lengths::of(&tokenizer, pairs)?));
        }
        let mut lines = Vec::new();
        let mut cuts = Vec::new();
        // Prompts make room for their responses, and none is left out.
        let mut left_out = Some(0);
        for (what, lengths) in &trained {
            lines.push(format!("tokens     {}", lengths.describe(what)));
            let Cut {
                beginnings,
                ends,
                out,
            } = lengths.cut(max_length);
            let of = lengths.prompts.len();
            if (self.method == Method::Dpo) == (*what == PREFERENCES) {
                left_out = (of == lengths.all).then_some(out);
            }
            if beginnings > 0 {
                cuts.push(format!(
                    "{beginnings} of {of} {what} lose the beginning of their prompt"
                ));
            }
            if ends > 0 {
                cuts.push(format!("{ends} of {of} {what}, texts, lose their end"));
            }
            if out > 0 {
                cuts.push(format!(
                    "{out} of {of} {what} are left out: no prompt fits before their response"
                ));
            }
        }
        let prompts_only = [
            (self.samples(), "sampled prompts", &examples.train_tasks),
            (true, "held-out tasks", &examples.eval_tasks),
        ];
        for (_, what, tasks) in prompts_only.into_iter().filter(|(wanted, ..)| *wanted) {
            let tasks = tasks.iter().map(|task| (task.prompt.as_str(), Vec::new()));
            let lengths = Lengths::of(&tokenizer, tasks)?;
            lines.push(format!("tokens     {}", lengths.describe(what)));
        }
        if !trained.is_empty() {
            let cuts = match cuts.is_empty() {
                true => "nothing".to_owned(),
                false => cuts.join("; "),
            };
            lines.push(format!("cut        at {max_length} tokens: {cuts}"));
        }
        Ok((lines, left_out))
    }

    /// The files of the model, where it has any.
    pub(super) fn describe_files(&self) -> Option<String> {
        let folder = match &self.source {
            Source::TinyCode => return None,
            Source::Folder(folder) | Source::Adapter { base: folder, .. } => folder,
        };
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |data| data.len());
        if folder.is_file() {
            let bytes = size(folder);
            return Some(format!(
                "files      {}: {}",
                folder.display(),
                megabytes(bytes)
            ));
        }
        let mut files: Vec<(String, u64)> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .map(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                (name.into_owned(), size(&path))
            })
            .collect();
        files.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), name.clone()));
        let all: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let largest = files
            .first()
            .map(|(name, bytes)| format!(", the largest {name} with {}", megabytes(*bytes)));
        Some(format!(
            "files      {} of {} in {}{}",
            files.len(),
            megabytes(all),
            folder.display(),
            largest.unwrap_or_default()
        ))
    }

    /// When it is known how long that takes.
    pub(super) fn describe_time(&self, steps: &Steps) -> String {
        // The first step is not measured: it is slower than the others.
        let measured = pace::MEASURED + 1;
        match steps.count > measured {
            true => format!(
                "time       known after {measured} steps, which are measured: the run tells it then"
            ),
            false => format!("time       not estimated: that needs more than {measured} steps"),
        }
    }

    /// What is judged, and when.
    pub(super) fn describe_evaluation(&self) -> String {
        let evaluation = &self.config.evaluation;
        let tasks = self.examples.eval_tasks.len();
        // Epochs of no steps have no name, and of one step all have theirs.
        let middle = match (evaluation.every(0), evaluation.every(1)) {
            (Some(every), _) => format!(", and each {every} steps"),
            (None, Some(_)) => ", and by epoch".to_owned(),
            (None, None) => String::new(),
        };
        format!("evaluation {tasks} held-out tasks, before and after the training{middle}")
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a percentile that is off by one, and a cut example that is counted twice.
    #[test]
    fn lengths_and_cuts() {
        let hundred: Vec<usize> = (1..=100).collect();
        let expected = "50 tokens in the median, 95 at 95 %, 100 at most";
        assert_eq!(percentiles(&hundred), expected);
        assert_eq!(
            percentiles(&[7]),
            "7 tokens in the median, 7 at 95 %, 7 at most"
        );
        let lengths = Lengths {
            all: 4,
            prompts: vec![4, 10, 10, 0, 0, 0],
            responses: vec![4, 4, 12, 1, 9, 14],
        };
        // The first fits; the second loses a part; no prompt fits before the third. Of texts one
        // token is nothing to learn, and what is too long ends earlier.
        let cut = |beginnings, ends, out| Cut {
            beginnings,
            ends,
            out,
        };
        assert_eq!(lengths.cut(12), cut(1, 1, 2));
        assert_eq!(lengths.cut(8), cut(1, 2, 2));
    }
}
