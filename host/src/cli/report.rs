//! `rlhf report`: the page about a run, or about two.

use std::path::PathBuf;

use anyhow::Result;

use super::Usage;
use crate::report;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of a run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Another run, which is compared with the first
    #[arg(value_name = "OTHER")]
    other: Option<PathBuf>,
    /// The page's file [default: RUN/report.html; compare-RUN-OTHER.html in the folder of OTHER]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the page and says where it is.
///
/// # Errors
/// A folder holds no run, or the page can't be written.
pub fn run(args: &Args) -> Result<()> {
    let Some(other) = &args.other else {
        let mut file = report::write(&args.run)?;
        if let Some(other) = &args.output {
            std::fs::copy(&file, other)
                .map_err(|error| Usage(format!("`{}`: {error}", other.display())))?;
            file.clone_from(other);
        }
        println!("{}", file.display());
        return Ok(());
    };
    let file = match &args.output {
        Some(file) => file.clone(),
        None => {
            let name = |folder: &PathBuf| -> Result<String> {
                let whole = folder.canonicalize().map_err(|error| {
                    Usage(format!(
                        "`{}`: {error}\nhint: give the folder that --output-dir named",
                        folder.display()
                    ))
                })?;
                let name = whole.file_name().unwrap_or(whole.as_os_str());
                Ok(name.to_string_lossy().into_owned())
            };
            other.join(format!(
                "compare-{}-{}.html",
                name(&args.run)?,
                name(other)?
            ))
        }
    };
    report::write_comparison(&args.run, other, &file)?;
    println!("{}", file.display());
    Ok(())
}
