//! The conformance kit behind `rlhf plugin test`: does a plugin keep what the
//! contract asks of it, whoever wrote it in whatever language?
//!
//! Checks run through the same fronts as a run does, so what passes here works
//! there. A problem says what happened, on which case, and how to see it again.

mod adapter;
mod metric;
mod runner;
mod shaper;
mod stand_in;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use self::stand_in::StandIn;
use super::{Component, Error, Failure, Kind, Runtime, Services, Spec};

/// A language that nobody speaks.
const UNKNOWN_LANGUAGE: &str = "klingon";

/// What became of a plugin's checks.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub plugin: String,
    pub kind: String,
    pub name: String,
    pub checks: Vec<Check>,
}

/// One question and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub name: &'static str,
    /// What was found out, where that is worth a word.
    pub note: String,
    /// None if it passed.
    pub problems: Vec<Problem>,
    /// Names of the cases it has looked at, as far as one can be run alone.
    #[serde(skip)]
    pub cases: Vec<String>,
}

/// Something that a run would trip over.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// Name of the case; empty where the check has only one.
    pub case: String,
    /// Expected and found.
    pub message: String,
    /// What the plugin was given, shortened.
    pub given: String,
}

/// Files of the author's own, beside the built-in cases.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// Golden cases of a metric, as `rlhf_sdk::testing` reads them.
    pub cases: Option<PathBuf>,
    /// Data files for an adapter.
    pub data: Vec<PathBuf>,
    /// Run only the case of this name.
    pub only: Option<String>,
}

impl Report {
    /// Whether a check has looked at the case of this name.
    fn knows(&self, case: &str) -> bool {
        self.checks
            .iter()
            .any(|check| check.cases.iter().any(|known| known == case))
    }

    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.problems.is_empty())
    }
}

/// Puts a plugin through the checks of its kind.
///
/// # Errors
/// It can't be loaded at all, or the author's own files can't be read.
pub fn test(runtime: &Arc<Runtime>, spec: &Spec, material: &Material) -> Result<Report, Error> {
    let component = Component::find(runtime, spec)?;
    let kind = component.kind;
    if let Some(cases) = &material.cases
        && kind != Kind::Metric
    {
        return Err(unusable(
            cases,
            format!("golden cases are for metrics; this is a {kind}"),
        ));
    }
    for path in &material.data {
        if kind != Kind::DataAdapter {
            return Err(unusable(
                path,
                format!("data files are for adapters; this is a {kind}"),
            ));
        }
        if !path.is_file() {
            return Err(unusable(path, "is not a file"));
        }
    }
    let plugin = component.label();
    // What it asks for is not there in a test; an encoder and a sandbox only seem to be.
    let services = Services::refusing_with(Arc::new(StandIn), Arc::new(StandIn));
    let (name, checks) = match kind {
        Kind::Metric => metric::checks(component, spec, &services, material)?,
        Kind::RewardShaper => shaper::checks(component, spec, &services, material)?,
        Kind::DataAdapter => adapter::checks(component, spec, &services, material)?,
        Kind::CodeRunner => runner::checks(component, spec, &services, material)?,
    };
    let report = Report {
        plugin,
        kind: kind.to_string(),
        name,
        checks,
    };
    match &material.only {
        Some(only) if !report.knows(only) => Err(unusable(
            std::path::Path::new(only),
            "no check has a case of this name",
        )),
        _ => Ok(report),
    }
}

/// Collects the problems of one check.
struct Checking {
    name: &'static str,
    note: String,
    problems: Vec<Problem>,
    cases: Vec<String>,
}

impl Checking {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            note: String::new(),
            problems: Vec::new(),
            cases: Vec::new(),
        }
    }

    fn problem(&mut self, case: &str, given: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            case: case.to_owned(),
            message: message.into(),
            given: shortened(given),
        });
    }

    fn done(self) -> Check {
        let Self {
            name,
            note,
            problems,
            cases,
        } = self;
        Check {
            name,
            note,
            problems,
            cases,
        }
    }
}

/// A plugin's own error is an answer; everything else is trouble.
fn is_trouble(failure: &Failure) -> bool {
    !matches!(failure, Failure::Plugin { .. })
}

