//! `rlhf completions` and `rlhf man`: what shells and readers of manuals want, made from the
//! commands themselves.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::CommandFactory;

use super::Cli;

#[derive(clap::Args)]
pub struct Completions {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

#[derive(clap::Args)]
pub struct Man {
    /// Where `rlhf.1` and one page for each command go
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Prints the script.
pub fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rlhf", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(())
}

/// Writes the pages.
pub fn man(args: &Man) -> Result<()> {
    let folder = &args.folder;
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.with_context(|| format!("manual pages in `{}`", folder.display()))
}
