//! Guests, what is expected of them, and how each kind of plugin is called.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rlhf::plugin::code_runner::Outcome;
use rlhf::plugin::data_adapter::OpenError;
use rlhf::plugin::reward_shaper::{Context, Reward, Rollout};
use rlhf::plugin::value::Value;
use rlhf::plugin::{
    CodeRunner, Component, DataAdapter, Error, Failure, Kind, Metric, RewardShaper, Runtime,
    Sample, Spec,
};
use rlhf_test_support::{Workspace, guest};

/// Less than the default, which would make the guests' loops long.
const FUEL: &str = "fuel=1000000000";

/// The items that every guest is given; it misbehaves on the one in the middle.
pub const ITEMS: [&str; 3] = ["first", "bad", "last"];

/// One line of an `expected.txt`.
pub struct Case {
    /// Name of the guest's folder.
    pub guest: String,
    /// As `--plugin` has them, behind the path.
    pub options: String,
    /// How the report begins; `passes` if there must be none.
    pub expected: String,
}

impl Case {
    /// Whether the guest is refused before it is given anything.
    pub fn is_load(&self) -> bool {
        self.expected.starts_with("load: ")
    }

    /// For messages.
    pub fn name(&self) -> String {
        format!("{} {}", self.guest, self.options)
    }

    /// The plugin; `FOLDER` in its options is a folder of the workspace.
    pub fn spec(&self, workspace: &Workspace) -> Spec {
        let options = match self.options.as_str() {
            "" => String::new(),
            options => format!(",{options}"),
        };
        let folder = workspace.join("granted").display().to_string();
        let options = options.replace("FOLDER", &folder);
        spec(&self.guest, &format!("{FUEL}{options}"))
    }
}

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/hostile/guests")
        .join(name)
}

/// A guest as `--plugin` would name it.
pub fn spec(name: &str, options: &str) -> Spec {
    let path = guest(folder(name)).display().to_string();
    let text = if options.is_empty() {
        path
    } else {
        format!("{path},{options}")
    };
    Spec::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All cases of all guests.
pub fn cases() -> Vec<Case> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder(""))
        .expect("the guests lie there")
        .map(|entry| entry.expect("the entry can be read").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(folders.len() >= 25, "guests are missing");
    let mut cases = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let sources = ["guest.rs", "guest.wat"].map(|file| folder.join(file).is_file());
        assert!(
            sources[0] != sources[1],
            "guest `{name}`: expected guest.rs or guest.wat"
        );
        let expected = std::fs::read_to_string(folder.join("expected.txt"))
            .unwrap_or_else(|error| panic!("guest `{name}`: expected.txt: {error}"));
        assert!(
            !expected.trim().is_empty(),
            "guest `{name}` expects nothing"
        );
        for line in expected.lines().filter(|line| !line.is_empty()) {
            let (options, expected) = line.split_once(" -> ").unwrap_or(("", line));
            cases.push(Case {
                guest: name.clone().into_owned(),
                options: options.to_owned(),
                expected: expected.to_owned(),
            });
        }
    }
    cases
}

/// A runtime of two workers with a cache of its own.
pub fn runtime(workspace: &Workspace) -> Arc<Runtime> {
    Runtime::new(Some(workspace.join("cache")), 2).expect("the engine starts")
}

/// What guests may be granted, and what lies around it.
pub fn workspace() -> Workspace {
    let workspace = Workspace::new();
    for item in ITEMS {
        workspace.write(format!("files/{item}"), item);
    }
    workspace.write("secret", "secret");
    workspace.write("granted/inside", "inside");
    workspace.write("granted/below/inside", "inside");
    let link = |to: &Path, from: &str| {
        std::os::unix::fs::symlink(to, workspace.join("granted").join(from))
            .expect("the folder is ours");
    };
    link(&workspace.join("secret"), "absolute-link");
    link(Path::new("../secret"), "link");
    link(Path::new(".."), "folder-link");
    link(Path::new("below/inside"), "inner-link");
    workspace
}

