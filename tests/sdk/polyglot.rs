//! Are plugins in other languages as good as those in Rust? Slow, and in need
//! of a network: componentize-py comes from PyPI, componentize-qjs from npm.

use std::path::{Path, PathBuf};
use std::process::Command;

use rlhf_test_support::{Workspace, rlhf};

use super::new::{check, new};

const KINDS: [&str; 4] = ["metric", "reward-shaper", "data-adapter", "code-runner"];

/// A language with the commands that its templates' READMEs name.
struct Language {
    name: &'static str,
    commands: &'static [&'static [&'static str]],
}

const LANGUAGES: [Language; 2] = [
    Language {
        name: "python",
        commands: &[&["python3", "-m", "unittest"], &["sh", "build.sh"]],
    },
    Language {
        name: "javascript",
        commands: &[
            &["npm", "install"],
            &["npm", "test"],
            &["npm", "run", "build"],
        ],
    },
];

/// Makes a project, tests and builds it as its README says, and checks the component.
fn build(workspace: &Workspace, language: &Language, kind: &str) -> PathBuf {
    let name = format!("{}-{kind}", language.name);
    let arguments = [&name, "--kind", kind, "--language", language.name];
    new(workspace, &arguments).expect_code(0);
    let project = workspace.join(&name);
    for command in language.commands {
        let mut process = Command::new(command[0]);
        process.args(&command[1..]).current_dir(&project);
        let output = process
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", command[0]));
        assert!(
            output.status.success(),
            "{name}: {command:?}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let component = project.join(format!("{name}.wasm"));
    rlhf!(workspace)
        .args(["plugin", "test"])
        .arg(&component)
        .run()
        .expect_code(0);
    component
}

/// Pairs of odd texts: equal, empty, of several bytes a letter, long.
fn predictions(workspace: &Workspace) {
    let texts = [
        "",
        "x",
        "return a + b",
        "RETURN a - b",
        "naïve 漢字 🦀👩‍👩‍👧 e\u{301}",
        "\u{feff}def f():\r\n\treturn 'ß'",
        "ΑΣ ας İi",
        "\u{0}\u{1b}[31m",
    ];
    let mut rows = String::new();
    for (at, response) in texts.iter().enumerate() {
        for (other, reference) in texts.iter().enumerate() {
            let long = response.repeat(1 + 9 * usize::from(other % 3 == 0));
            let row = serde_json::json!({
                "id": format!("{at}/{other}"),
                "prediction": long,
                "references": [reference, texts[(at + other) % texts.len()]],
            });
            rows.push_str(&format!("{row}\n"));
        }
    }
    workspace.write("odd.jsonl", rows);
}

/// Each sample's scores by a metric, whatever its name.
fn scores(workspace: &Workspace, component: &Path, options: &str) -> String {
    let plugin = format!("{},name=same,config={options}", component.display());
    rlhf!(workspace)
        .args([
            "eval",
            "--predictions",
            "odd.jsonl",
            "--per-sample",
            "scores.jsonl",
        ])
        .args(["--metric", &plugin])
        .env("RLHF_PLUGIN_PATH", super::new::shipped())
        .run()
        .expect_code(0);
    workspace.read("scores.jsonl")
}

/// Would catch a template in another language that doesn't build, breaks the
/// contract, or scores otherwise than the one in Rust, in whatever digit.
#[test]
#[ignore = "needs a network, python3 and npm, and takes minutes"]
fn other_languages_give_the_same_numbers() {
    check("metric", |workspace, rust| {
        predictions(workspace);
        for language in &LANGUAGES {
            let component = build(workspace, language, "metric");
            for options in ["{}", "{\"case_sensitive\":false}"] {
                let expected = scores(workspace, rust, options);
                assert_eq!(expected.lines().count(), 64);
                assert_eq!(
                    scores(workspace, &component, options),
                    expected,
                    "{} {options}",
                    language.name
                );
            }
        }
    });
}

/// Would catch the other kinds' templates as the first test catches the metric's.
#[test]
#[ignore = "needs a network, python3 and npm, and takes minutes"]
fn every_kind_in_every_language() {
    let workspace = Workspace::new();
    for language in &LANGUAGES {
        for kind in &KINDS[1..] {
            build(&workspace, language, kind);
        }
    }
}
