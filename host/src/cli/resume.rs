//! `--resume`: which run is gone on with, from where, and what it was begun with.

use std::path::{Path, PathBuf};

use super::Usage;
use crate::config::layers::Source;
use crate::config::{self, Config, Layers, Mode, Problem};
use crate::{pipeline, trainer};

/// A run that was ended.
pub(super) struct Found {
    pub(super) run: PathBuf,
    /// Its newest whole checkpoint, or the one that was named.
    pub(super) checkpoint: Option<PathBuf>,
    /// Of its warm-up, where it had not come further.
    warm_up: Option<PathBuf>,
    /// Why newer ones were left out.
    broken: Vec<String>,
}

/// Whether a path is a checkpoint's, by its name.
fn is_checkpoint(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with("checkpoint-")
}

/// The folder of the run that `from` means; `auto` is that of the configuration.
pub(super) fn run_folder(from: &str, config: &Config) -> PathBuf {
    match from {
        "auto" => config.run_folder(),
        path if is_checkpoint(Path::new(path)) => Path::new(path)
            .parent()
            .map_or_else(PathBuf::new, Path::to_owned),
        path => PathBuf::from(path),
    }
}

/// What the run in a folder was begun with; none where there is no run.
///
/// # Errors
/// Its `config.json` can't be read.
pub(super) fn begun_with(run: &Path) -> Result<Option<Config>, config::Error> {
    let file = run.join("config.json");
    if !file.is_file() {
        return Ok(None);
    }
    let mut layers = Layers::default();
    layers.file(&file)?;
    Ok(Some(layers.over(&Config::default(), None)?.config))
}

/// The mode that the run in a folder was begun with; none where its manifest does not tell.
///
/// # Errors
/// Another one is `given`: what a preset says is settled, so that it would change nothing.
pub(super) fn mode_of(run: &Path, given: Option<Mode>) -> Result<Option<Mode>, config::Error> {
    let manifest = std::fs::read(run.join("manifest.json")).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
    let begun: Option<Mode> = serde_json::from_value(manifest["mode"].clone()).ok();
    match (begun, given) {
        (Some(begun), Some(given)) if begun != given => {
            Err(config::Error::Wrong(vec![Problem {
                source: Some(Source::Flag("--mode".to_owned())),
                key: String::new(),
                text: format!(
                    "`{}`, but the run in `{}` was begun with `{}`",
                    given.name(),
                    run.display(),
                    begun.name()
                ),
                hint: "leave --mode out to go on with the run, or begin another without --resume, under --output-dir or --experiment-name".to_owned(),
            }]))
        }
        _ => Ok(begun),
    }
}

impl Found {
    /// Looks for what `from` means: `auto`, the folder of a run, or a checkpoint in it.
    ///
    /// # Errors
    /// There is no run, or no such checkpoint.
    pub(super) fn of(from: &str, config: &Config) -> Result<Self, Usage> {
        let nothing = |what: &str| {
            Usage(format!(
                "`--resume {from}`: {what}\nhint: a run's folder, or a `checkpoint-N` in it"
            ))
        };
        let run = run_folder(from, config);
        let named = Some(PathBuf::from(from)).filter(|path| is_checkpoint(path));
        let (checkpoint, broken) = match named {
            Some(checkpoint) if !checkpoint.is_dir() => {
                return Err(nothing("there is no such checkpoint"));
            }
            Some(checkpoint) => (Some(checkpoint), Vec::new()),
            None => trainer::checkpoint::newest(&run),
        };
        if !run.join("config.json").is_file() {
            return Err(nothing(&format!("`{}` holds no run", run.display())));
        }
        let warm_up = match checkpoint {
            Some(_) => None,
            None => pipeline::warm_up_checkpoint(&run),
        };
        Ok(Self {
            run,
            checkpoint,
            warm_up,
            broken: broken.iter().map(ToString::to_string).collect(),
        })
    }

    /// Says where it is gone on.
    pub(super) fn tell(&self) {
        for error in &self.broken {
            eprintln!("warning: {error}; it is left out");
        }
        match self.checkpoint.as_ref().or(self.warm_up.as_ref()) {
            Some(checkpoint) => eprintln!("going on from {}", checkpoint.display()),
            None => eprintln!(
                "{} has no whole checkpoint: its training begins anew",
                self.run.display()
            ),
        }
    }
}
