//! Does the house keep its shape? Arrows between the host's modules, the
//! distance between plugins and host, the files a plugin must have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each module of the host may use, besides itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("random", &[]),
    ("allocator", &[]),
    ("calendar", &[]),
    ("config", &[]),
    ("files", &[]),
    ("gguf", &[]),
    ("hub", &[]),
    ("ops", &["allocator", "random"]),
    ("tokenizer", &["calendar", "config", "gguf"]),
    ("tracking", &["calendar", "config"]),
    ("plugin", &["config", "files"]),
    ("sandbox", &["config", "plugin"]),
    ("data", &["config", "tokenizer", "plugin", "random"]),
    ("models", &["config", "gguf", "ops", "random"]),
    ("rollout", &["config", "data", "models", "ops", "random"]),
    (
        "trainer",
        &[
            "config", "data", "files", "models", "ops", "random", "rollout", "tracking",
        ],
    ),
    (
        "evaluate",
        &[
            "config", "data", "models", "rollout", "plugin", "tracking", "random",
        ],
    ),
    (
        "report",
        &["config", "files", "plugin", "trainer", "evaluate"],
    ),
    (
        "reward",
        &["config", "data", "models", "plugin", "tokenizer"],
    ),
    (
        "pipeline",
        &[
            "config",
            "files",
            "random",
            "hub",
            "tokenizer",
            "tracking",
            "plugin",
            "sandbox",
            "data",
            "models",
            "reward",
            "rollout",
            "trainer",
            "evaluate",
            "report",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "random",
            "hub",
            "tokenizer",
            "tracking",
            "plugin",
            "sandbox",
            "data",
            "models",
            "reward",
            "rollout",
            "trainer",
            "evaluate",
            "report",
            "pipeline",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the host lies in the workspace")
        .to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Names that stand behind `crate::` in a file, braces included.
fn used_modules(source: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (at, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for rest in code.split("crate::").skip(1) {
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split(['{', '}', ',']).collect(),
                None => vec![rest],
            };
            for name in names {
                let name: String = name
                    .trim()
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if !name.is_empty() {
                    used.push((at + 1, name));
                }
            }
        }
    }
    used
}

/// Would catch a module that reaches where it must not, and a module without a place in the table.
#[test]
fn arrows() {
    let source = root().join("host/src");
    let table: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).expect("it lies in there");
        let first = inside.components().next().expect("it has a name");
        let first = Path::new(&first).file_stem().expect("it has a stem");
        let module = first.to_str().expect("names are UTF-8");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(allowed) = table.get(module) else {
            wrong.push(format!(
                "{}: no place in the table of arrows",
                inside.display()
            ));
            continue;
        };
        let text = std::fs::read_to_string(&file).expect("a source file is UTF-8");
        for (line, used) in used_modules(&text) {
            if table.contains_key(used.as_str())
                && used != module
                && !allowed.contains(&used.as_str())
            {
                wrong.push(format!(
                    "{}:{line}: `{module}` must not use `{used}`",
                    inside.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Would catch a check that sees nothing: the table's own module names must be found in real code.
#[test]
fn arrows_are_seen() {
    let found = used_modules("use crate::{config::Config, plugin};\nlet x = crate::data::y();");
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["config", "plugin", "data"]);
}

/// Would catch a plugin or the SDK that depends on the host.
#[test]
fn plugins_meet_the_host_only_in_wit() {
    for manifest in plugin_folders()
        .into_iter()
        .chain([root().join("sdk")])
        .map(|folder| folder.join("Cargo.toml"))
        // One in Python has none, and nothing that it could depend on.
        .filter(|manifest| manifest.is_file())
    {
        let text = std::fs::read_to_string(&manifest).expect("a crate has a manifest");
        let depends = text.lines().any(|line| {
            line.split(['.', '='])
                .next()
                .is_some_and(|key| key.trim() == "rlhf")
        });
        assert!(!depends, "{} depends on the host", manifest.display());
    }
}

/// Would catch a folder that no command builds.
#[test]
fn plugins_are_crates_or_in_python() {
    for folder in plugin_folders() {
        let has = |name: &str| folder.join(name).is_file();
        let python = ["requirements.txt", "plugin.wit", "rlhf_plugin.py"].map(has);
        let kinds = (has("Cargo.toml"), python);
        assert!(
            matches!(kinds, (true, [false, ..]) | (false, [true, true, true])),
            "{}: expected a crate, or requirements.txt, plugin.wit and rlhf_plugin.py",
            folder.display()
        );
    }
}

/// Would catch a plugin that nobody can check or understand.
#[test]
fn plugins_have_a_readme_and_golden_cases() {
    for folder in plugin_folders() {
        let name = folder
            .file_name()
            .expect("it has a name")
            .to_string_lossy()
            .into_owned();
        assert!(
            folder.join("README.md").is_file(),
            "{name} has no README.md"
        );
        if !name.starts_with("lib-") {
            let golden = folder.join("golden");
            let cases = golden.is_dir()
                && std::fs::read_dir(&golden).is_ok_and(|mut entries| entries.next().is_some());
            assert!(cases, "{name} has no golden cases");
        }
    }
}

/// Would catch a manifest of a run that names another engine than the one that ran.
#[test]
fn the_engine_is_the_one_that_manifests_name() {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).expect("it is committed");
    let wasmtime = text
        .split("[[package]]")
        .find(|package| package.contains("name = \"wasmtime\"\n"))
        .expect("the host depends on it");
    let version = format!("version = \"{}\"", rlhf::plugin::engine::VERSION);
    assert!(wasmtime.contains(&version), "{wasmtime}");
}

/// Would catch a top-level folder that the tree does not draw.
#[test]
fn top_level_folders() {
    let allowed = [
        "host", "wit", "plugins", "sdk", "tests", "fuzz", "target", "runs",
    ];
    for entry in std::fs::read_dir(root()).expect("the root can be read") {
        let path = entry.expect("the entry can be read").path();
        let name = path
            .file_name()
            .expect("it has a name")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !name.starts_with('.') {
            assert!(
                allowed.contains(&name.as_str()),
                "unexpected top-level folder `{name}`"
            );
        }
    }
}

/// Would catch a duration that is the difference of two readings of a clock which people and
/// servers set: it jumps. The time of day may be told as such, since 1970, and that is all.
#[test]
fn durations_come_from_a_clock_that_nobody_sets() {
    let mut wrong = Vec::new();
    for folder in ["host/src", "sdk/src", "plugins"] {
        for file in rust_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).expect("a source file is UTF-8");
            for (at, _) in text.match_indices("SystemTime::now()") {
                let behind: String = text[at + "SystemTime::now()".len()..]
                    .chars()
                    .filter(|c| !c.is_whitespace())
                    .take(60)
                    .collect();
                let stamp = behind.starts_with(".duration_since(")
                    && behind
                        .split(')')
                        .next()
                        .is_some_and(|call| call.ends_with("UNIX_EPOCH"));
                if !stamp {
                    let line = text[..at].matches('\n').count() + 1;
                    wrong.push(format!("{}:{line}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "use `Instant`: {}", wrong.join(", "));
}

/// Would catch fuzz targets that nothing runs, or that plain cargo would have to build.
#[test]
fn fuzz_targets_are_a_workspace_of_their_own() {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("it lies there");
    assert!(manifest.contains("\n[workspace]\n"));
    for file in rust_files(&root().join("fuzz/fuzz_targets")) {
        let name = file.file_stem().expect("a name").to_string_lossy();
        assert!(
            manifest.contains(&format!("\nname = \"{name}\"\n")),
            "{name}"
        );
        assert!(
            xtask::fuzz::TARGETS
                .iter()
                .any(|(target, _)| *target == name),
            "`cargo xtask deep` does not run {name}"
        );
    }
}

/// Would catch a WIT file that some host world does not document.
#[test]
fn wit_is_documented() {
    for entry in std::fs::read_dir(root().join("wit/0.1.0")).expect("the WIT lies there") {
        let path = entry.expect("the entry can be read").path();
        let text = std::fs::read_to_string(&path).expect("WIT is UTF-8");
        let mut previous = String::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            let is_item = line.contains(": func(")
                || [
                    "record ",
                    "variant ",
                    "enum ",
                    "resource ",
                    "interface ",
                    "world ",
                ]
                .iter()
                .any(|keyword| line.starts_with(keyword));
            if is_item {
                // The only item of its interface, whose documentation is right above it.
                let is_first = previous.starts_with("interface ");
                assert!(
                    previous.starts_with("///") || is_first,
                    "{}:{}: `{line}` has no documentation",
                    path.display(),
                    at + 1
                );
            }
            line.clone_into(&mut previous);
        }
    }
}

fn plugin_folders() -> Vec<PathBuf> {
    std::fs::read_dir(root().join("plugins"))
        .expect("plugins lie there")
        .map(|entry| entry.expect("the entry can be read").path())
        .filter(|path| path.is_dir())
        .collect()
}
