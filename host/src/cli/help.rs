//! `rlhf help`: the guides, which travel with the binary, and what each command takes.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;

use super::{Cli, Usage};

#[derive(clap::Args)]
pub struct Args {
    /// Name of a guide or of a command; without one, a list of both
    #[arg(value_name = "TOPIC")]
    topic: Vec<String>,
}

/// A guide: a file of `host/docs`.
struct Guide {
    name: &'static str,
    text: &'static str,
}

macro_rules! guides {
    ($($name:literal),+ $(,)?) => {
        [$(Guide {
            name: $name,
            text: include_str!(concat!("../../docs/", $name, ".md")),
        }),+]
    };
}

/// In the order in which somebody new would read them.
static GUIDES: [Guide; 12] = guides![
    "fast-mode",
    "learning",
    "your-data",
    "configuration",
    "run-folder",
    "reproduce",
    "plugins",
    "write-a-metric",
    "untrusted-code",
    "from-trl",
    "from-python",
    "architecture",
];

impl Guide {
    /// Its first line.
    fn title(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches('#').trim()
    }
}

/// Prints a guide or a command's help.
///
/// # Errors
/// There is neither of this name.
pub fn run(args: &Args) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut command = Cli::command();
    command.build();
    let [topic, rest @ ..] = args.topic.as_slice() else {
        write!(out, "{}", command.render_long_help())?;
        writeln!(out, "\nGuides, shown by `rlhf help NAME`:")?;
        for guide in &GUIDES {
            writeln!(out, "  {:<16} {}", guide.name, guide.title())?;
        }
        return Ok(());
    };
    if let Some(guide) = GUIDES.iter().find(|guide| guide.name == topic)
        && rest.is_empty()
    {
        write!(out, "{}", guide.text)?;
        return Ok(());
    }
    let mut found = Some(&mut command);
    for name in &args.topic {
        found = found.and_then(|command| command.find_subcommand_mut(name));
    }
    let Some(found) = found else {
        let names: Vec<&str> = GUIDES.iter().map(|guide| guide.name).collect();
        return Err(Usage(format!(
            "no guide and no command is called `{}`\nhint: guides are {}; `rlhf --help` lists the commands",
            args.topic.join(" "),
            names.join(", ")
        ))
        .into());
    };
    write!(out, "{}", found.render_long_help())?;
    Ok(())
}
