//! Which checkpoints a training writes, which of them stay, and which is the best.
//!
//! Names and rules are those of transformers 5.23: `save_steps`, `save_total_limit`,
//! `metric_for_best_model`, `greater_is_better`, `load_best_model_at_end`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Error, listing};
use crate::config::training::Training;

/// What a training keeps of itself on disk.
#[derive(Debug)]
pub(in crate::trainer) struct Keeper {
    every: u64,
    /// Steps of the training.
    last: u64,
    limit: Option<usize>,
    wanted: Option<Wanted>,
    best: Option<Best>,
    load_best: bool,
    /// Step of the newest checkpoint.
    saved: u64,
}

/// The metric that decides.
#[derive(Debug)]
struct Wanted {
    /// Its tag, without `eval/`.
    tag: String,
    greater: bool,
    /// Whether it is one of held-out examples.
    held_out: bool,
    /// Sum and number of its values in the steps since the last checkpoint that was compared.
    sum: f64,
    count: u64,
}

/// The best checkpoint so far.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Best {
    step: u64,
    value: f64,
}

/// A metric's name without the prefix of held-out ones, and whether it had it.
fn without_prefix(name: &str) -> (&str, bool) {
    let stripped = ["eval/", "eval_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    (stripped.unwrap_or(name), stripped.is_some())
}

impl Wanted {
    /// `held_out`: tags, without their prefix, that there are of held-out examples. As in
    /// transformers, a name means the held-out number where there is one.
    fn of(
        training: &Training,
        trainer: &'static str,
        held_out: &[&str],
    ) -> Result<Option<Self>, Error> {
        let name = match (
            &training.metric_for_best_model,
            training.load_best_model_at_end,
        ) {
            (Some(name), _) => name.as_str(),
            (None, true) => "loss",
            (None, false) => return Ok(None),
        };
        let (tag, prefixed) = without_prefix(name);
        let is_held_out = held_out.contains(&tag);
        if prefixed && !is_held_out {
            return Err(Error::NoSuchMetric {
                trainer,
                metric: name.to_owned(),
                known: held_out
                    .iter()
                    .map(|tag| format!("eval/{tag}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
        Ok(Some(Self {
            tag: tag.to_owned(),
            greater: training.greater_is_better.unwrap_or(!tag.ends_with("loss")),
            held_out: is_held_out,
            sum: 0.0,
            count: 0,
        }))
    }
}

impl Keeper {
    /// For a training of `steps` steps. Without `checkpoints` it keeps nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchMetric`].
    pub fn new(
        training: &Training,
        trainer: &'static str,
        steps: u64,
        checkpoints: bool,
        held_out: &[&str],
    ) -> Result<Self, Error> {
        let wanted = match checkpoints {
            true => Wanted::of(training, trainer, held_out)?,
            false => None,
        };
        Ok(Self {
            every: training.save_steps as u64,
            last: steps,
            limit: training.save_total_limit,
            wanted,
            best: None,
            load_best: training.load_best_model_at_end,
            saved: 0,
        })
    }

    /// Hears the numbers of a step.
    ///
    /// # Errors
    /// [`Error::NoSuchMetric`]: the metric that decides is not among them.
    pub fn observe(&mut self, trainer: &'static str, values: &[(&str, f64)]) -> Result<(), Error> {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| !wanted.held_out) else {
            return Ok(());
        };
        let Some((_, value)) = values.iter().find(|(tag, _)| *tag == wanted.tag) else {
            let known: Vec<&str> = values.iter().map(|(tag, _)| *tag).collect();
            return Err(Error::NoSuchMetric {
                trainer,
                metric: wanted.tag.clone(),
                known: known.join(", "),
            });
        };
        if value.is_finite() {
            wanted.sum += value;
            wanted.count += 1;
        }
        Ok(())
    }

    /// Whether a checkpoint is written after this step.
    pub fn is_due(&self, step: u64) -> bool {
        step == self.last || (self.every > 0 && step.is_multiple_of(self.every))
    }

    /// Whether this step has no checkpoint yet.
    pub fn is_unsaved(&self, step: u64) -> bool {
        self.saved != step
    }

    /// The tag of held-out examples that [`Keeper::compare`] needs.
    pub fn wants_held_out(&self) -> Option<&str> {
        let wanted = self.wanted.as_ref().filter(|wanted| wanted.held_out)?;
        Some(&wanted.tag)
    }

    /// Decides whether the checkpoint that is about to be written is the best so far. `held_out`
    /// is its number on held-out examples, where that decides; else the mean over the steps
    /// since the last comparison does. The first of equals stays the best.
    pub fn compare(&mut self, step: u64, held_out: Option<f64>) {
        let Some(wanted) = &mut self.wanted else {
            return;
        };
        let value = match wanted.held_out {
            true => held_out.unwrap_or(f64::NAN),
            false => wanted.sum / wanted.count as f64,
        };
        (wanted.sum, wanted.count) = (0.0, 0);
        let better = self.best.is_none_or(|best| match wanted.greater {
            true => value > best.value,
            false => value < best.value,
        });
        if value.is_finite() && better {
            self.best = Some(Best { step, value });
        }
    }

    /// What a checkpoint holds of this; the first three are transformers' names.
    pub fn state(&self) -> Map<String, Value> {
        let bits = |x: f64| x.to_bits().to_string();
        let mut state = Map::new();
        if let Some(best) = self.best {
            state.insert("best_metric".into(), best.value.into());
            state.insert("best_global_step".into(), best.step.into());
            let name = format!("checkpoint-{}", best.step);
            state.insert("best_model_checkpoint".into(), name.into());
            // A mean is not always a number that JSON gives back bit by bit.
            state.insert("best_metric_bits".into(), bits(best.value).into());
        }
        if let Some(wanted) = &self.wanted {
            let since = json!([bits(wanted.sum), wanted.count]);
            state.insert("metric_since_checkpoint".into(), since);
        }
        state
    }

    /// Goes on from the state of a checkpoint in `folder`. A best checkpoint that is gone is none;
    /// then the message says so.
    pub fn resume(&mut self, folder: &Path, step: u64, state: &Value) -> Option<String> {
        self.saved = step;
        let bits = |value: Option<&Value>| -> Option<f64> {
            Some(f64::from_bits(value?.as_str()?.parse().ok()?))
        };
        let wanted = self.wanted.as_mut()?;
        let since = state.get("metric_since_checkpoint");
        if let Some(sum) = bits(since.and_then(|since| since.get(0))) {
            wanted.sum = sum;
            wanted.count = since.and_then(|since| since.get(1)?.as_u64()).unwrap_or(0);
        }
        let step = state.get("best_global_step").and_then(Value::as_u64)?;
        let value = bits(state.get("best_metric_bits"))?;
        let best = folder.join(format!("checkpoint-{step}"));
        if !best.is_dir() {
            return Some(format!(
                "the best checkpoint so far, `{}`, is gone: the best of those to come will be it",
                best.display()
            ));
        }
        self.best = Some(Best { step, value });
        None
    }

    /// Notes that `step` has its checkpoint, and removes those that are too many: the oldest, but
    /// for the best and the one just written. What went wrong is returned: it ends nothing.
    pub fn saved(&mut self, folder: &Path, step: u64) -> Vec<String> {
        self.saved = step;
        let Some(limit) = self.limit else {
            return Vec::new();
        };
        let best = self.best.map(|best| best.step);
        // Two are needed where one is the best and the other the one to go on from.
        let limit = match best {
            Some(best) if best != step => limit.max(2),
            _ => limit.max(1),
        };
        let checkpoints = listing::all(folder);
        let surplus = checkpoints.len().saturating_sub(limit);
        // Newer ones are of an attempt that was given up for an older checkpoint.
        let (older, newer): (Vec<_>, Vec<_>) = checkpoints
            .iter()
            .filter(|(at, _)| *at != step && Some(*at) != best)
            .partition(|(at, _)| *at < step);
        let candidates = newer.into_iter().chain(older);
        candidates
            .take(surplus)
            .filter_map(|(_, path)| {
                let error = remove(path).err()?;
                Some(format!("`{}` can't be removed: {error}", path.display()))
            })
            .collect()
    }

    /// The checkpoint whose weights the training ends with, where they are not those at hand.
    pub fn best_to_load(&self, folder: &Path, step: u64) -> Option<PathBuf> {
        let best = self
            .best
            .filter(|best| self.load_best && best.step != step)?;
        Some(folder.join(format!("checkpoint-{}", best.step)))
    }
}

/// Takes a folder out of the way before it is emptied: one that is half removed must not be
/// taken for a checkpoint.
pub(super) fn remove(checkpoint: &Path) -> io::Result<()> {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let aside = checkpoint.with_file_name(format!(".{name}.old-{}", std::process::id()));
    fs::rename(checkpoint, &aside)?;
    fs::remove_dir_all(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(training: Training, held_out: &[&str]) -> Keeper {
        let training = Training {
            save_steps: 2,
            ..training
        };
        Keeper::new(&training, "sft", 7, true, held_out).expect("it is known")
    }

    fn best_by(metric: &str) -> Training {
        Training {
            metric_for_best_model: Some(metric.into()),
            ..Training::default()
        }
    }

    /// The steps left of checkpoints at `steps`, with the best at `best`.
    fn check_rotation(limit: usize, best: Option<u64>, steps: &[u64], left: &[u64]) {
        let root = tempfile::tempdir().expect("temporary folder");
        let limited = Training {
            save_total_limit: Some(limit),
            ..Training::default()
        };
        let mut keeper = keeper(limited, &[]);
        keeper.best = best.map(|step| Best { step, value: 1.0 });
        for step in steps {
            let folder = root.path().join(format!("checkpoint-{step}"));
            fs::create_dir(&folder).expect("made");
            fs::write(folder.join(super::super::STATE), "{}").expect("written");
        }
        let last = *steps.last().expect("some");
        assert_eq!(keeper.saved(root.path(), last), Vec::<String>::new());
        let found: Vec<u64> = listing::all(root.path())
            .iter()
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(found, left, "limit {limit}, best {best:?}");
        let entries = fs::read_dir(root.path()).expect("read").count();
        assert_eq!(entries, left.len(), "something is left over");
    }

    // Would catch a rotation that removes the best or the newest, or too few. The last two rows
    // are the examples of transformers' documentation of `save_total_limit`.
    #[test]
    fn the_oldest_go_and_the_best_stays() {
        check_rotation(2, None, &[2, 4, 6, 10], &[6, 10]);
        check_rotation(9, None, &[2, 4], &[2, 4]);
        check_rotation(2, Some(2), &[2, 4, 6], &[2, 6]);
        check_rotation(2, Some(6), &[2, 4, 6], &[4, 6]);
        // Gone on from 4, since 8 was found damaged.
        check_rotation(2, None, &[2, 4, 8, 6], &[4, 6]);
        check_rotation(5, Some(1), &[1, 2, 3, 4, 5, 6], &[1, 3, 4, 5, 6]);
        check_rotation(1, Some(2), &[2, 4, 6], &[2, 6]);
    }

    // Would catch a mean over the wrong steps, a loss of which more is thought better, equals that
    // replace each other, and state that a checkpoint forgets.
    #[test]
    fn the_best_is_the_first_with_the_best_mean() {
        let check = |metric: &str, values: &[f64], expected: Option<(u64, f64)>| {
            let root = tempfile::tempdir().expect("temporary folder");
            for step in 1..8 {
                fs::create_dir(root.path().join(format!("checkpoint-{step}"))).expect("made");
            }
            let mut one = keeper(best_by(metric), &[]);
            for (step, value) in (1..).zip(values) {
                one.observe("sft", &[("other", 0.0), (metric, *value)])
                    .expect("known");
                if one.is_due(step) {
                    one.compare(step, None);
                }
                // As if the training were ended after each step.
                let state = Value::Object(one.state());
                let mut next = keeper(best_by(metric), &[]);
                assert_eq!(next.resume(root.path(), step, &state), None);
                one = next;
            }
            assert_eq!(one.best.map(|best| (best.step, best.value)), expected);
        };
        check(
            "reward",
            &[1.0, 3.0, 2.0, 2.0, 2.0, 2.1, 0.0],
            Some((6, 2.05)),
        );
        check("loss", &[1.0, 3.0, 2.0, 2.0, 2.0, 2.1, 4.0], Some((2, 2.0)));
        check(
            "reward",
            &[f64::NAN, 1.0, f64::NAN, f64::NAN],
            Some((2, 1.0)),
        );
        check("reward", &[f64::NAN; 4], None);
    }

    // Would catch a held-out number that is passed over, and a name that is taken although
    // nothing has it.
    #[test]
    fn names_mean_the_held_out_number_where_there_is_one() {
        let mut one = keeper(best_by("eval_loss"), &["loss"]);
        assert_eq!(one.wants_held_out(), Some("loss"));
        one.observe("dpo", &[]).expect("nothing is needed");
        one.compare(2, Some(0.5));
        one.compare(4, Some(0.4));
        assert_eq!(
            one.best,
            Some(Best {
                step: 4,
                value: 0.4
            })
        );
        assert_eq!(
            keeper(best_by("loss"), &["loss"]).wants_held_out(),
            Some("loss")
        );
        assert_eq!(keeper(best_by("loss"), &[]).wants_held_out(), None);
        let refused = Keeper::new(&best_by("eval/bleu"), "dpo", 7, true, &["loss"]);
        let refused = refused.expect_err("refused").to_string();
        assert!(
            refused.contains("`eval/bleu`") && refused.contains("eval/loss"),
            "{refused}"
        );
        let mut two = keeper(best_by("rewards"), &[]);
        let refused = two.observe("dpo", &[("loss", 1.0)]).expect_err("refused");
        assert!(refused.to_string().contains("loss"), "{refused}");
    }
}
