//! `rlhf merge`: one folder with the whole model, of adapters and the model that they belong to.

use std::path::PathBuf;

use anyhow::Result;

use super::Usage;
use crate::pipeline::{self, Policy, Source};

#[derive(clap::Args)]
pub struct Args {
    /// Adapters in PEFT's layout: a folder, such as a run's `final`, or a hub name
    #[arg(long, value_name = "NAME")]
    pub model_name: String,
    /// Where the model goes; must be new or empty
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
}

/// Loads, merges, saves.
///
/// # Errors
/// `--model-name` has no adapters, or something can't be read or written.
pub fn run(args: &Args) -> Result<()> {
    let source = Source::of(&args.model_name)?;
    if !matches!(source, Source::Adapter { .. }) {
        return Err(Usage(format!(
            "`{}` is a whole model; expected adapters\nhint: adapters lie in a folder with {}",
            args.model_name,
            crate::models::peft::CONFIG
        ))
        .into());
    }
    if std::fs::read_dir(&args.output_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Usage(format!(
            "`{}` is not empty\nhint: choose another --output-dir",
            args.output_dir.display()
        ))
        .into());
    }
    let policy = Policy::load(&source, 0, &pipeline::device(crate::config::Device::Cpu)?)?;
    policy.save(&args.output_dir)?;
    println!("{}", args.output_dir.display());
    Ok(())
}
