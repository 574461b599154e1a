//! Whether a run's folder can be written, and how much of the disk the run will take.

use std::path::{Path, PathBuf};

use super::human::Human;
use super::{Error, Plan};
use crate::config::{Method, Origin, Training};
use crate::trainer::{self, reward_model};

/// Tokenizer, settings, and what is said in words, of a model folder. Measured: 2 to 4 MB with the
/// vocabularies of GPT-2 and SmolLM2.
const BESIDE_WEIGHTS_BYTES: u64 = 4_000_000;
/// Bytes of a weight on the disk.
const WEIGHT_BYTES: u64 = 4;
/// Bytes of AdamW's two moments of a weight.
const MOMENTS_BYTES: u64 = 8;

/// What a run will write, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// Checkpoints that lie there at once, the one being written included.
    pub checkpoints: u64,
    /// Bytes of each.
    pub checkpoint_bytes: u64,
    /// Bytes of the models that the run leaves besides: warmed up, of the reward, and in the end.
    pub models_bytes: u64,
}

impl Need {
    /// Adds a stage before the training: its checkpoints lie there until it is done, its model of
    /// `model_bytes` stays.
    fn and_before(&mut self, checkpoints: u64, model_bytes: u64, trained: u64) {
        let checkpoint_bytes = model_bytes + trained * MOMENTS_BYTES;
        if checkpoints * checkpoint_bytes > self.checkpoints * self.checkpoint_bytes {
            (self.checkpoints, self.checkpoint_bytes) = (checkpoints, checkpoint_bytes);
        }
        self.models_bytes += model_bytes;
    }

    pub fn bytes(&self) -> u64 {
        let checkpoints = self.checkpoints.saturating_mul(self.checkpoint_bytes);
        checkpoints.saturating_add(self.models_bytes)
    }
}

/// Checkpoints of a training of `steps` steps that lie there at once.
fn checkpoints(training: &Training, steps: u64) -> u64 {
    let written = match training.save_steps as u64 {
        0 => 1,
        every => steps.div_ceil(every).max(1),
    };
    let Some(limit) = training.save_total_limit else {
        return written;
    };
    let best = training.metric_for_best_model.is_some() || training.load_best_model_at_end;
    // The best may be one more, and the oldest goes when the newest is there.
    let limit = limit as u64 + u64::from(best && limit == 1) + 1;
    written.min(limit)
}

/// Those of a stage that keeps its newest only: beside it the next is written.
fn only_newest(training: &Training, steps: u64) -> u64 {
    let newest = Training {
        save_total_limit: Some(1),
        metric_for_best_model: None,
        load_best_model_at_end: false,
        ..training.clone()
    };
    checkpoints(&newest, steps)
}

/// Bytes of a model folder.
fn model_bytes(weights: u64) -> u64 {
    weights * WEIGHT_BYTES + BESIDE_WEIGHTS_BYTES
}

impl Plan {
    /// What the run will write, at most.
    pub(super) fn disk(&self) -> Need {
        let (config, examples) = (&self.config, &self.examples);
        let method = self.method;
        let (all, trained) = (self.weights.0 as u64, self.weights.1 as u64);
        let model = model_bytes(all);
        let training = &config.training;
        // The value model of PPO is one of the policy's size, with moments of its own.
        let models = if method == Method::Ppo { 2 } else { 1 };
        let mut need = Need {
            checkpoints: checkpoints(training, self.steps_max()),
            checkpoint_bytes: (model + trained * MOMENTS_BYTES) * models,
            models_bytes: model,
        };
        // A stage's checkpoints go before those of the next come.
        if config.warm_up.steps > 0 && !examples.demonstrations.is_empty() && method != Method::Sft
        {
            let trained = match Origin::of(&config.model.base_model_name) {
                // Without adapters, which would have nothing to build on.
                Origin::Builtin => all,
                Origin::Pretrained => trained,
            };
            let steps = config.warm_up.steps as u64;
            need.and_before(only_newest(training, steps), model, trained);
        }
        if let (Human::Feedback, Some(feedback), true) =
            (&self.human, &examples.feedback, self.samples())
        {
            let examples = feedback.trained_on(config);
            let training = reward_model::training(&config.reward_model, training);
            let steps = trainer::steps(examples, training.batch_size, &training);
            let weights = self.reward_model_weights as u64;
            let (adapters, trained) = match config.model.lora.rank {
                0 => (0, weights),
                // As many as the policy's: of another model they are about as many.
                _ => (trained, trained),
            };
            let model = model_bytes(weights + adapters);
            need.and_before(only_newest(&training, steps), model, trained);
        }
        need
    }

