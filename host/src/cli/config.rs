//! `rlhf config`: the effective configuration, as a run would record it.

use std::io::Write;

use anyhow::Result;

use super::train;

pub fn run(args: &train::Args) -> Result<()> {
    let config = train::effective_config(args)?;
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string_pretty(&config)?
    )?;
    Ok(())
}