/// Long texts are told by their beginning and their length, on one line.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 160;
    let printable = |text: &str| -> String {
        let escape = |c: char| match c.is_control() {
            true => c.escape_debug().collect::<String>(),
            false => c.to_string(),
        };
        text.chars().map(escape).collect()
    };
    if text.len() <= SHOWN {
        return printable(text);
    }
    let end = text.floor_char_boundary(SHOWN);
    format!("{}… ({} bytes)", printable(&text[..end]), text.len())
}

/// A file of the author's that can't be used.
fn unusable(path: &std::path::Path, problem: impl std::fmt::Display) -> Error {
    Error::Spec {
        text: path.display().to_string(),
        problem: problem.to_string(),
        hint: "see `rlhf plugin test --help`".into(),
    }
}

/// Whether an unknown option is refused, with its name. `configure` makes a
/// plugin with these options.
fn options_are_checked<T>(configure: impl FnOnce(&Spec) -> Result<T, Error>, spec: &Spec) -> Check {
    const UNKNOWN: &str = "no-such-option";
    let mut check = Checking::new("unknown options are refused by name");
    let options = format!("{{\"{UNKNOWN}\": 1}}");
    let with_unknown = Spec {
        config: options.clone(),
        ..spec.clone()
    };
    match configure(&with_unknown) {
        Ok(_) => check.problem(
            "",
            &options,
            "expected an error, found that the option is ignored: a misspelt option would change nothing and nobody would know",
        ),
        Err(Error::Call { failure, .. }) => {
            let message = failure.to_string();
            if is_trouble(&failure) {
                check.problem("", &options, format!("expected an error value, found {message}"));
            } else if !message.contains(UNKNOWN) {
                check.problem(
                    "",
                    &options,
                    format!("expected the option's name in the message, found: {message}"),
                );
            }
        }
        Err(other) => check.problem("", &options, other.to_string()),
    }
    check.done()
}

/// What everybody says about themselves.
struct About<'a> {
    name: &'a str,
    version: &'a str,
    summary: &'a str,
}

/// Whether a description is one that people can use, and the same everywhere.
fn description(about: &About, again: Result<(String, String), Failure>) -> Check {
    let mut check = Checking::new("the description is honest");
    check.note = format!("{} {}", about.name, about.version);
    let is_version = about.version.split('.').count() >= 2
        && about.version.starts_with(|c: char| c.is_ascii_digit());
    if !is_version {
        check.problem(
            "",
            about.version,
            "expected a version such as 1.0.0, found another text",
        );
    }
    let lines = about.summary.lines().count();
    if lines != 1 || about.summary.len() > 200 {
        check.problem(
            "",
            about.summary,
            "expected a summary of one line of at most 200 bytes",
        );
    }
    match again {
        Ok((name, version)) if name == about.name && version == about.version => {}
        Ok((name, version)) => check.problem(
            "",
            "",
            format!(
                "expected the same name and version with and without options, found {name} {version} without"
            ),
        ),
        Err(failure) => check.problem("", "", failure.to_string()),
    }
    check.done()
}

/// Texts that plugins stumble over, by name; none is longer than a model's response may well be.
fn odd_texts() -> Vec<(&'static str, String)> {
    vec![
        ("empty", String::new()),
        ("blank", " \t\r\n \u{a0}\u{2028}".into()),
        ("one letter", "x".into()),
        ("function", "def add(a, b):\n    return a + b\n".into()),
        ("windows lines", "if a:\r\n    b()\r\n".into()),
        ("no syntax", "def ((((: ]] \"unclosed '''".into()),
        ("unicode", "naïve = 'Ünïcödé 漢字 🦀👩‍👩‍👧 e\u{301}'".into()),
        ("right to left", "# \u{202e}עברית\u{202c} اللغة".into()),
        (
            "control characters",
            "a\u{0}b\u{7}\u{1b}[31mc\u{feff}".into(),
        ),
        ("digits", "9".repeat(4_000)),
        ("one long line", "word ".repeat(800)),
        ("many lines", "x = 1\n".repeat(650)),
        (
            "deep nesting",
            format!("{}1{}", "(".repeat(1_900), ")".repeat(1_900)),
        ),
        ("quotes", "\"\\\"'`\\\\\\n${}%s{{}}".into()),
    ]
}