    /// One line of the plan.
    pub(super) fn describe_disk(&self) -> String {
        let need = self.disk();
        let free = match free_bytes(&self.config.run_folder()) {
            Some(free) => format!(" of {} free", megabytes(free)),
            None => String::new(),
        };
        format!(
            "at most {}{free}: {} checkpoints of {}, models {}",
            megabytes(need.bytes()),
            need.checkpoints,
            megabytes(need.checkpoint_bytes),
            megabytes(need.models_bytes)
        )
    }

    /// Refuses a run whose results would not fit on the disk.
    ///
    /// # Errors
    /// They would not.
    pub(super) fn check_disk(&self) -> Result<(), Error> {
        let folder = self.config.run_folder();
        let need = self.disk();
        match free_bytes(&folder) {
            Some(free) if free < need.bytes() => Err(Error::Input(format!(
                "the disk of `{}` has {} free, and the run may write {}: {} checkpoints of {}, and models of {}\nhint: keep fewer checkpoints with --save-total-limit, write fewer with --save-steps, or name a folder on another disk with --output-dir",
                folder.display(),
                megabytes(free),
                megabytes(need.bytes()),
                need.checkpoints,
                megabytes(need.checkpoint_bytes),
                megabytes(need.models_bytes)
            ))),
            _ => Ok(()),
        }
    }
}

/// Refuses a folder that can't be written, before anything is done. Nothing is left behind.
///
/// # Errors
/// It can't, and why.
pub(super) fn check_writable(folder: &Path) -> Result<(), Error> {
    let refuse = |problem: String| {
        Error::Input(format!(
            "the output folder `{}` can't be written: {problem}\nhint: name a folder that can be written with --output-dir",
            folder.display()
        ))
    };
    let existing = nearest(folder);
    let metadata = existing.metadata();
    let metadata =
        metadata.map_err(|error| refuse(format!("`{}`: {error}", existing.display())))?;
    if !metadata.is_dir() {
        return Err(refuse(format!("`{}` is no folder", existing.display())));
    }
    match tempfile::tempfile_in(&existing) {
        Ok(_) => Ok(()),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// The folder, or the nearest one above it that is there.
fn nearest(folder: &Path) -> PathBuf {
    let there = |path: &&Path| path.symlink_metadata().is_ok();
    let named = folder
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty());
    named
        .into_iter()
        .find(there)
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Free bytes of the disk that a folder is, or will be, on; none where the system does not say.
fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let found = rustix::fs::statvfs(nearest(folder)).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        None
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a count that a run exceeds: rotation removes the oldest once the newest is there.
    #[test]
    fn checkpoints_at_once() {
        let check = |save_steps, limit, best: bool, expected| {
            let training = Training {
                save_steps,
                save_total_limit: limit,
                load_best_model_at_end: best,
                ..Training::default()
            };
            assert_eq!(
                checkpoints(&training, 10),
                expected,
                "{save_steps} {limit:?}"
            );
        };
        check(0, None, false, 1);
        check(500, None, false, 1);
        check(3, None, false, 4);
        check(1, Some(2), false, 3);
        check(1, Some(1), true, 3);
        check(5, Some(9), true, 2);
    }

    // Would catch a check that creates what it checks, and a path that goes through a file.
    #[test]
    fn folders_that_cannot_be_written_are_named() {
        let root = tempfile::tempdir().expect("temporary folder");
        std::fs::write(root.path().join("file"), "").expect("written");
        check_writable(&root.path().join("a/b/c")).expect("it can be made");
        assert_eq!(std::fs::read_dir(root.path()).expect("read").count(), 1);
        let refused = check_writable(&root.path().join("file/out")).expect_err("refused");
        assert!(
            refused.to_string().contains("file` is no folder"),
            "{refused}"
        );
        // A system's own folder, in which not even root can make a file.
        #[cfg(target_os = "linux")]
        check_writable(Path::new("/proc/rlhf")).expect_err("refused");
    }
}