pub fn sample(id: &str) -> Sample {
    Sample {
        id: id.to_owned(),
        response: "return 1".into(),
        references: vec!["return 1".into()],
        language: "python".into(),
        ..Sample::default()
    }
}

/// A plugin of any kind, loaded.
pub enum Plugin {
    Metric(Metric),
    Shaper(RewardShaper),
    Adapter(DataAdapter),
    Runner(CodeRunner),
}

/// What became of an item; a failure with its kind.
pub type Report = Result<(), [String; 2]>;

fn report(failure: &Failure) -> [String; 2] {
    [failure.to_string(), failure.kind().to_owned()]
}

impl Plugin {
    /// # Errors
    /// Whatever the host has against it.
    pub fn load(runtime: &Arc<Runtime>, spec: &Spec) -> Result<Self, Error> {
        Ok(match Component::load(runtime, &spec.resolve()?)?.kind {
            Kind::Metric => Self::Metric(Metric::load(runtime, spec)?),
            Kind::RewardShaper => Self::Shaper(RewardShaper::load(runtime, spec)?),
            Kind::DataAdapter => Self::Adapter(DataAdapter::load(runtime, spec)?),
            Kind::CodeRunner => Self::Runner(CodeRunner::load(runtime, spec)?),
        })
    }

    /// What becomes of [`ITEMS`], in one batch where the kind knows batches.
    ///
    /// # Panics
    /// An item that was served was not served honestly.
    pub fn serve(&self, workspace: &Workspace) -> Vec<Report> {
        match self {
            Self::Metric(metric) => rlhf::evaluate::score(metric, &ITEMS.map(sample))
                .per_sample
                .into_iter()
                .zip(ITEMS)
                .map(|(score, item)| match score {
                    Ok(score) => {
                        assert!(item == "bad" || score.value == 0.5, "{item}: {score:?}");
                        Ok(())
                    }
                    Err(failure) => Err(report(&failure)),
                })
                .collect(),
            Self::Shaper(shaper) => {
                let rollouts = ITEMS.map(|item| Rollout {
                    sample: sample(item),
                    tokens: vec!["return".into(), " 1".into()],
                    ..Rollout::default()
                });
                let rewards = shaper.shape(&rollouts, &Context::default());
                let check = |reward: Result<Reward, Failure>| match reward {
                    Ok(Reward::Value { scalar, .. }) => {
                        assert_eq!(scalar, 0.5);
                        Ok(())
                    }
                    Ok(Reward::Abstain(why)) => panic!("abstains: {why}"),
                    Err(failure) => Err(report(&failure)),
                };
                rewards.into_iter().map(check).collect()
            }
            Self::Adapter(adapter) => ITEMS
                .map(|item| read(adapter, &workspace.join("files").join(item)))
                .into(),
            Self::Runner(runner) => ITEMS.map(|item| execute(runner, item)).into(),
        }
    }
}

/// Reads a file to its end, or to the first failure.
fn read(adapter: &DataAdapter, path: &Path) -> Report {
    let rows = match adapter.open(path, serde_json::Map::new()) {
        Ok(rows) => rows,
        Err(OpenError::File(error)) => panic!("{error}"),
        Err(OpenError::Plugin(failure)) => return Err(report(&failure)),
    };
    let mut count = 0;
    for row in rows {
        match row {
            Ok(row) => assert!(row.is_ok(), "{row:?}"),
            Err(failure) => return Err(report(&failure)),
        }
        count += 1;
    }
    assert_eq!(count, 1, "rows");
    Ok(())
}

/// Calls a function of a program that is named like the item.
fn execute(runner: &CodeRunner, item: &str) -> Report {
    let report = |outcome: Outcome| {
        [
            format!("{}: {}", outcome.kind, outcome.detail),
            outcome.kind,
        ]
    };
    let mut program = runner
        .program("python", item)
        .map_err(|failure| self::report(&failure))?;
    let value = program.call("answer", Vec::new()).map_err(report)?;
    assert_eq!(value, Value::Integer("42".into()));
    Ok(())
}
