//! `rlhf plugin test`: the conformance kit, with a report an author can act on.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use crate::plugin::conformance::{self, Material, Report};
use crate::plugin::{Runtime, Spec};

#[derive(clap::Args)]
pub struct Arguments {
    /// PATH[,config={…}][,fuel=…], as for --plugin
    plugin: String,
    /// Golden cases of a metric, as the SDK's tests read them
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// A data file that an adapter reads; repeatable
    #[arg(long, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Run one case only, by the name a report gives
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A plugin that failed its checks.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}` failed {failed} of {checks} checks")]
pub struct Failed {
    plugin: String,
    failed: usize,
    checks: usize,
}

/// # Errors
/// [`Failed`] if a check did not pass; what kept the plugin from being tested.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = Runtime::of_user()?;
    let spec = Spec::parse(&arguments.plugin)?;
    let material = Material {
        cases: arguments.cases.clone(),
        data: arguments.data.clone(),
        only: arguments.case.clone(),
    };
    let report = conformance::test(&runtime, &spec, &material)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{}", text(&report, arguments))?;
    }
    if report.passed() {
        return Ok(());
    }
    let failed = report.checks.iter();
    Err(Failed {
        plugin: report.name.clone(),
        failed: failed.filter(|check| !check.problems.is_empty()).count(),
        checks: report.checks.len(),
    }
    .into())
}

/// Problems of one check that are shown; the rest are counted.
const PROBLEMS_SHOWN: usize = 5;

fn text(report: &Report, arguments: &Arguments) -> String {
    let mut text = format!("{} `{}` ({})\n", report.kind, report.name, report.plugin);
    for check in &report.checks {
        let mark = if check.problems.is_empty() {
            "ok  "
        } else {
            "FAIL"
        };
        let _ = write!(text, "{mark}  {}", check.name);
        if !check.note.is_empty() {
            let _ = write!(text, " ({})", check.note);
        }
        text.push('\n');
        for problem in check.problems.iter().take(PROBLEMS_SHOWN) {
            let case = match problem.case.as_str() {
                "" => String::new(),
                case => format!("`{case}`: "),
            };
            let _ = writeln!(text, "      {case}{}", problem.message);
            if !problem.given.is_empty() {
                let _ = writeln!(text, "        given {}", problem.given);
            }
            if !problem.case.is_empty() {
                let _ = writeln!(text, "        again: {}", again(arguments, &problem.case));
            }
        }
        if let Some(more) = check.problems.len().checked_sub(PROBLEMS_SHOWN + 1) {
            let _ = writeln!(text, "      and {} more", more + 1);
        }
    }
    text
}

/// The command that shows one case again, for a shell.
fn again(arguments: &Arguments, case: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let mut command = format!("rlhf plugin test {}", quoted(&arguments.plugin));
    if let Some(cases) = &arguments.cases {
        let _ = write!(command, " --cases {}", quoted(&cases.display().to_string()));
    }
    for data in &arguments.data {
        let _ = write!(command, " --data {}", quoted(&data.display().to_string()));
    }
    let _ = write!(command, " --case {}", quoted(case));
    command
}
