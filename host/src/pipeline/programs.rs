//! The sandbox of a run: its code runners, in worker processes of this binary.

use std::sync::{Arc, OnceLock};

use super::{EncoderChoice, Error};
use crate::config;
use crate::plugin::host::Sandbox;
use crate::plugin::{self, CodeRunner, Component, Runtime, Services, Spec};
use crate::sandbox::{Policy, Pool};

/// The shipped code runner, for runs that name none.
pub const DEFAULT_RUNNER: &str = "runners/python.wasm";

/// A pool of workers over the code runners that specs name.
///
/// # Errors
/// A runner can't be used.
pub fn pool(
    runtime: &Arc<Runtime>,
    specs: &[Spec],
    settings: &config::Sandbox,
) -> Result<Pool, Error> {
    let mut runners = Vec::with_capacity(specs.len());
    for spec in specs {
        let component = Component::find(runtime, spec)?;
        let runner = CodeRunner::of(component, spec, &Services::default())?;
        runners.push((runner, spec.clone()));
    }
    // Not a copy that may have been replaced on the disk since: the binary that is running.
    let program = if cfg!(target_os = "linux") {
        "/proc/self/exe".into()
    } else {
        std::env::current_exe().map_err(|source| Error::Write {
            what: "the path of this binary",
            path: "rlhf".into(),
            source,
        })?
    };
    let size = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let policy = if settings.allow_unguarded {
        Policy::AllowUnguarded
    } else {
        Policy::Guarded
    };
    Ok(Pool::new(program, &runners, size, policy)?)
}

/// Services that are made when the first plugin that was granted them is loaded: the encoder, and
/// a sandbox of the runners that the user named, or of the shipped one.
pub(super) fn services(
    runtime: &Arc<Runtime>,
    mut runners: Vec<Spec>,
    settings: &config::Sandbox,
    encoder: EncoderChoice,
) -> Services {
    let (runtime, settings) = (Arc::clone(runtime), settings.clone());
    let made: OnceLock<Option<Arc<dyn Sandbox>>> = OnceLock::new();
    if runners.is_empty() {
        runners.push(Spec::of(DEFAULT_RUNNER));
    }
    Services::made_when_needed(
        encoder.source(),
        Arc::new(move || {
            if let Some(sandbox) = made.get() {
                return Ok(sandbox.clone());
            }
            let sandbox: Option<Arc<dyn Sandbox>> = match pool(&runtime, &runners, &settings) {
                Ok(pool) => Some(Arc::new(pool)),
                Err(Error::Plugin(plugin::Error::NotFound { .. })) => None,
                Err(Error::Plugin(error)) => return Err(error),
                Err(error) => return Err(plugin::Error::Engine(error.to_string())),
            };
            Ok(made.get_or_init(|| sandbox).clone())
        }),
    )
}
