//! Does `rlhf plugin new` write projects that build and pass their tests at once?

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rlhf_test_support::{Run, Workspace, component, rlhf};
use xtask::setup::{WASM_TARGET, setup};
use xtask::workspace::{cargo, shown, target_dir};

/// What people type in a new project, as `plugin new` tells them.
const TEST: &str = "cargo test";
const BUILD: &str = "cargo build --release --target wasm32-wasip2";

pub(super) fn new(workspace: &Workspace, arguments: &[&str]) -> Run {
    rlhf!(workspace)
        .args(["plugin", "new"])
        .args(arguments)
        .run()
}

/// A command from `plugin new`'s list, in the project. Offline: what the
/// project needs is what this workspace needs, in the same versions.
fn typed(project: &Path, line: &str) {
    let mut command: Command = cargo();
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    command
        .args(line.split(' ').skip(1))
        .arg("--offline")
        .current_dir(project)
        // The dependencies are compiled once for all kinds.
        .env("CARGO_TARGET_DIR", target_dir_of_projects());
    let output = command.output().expect("cargo can be started");
    assert!(
        output.status.success(),
        "{}: {}\n{}\n{}",
        project.display(),
        shown(&command),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn target_dir_of_projects() -> PathBuf {
    let target = target_dir().expect("the workspace has one");
    target.join("new-plugins")
}

/// Cargo takes the SDKs of two projects for the same crate, since both lie in
/// `vendor/rlhf-sdk`: in one target directory they can only take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Makes a project of this kind outside of the repository, tests and builds it,
/// looks at its component and checks it; `further` does more with it.
pub(super) fn check(kind: &str, further: impl FnOnce(&Workspace, &Path)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    setup().expect("components can be built");
    let workspace = Workspace::new();
    let name = format!("my-{kind}");
    let run = new(&workspace, &[&name, "--kind", kind]).expect_code(0);
    assert_eq!(run.stdout, "", "talk goes to stderr");
    let project = workspace.join(&name);
    for line in [TEST, BUILD] {
        assert!(run.stderr.contains(&format!("\n  {line}\n")), "{run}");
        typed(&project, line);
    }
    let component = target_dir_of_projects()
        .join(WASM_TARGET)
        .join("release")
        .join(format!("{}.wasm", name.replace('-', "_")));
    let run = rlhf!(&workspace)
        .args(["plugin", "inspect", "--json"])
        .arg(&component)
        .run()
        .expect_code(0);
    let about: serde_json::Value = serde_json::from_str(&run.stdout).expect("it prints JSON");
    assert_eq!(about["kind"], kind, "{run}");
    assert_eq!(about["name"], name.as_str(), "{run}");
    rlhf!(&workspace)
        .args(["plugin", "test"])
        .arg(&component)
        .run()
        .expect_code(0);
    further(&workspace, &component);
}

/// Would catch a metric template that doesn't build, fails its own tests, or scores otherwise than its README says.
#[test]
fn a_metric() {
    check("metric", |workspace, component| {
        let run = rlhf!(workspace)
            .args(["eval", "--output", "json", "--metric"])
            .arg(component)
            .args(["--prediction", "return a", "--reference", "return b"])
            .run()
            .expect_code(0);
        // One edit in eight characters.
        assert!(run.stdout.contains("0.875"), "{run}");
    });
}

/// Would catch a shaper template that doesn't build, fails its own tests, or that a run can't rank with.
#[test]
fn a_reward_shaper() {
    check("reward-shaper", |workspace, component| {
        rlhf!(workspace)
            .args(["--mode", "fast", "--dry-run", "--plugin"])
            .arg(component)
            .env("RLHF_PLUGIN_PATH", shipped())
            .run()
            .expect_code(0)
            .expect_stdout("rewarded by my-reward-shaper");
    });
}

/// Would catch an adapter template that doesn't build, fails its own tests, or isn't asked for its extension.
#[test]
fn a_data_adapter() {
    check("data-adapter", |workspace, component| {
        workspace.write("rows.tsv", "a\tb\nno tab\nc\td\n");
        let plan = |further: &[&str]| {
            rlhf!(workspace)
                .args([
                    "--mode",
                    "fast",
                    "--dry-run",
                    "--train-data-path",
                    "rows.tsv",
                ])
                .args(further)
                .arg("--plugin")
                .arg(component)
                .env("RLHF_PLUGIN_PATH", shipped())
                .run()
        };
        plan(&["--on-bad-row", "skip"])
            .expect_code(0)
            .expect_stdout("rows.tsv: 2 demonstrations");
        plan(&[])
            .expect_code(2)
            .expect_stderr("line 2: expected a tab between prompt and response, found none");
    });
}

/// Would catch a runner template that doesn't build or fails its own tests.
#[test]
fn a_code_runner() {
    check("code-runner", |_, _| {});
}

/// The plugin folder with what a run loads by itself.
pub(super) fn shipped() -> PathBuf {
    for package in [
        "metric-codebleu",
        "adapter-csv",
        "adapter-json",
        "adapter-parquet",
    ] {
        component(package);
    }
    let metric = component("metric-bleu");
    let folder = metric.ancestors().nth(2);
    folder.expect("plugins/metrics/bleu.wasm").to_owned()
}

/// Would catch errors that don't say what is wrong, and folders begun and left behind.
#[test]
fn wrong_arguments() {
    let workspace = Workspace::new();
    workspace.write("full/notes.txt", "mine");
    workspace.write("file", "");
    let before = workspace.files();
    let check = |arguments: &[&str], expected: &str| {
        let run = new(&workspace, arguments).expect_code(2);
        assert_eq!(run.stderr.trim_end(), format!("error: {expected}"), "{run}");
        assert_eq!(workspace.files(), before, "{run}");
    };
    let metric = |name| [name, "--kind", "metric"];
    check(
        &metric("MyMetric"),
        "name `MyMetric`: expected lower-case letters, digits and single hyphens between them, a letter first\n\
         hint: did you mean `my-metric`?",
    );
    check(
        &metric("../up"),
        "name `../up`: expected lower-case letters, digits and single hyphens between them, a letter first\n\
         hint: for instance `my-metric`",
    );
    check(
        &metric("serde"),
        "name `serde`: expected one that a crate can have, found one that Rust uses itself\n\
         hint: for instance `my-serde`",
    );
    check(
        &metric("full"),
        "folder `full`: expected a new or an empty one, found `notes.txt` in it\n\
         hint: choose another with --path",
    );
    check(
        &metric("file"),
        "folder `file`: expected a new or an empty one, found a file\n\
         hint: choose another with --path",
    );
    check(
        &["my-metric", "--kind", "metric", "--path", "a/b"],
        "folder `a/b`: expected the folder `a` to be there, found none\n\
         hint: make it first",
    );
    check(
        &["my-metric", "--kind", "metrics"],
        "invalid value 'metrics' for '--kind <KIND>'\n  \
         [possible values: metric, reward-shaper, data-adapter, code-runner]\n\n  \
         tip: a similar value exists: 'metric'\n\n\
         For more information, try '--help'.",
    );
    check(
        &["my-metric", "--kind", "metric", "--language", "go"],
        "invalid value 'go' for '--language <LANGUAGE>'\n  \
         [possible values: rust, python, javascript]\n\n\
         For more information, try '--help'.",
    );
}

/// Would catch an empty folder that is refused, or replaced by another one.
#[test]
fn an_empty_folder_is_filled() {
    let workspace = Workspace::new();
    let run = new(
        &workspace,
        &["my-metric", "--kind", "metric", "--path", "."],
    )
    .expect_code(0);
    assert!(run.stderr.contains("next:\n  cargo test\n"), "{run}");
    let files = workspace.files();
    for file in [
        ".gitignore",
        "Cargo.toml",
        "src/lib.rs",
        "vendor/rlhf-sdk/LICENSE",
    ] {
        assert!(files.contains(&file.to_owned()), "{file}: {files:?}");
    }
    let aside = files.iter().find(|file| file.starts_with(".rlhf"));
    assert_eq!(aside, None);
}

/// Would catch a language without templates, or without the contract that its build needs.
#[test]
fn other_languages() {
    for language in ["python", "javascript"] {
        let workspace = Workspace::new();
        for kind in ["metric", "reward-shaper", "data-adapter", "code-runner"] {
            new(&workspace, &[kind, "--kind", kind, "--language", language]).expect_code(0);
            let contract = workspace.read(format!("{kind}/wit/types.wit"));
            assert!(contract.contains("package rlhf:plugin@0.1.0;"));
        }
    }
}
