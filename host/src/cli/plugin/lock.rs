//! `rlhf plugin lock`: pins plugins to the bytes they have now.

use std::path::Path;

use anyhow::Result;

use crate::plugin::lock::Lock;
use crate::plugin::{Component, Runtime, Spec, engine};

#[derive(clap::Args)]
pub struct Arguments {
    /// Paths of components, or names of shipped ones
    #[arg(required = true)]
    plugins: Vec<String>,
}

/// Adds the plugins to `rlhf.lock` here, or pins them anew.
pub fn run(arguments: &Arguments) -> Result<()> {
    // Without the lock itself: what has changed is what is to be pinned.
    let runtime = Runtime::new(engine::cache_folder(), 1)?;
    let here = Path::new(".");
    let mut lock = Lock::of_folder(here)?.unwrap_or_default();
    for plugin in &arguments.plugins {
        let component = Component::find(&runtime, &Spec::of(plugin))?;
        lock.pin(plugin, &component.path, &component.sha256);
        println!("{}  {}", component.sha256, component.path.display());
    }
    let path = lock.write(here)?;
    eprintln!("pinned in {}", path.display());
    Ok(())
}
