//! `rlhf replay`: are the logged rewards what the plugins say?

use std::path::PathBuf;

use anyhow::Result;

use crate::pipeline::replay::{Selection, replay};

/// Differences that are printed one by one.
const SHOWN: usize = 50;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of a run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Only the responses of this step
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// Only this response: its id, or its place in its step, from 0
    #[arg(long, value_name = "ID")]
    sample: Option<String>,
}

/// What was logged is not what the plugins say.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Differs {
    message: String,
    /// Whether a plugin is another than the run's.
    pub plugin: bool,
}

/// Computes again, prints what differs.
///
/// # Errors
/// Something differs, or can't be computed again.
pub fn run(args: &Args) -> Result<()> {
    let selection = Selection {
        step: args.step,
        sample: args.sample.clone(),
    };
    let outcome = replay(&args.run, &selection)?;
    for note in &outcome.notes {
        eprintln!("note: {note}");
    }
    let (plugins, differences) = (&outcome.plugins, &outcome.differences);
    for line in plugins.iter().chain(differences.iter().take(SHOWN)) {
        println!("{line}");
    }
    if differences.len() > SHOWN {
        println!("… and {} more", differences.len() - SHOWN);
    }
    let rows = outcome.rows;
    if plugins.is_empty() && differences.is_empty() {
        println!("{rows} responses computed again: all numbers are the logged ones");
        return Ok(());
    }
    let other = match plugins.len() {
        0 => String::new(),
        count => format!(", and {count} of the run's plugins are others now"),
    };
    Err(Differs {
        message: format!(
            "{} of {rows} responses differ from what was logged{other}\nhint: `rlhf plugin inspect` shows a plugin's hash; rows that were edited differ with the run's own plugins",
            outcome.different
        ),
        plugin: !plugins.is_empty(),
    }
    .into())
}
