//! Do versions of the contract keep their promises, and do the commands that
//! make them see when one doesn't?

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use toml::value::Datetime;
use xtask::wit::contract::{Contract, Files};
use xtask::wit::kept::{self, Components};
use xtask::wit::{Layout, check, freeze, new};
use xtask::workspace::root;

// Catches a changed release, a release that breaks plugins of an older one,
// and a folder that nobody listed.
#[test]
fn the_repository_keeps_its_promises() {
    if let Err(error) = check(&Layout::of(root())) {
        panic!("{error:#}");
    }
}

// Catches sources of kept components that no longer build or export another
// version: freezing would fail on the day of a release. Every world needs one.
#[test]
fn the_sources_of_kept_components_build() {
    let layout = Layout::of(root());
    let releases = check(&layout).expect("see the_repository_keeps_its_promises");
    let version = releases.iter().map(|release| &release.version).max();
    let version = version.expect("there is a version");
    let files = Files::read(&root().join("wit").join(version.to_string())).unwrap();
    let contract = Contract::parse(&files).unwrap();
    let kinds: Vec<String> = contract
        .worlds()
        .map(|world| kept::kind(world).to_owned())
        .collect();
    let components = kept::build(&layout.kept(), &kinds).unwrap();
    let problems = kept::problems(&contract, version, &components);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A repository's part that versions lie in, with one draft of one world.
struct Repository(TempDir);

const CONTRACT: &str = "\
package rlhf:plugin@0.1.0;

interface log {
    write: func(message: string);
}

interface metric {
    score: func(response: string) -> f64;
}

world metric-plugin {
    import log;
    export metric;
}
";

impl Repository {
    fn new() -> Self {
        let repository = Self(TempDir::new().unwrap());
        repository.write("wit/0.1.0/all.wit", CONTRACT);
        repository.write(
            "wit/releases.toml",
            "# Promises.\n\n[[release]]\nversion = \"0.1.0\" # the first\nstatus = \"draft\"\n",
        );
        repository.write("tests/sdk/kept/metric.rs", "");
        repository.readme(&["| 0.1.0 | draft |"]);
        repository
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn readme(&self, rows: &[&str]) {
        self.write("wit/README.md", &rows.join("\n"));
    }

    fn layout(&self) -> Layout {
        Layout::of(self.0.path())
    }

    fn check(&self) -> Result<(), String> {
        check(&self.layout())
            .map(|_| ())
            .map_err(|error| format!("{error:#}"))
    }

    fn freeze(&self, name: &str) -> Result<String, String> {
        let date: Datetime = "2026-01-31".parse().unwrap();
        let build = |kinds: &[String]| Ok(built(kinds, name));
        freeze(&self.layout(), name, date, build).map_err(|error| format!("{error:#}"))
    }

    fn new_version(&self, name: &str) -> Result<String, String> {
        new(&self.layout(), name).map_err(|error| format!("{error:#}"))
    }
}

/// Components as text: without code, but with the names of what they export.
fn built(kinds: &[String], version: &str) -> Components {
    kinds
        .iter()
        .map(|kind| (kind.clone(), component(kind, version)))
        .collect()
}

fn component(kind: &str, version: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
             (component $empty)
             (instance $interface (instantiate $empty))
             (export "rlhf:plugin/{kind}@{version}" (instance $interface)))"#
    );
    wat::parse_str(text).expect("a component's text")
}

// Catches a hash that doesn't bite: neither an edit, nor a file more, nor a
// component built again goes unseen.
#[test]
fn a_frozen_version_does_not_change() {
    let repository = Repository::new();
    repository.check().unwrap();
    let said = repository.freeze("0.1.0").unwrap();
    assert!(
        said.contains(
            "commit together: wit/0.1.0, wit/releases.toml, wit/README.md, tests/sdk/kept/0.1.0"
        ),
        "{said}"
    );
    let releases = repository.text("wit/releases.toml");
    assert!(releases.starts_with("# Promises.\n\n[[release]]\nversion = \"0.1.0\" # the first\nstatus = \"released\"\ndate = 2026-01-31\nsha256 = \""), "{releases}");
    assert_eq!(
        repository.check().unwrap_err(),
        "wit/README.md: expected version 0.1.0 as released, found `| 0.1.0 | draft |`"
    );
    repository.readme(&["| 0.1.0 | released |"]);
    repository.check().unwrap();

    // A comment is a change, too.
    repository.write("wit/0.1.0/all.wit", &format!("{CONTRACT}// more\n"));
    let error = repository.check().unwrap_err();
    assert!(error.starts_with("wit/0.1.0: expected sha256 "), "{error}");
    assert!(
        error.ends_with(
            ": a released version never changes\n\
             hint: put it back, and open a new folder for the change: `cargo xtask wit new`"
        ),
        "{error}"
    );
    // A checkout with other line ends is none.
    repository.write("wit/0.1.0/all.wit", &CONTRACT.replace('\n', "\r\n"));
    repository.check().unwrap();
    repository.write("wit/0.1.0/more.wit", "package rlhf:plugin@0.1.0;\n");
    assert!(repository.check().is_err());
    fs::remove_file(repository.path("wit/0.1.0/more.wit")).unwrap();
    repository.check().unwrap();

    let kept = repository.path("tests/sdk/kept/0.1.0/metric.wasm");
    let bytes = fs::read(&kept).unwrap();
    // An empty custom section: the component works, and is another one.
    fs::write(&kept, [bytes.as_slice(), &[0, 2, 1, b'x']].concat()).unwrap();
    let error = repository.check().unwrap_err();
    assert!(
        error.contains("kept components are never built again"),
        "{error}"
    );
    fs::remove_file(&kept).unwrap();
    let error = repository.check().unwrap_err();
    assert!(
        error.starts_with(
            "tests/sdk/kept/0.1.0/metric.wasm: missing; world metric-plugin has no component"
        ),
        "{error}"
    );
    fs::remove_dir(repository.path("tests/sdk/kept/0.1.0")).unwrap();
    assert_eq!(
        repository.check().unwrap_err(),
        "tests/sdk/kept/0.1.0: expected components built when 0.1.0 was released, found no folder"
    );
}

// Catches a second version that breaks plugins of the first, through the
// commands that people use.
#[test]
fn a_line_grows_and_does_not_break() {
    let repository = Repository::new();
    assert_eq!(
        repository.new_version("0.1.1").unwrap_err(),
        "version 0.1.1: expected a released version before it, found the draft 0.1.0\n\
         hint: a draft may change: edit wit/0.1.0"
    );
    repository.freeze("0.1.0").unwrap();
    repository.readme(&["| 0.1.0 | released |"]);
    repository.new_version("0.1.1").unwrap();
    assert_eq!(
        repository.text("wit/0.1.1/all.wit"),
        CONTRACT.replace("0.1.0", "0.1.1")
    );
    repository.readme(&["| 0.1.0 | released |", "| 0.1.1 | draft |"]);
    repository.check().unwrap();

    let grown = CONTRACT
        .replace("0.1.0", "0.1.1")
        .replace("f64;\n", "f64;\n    name: func() -> string;\n");
    repository.write("wit/0.1.1/all.wit", &grown);
    repository.check().unwrap();
    repository.write("wit/0.1.1/all.wit", &grown.replace("message: ", "text: "));
    assert_eq!(
        repository.freeze("0.1.1").unwrap_err(),
        "wit/0.1.1, against 0.1.0: interface log, function write: parameter `message` is missing\n\
         wit/0.1.1, against 0.1.0: interface log, function write: parameter `text` was added"
    );
    repository.write("wit/0.1.1/all.wit", &grown);
    repository.freeze("0.1.1").unwrap();
    repository.readme(&["| 0.1.0 | released |", "| 0.1.1 | released |"]);
    repository.check().unwrap();

    // Another line may break whatever it likes.
    repository.new_version("0.2.0").unwrap();
    repository.readme(&[
        "| 0.1.0 | released |",
        "| 0.1.1 | released |",
        "| 0.2.0 | draft |",
    ]);
    let broken = CONTRACT.replace("0.1.0", "0.2.0").replace("f64", "f32");
    repository.write("wit/0.2.0/all.wit", &broken);
    repository.check().unwrap();
    assert_eq!(
        repository.new_version("0.1.1").unwrap_err(),
        "version 0.1.1: expected one after 0.1.1, the last of its line"
    );
    repository.new_version("0.1.2").unwrap();
}

// Catches a freeze that releases what it shouldn't, or half of it.
#[test]
fn freezing_refuses() {
    let repository = Repository::new();
    assert_eq!(
        repository.freeze("0.1.7").unwrap_err(),
        "version 0.1.7: expected one of wit/releases.toml, found no such entry"
    );
    assert_eq!(
        repository.freeze("next").unwrap_err(),
        "version `next`: expected three numbers, such as 0.1.1"
    );
    let date: Datetime = "2026-01-31".parse().unwrap();
    let before = repository.text("wit/releases.toml");
    let refused = |components: Components, expected: &str| {
        let error = freeze(&repository.layout(), "0.1.0", date, |_| Ok(components)).unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
        assert_eq!(repository.text("wit/releases.toml"), before);
        assert!(!repository.path("tests/sdk/kept/0.1.0").exists());
    };
    let one = |kind: &str, bytes| Components::from([(kind.to_owned(), bytes)]);
    refused(
        Components::new(),
        "metric.wasm: missing; world metric-plugin has no component",
    );
    refused(
        one("metric", component("metric", "0.2.0")),
        "metric.wasm: expected rlhf:plugin 0.1.0, found `rlhf:plugin/metric@0.2.0`\n\
         hint: sdk/src/bindings.rs says which version the SDK is built against",
    );
    refused(
        one("metric", component("log", "0.1.0")),
        "metric.wasm: expected the export `rlhf:plugin/metric@0.1.0`, found [\"rlhf:plugin/log@0.1.0\"]",
    );
    repository.freeze("0.1.0").unwrap();
    repository.readme(&["| 0.1.0 | released |"]);
    assert_eq!(
        repository.freeze("0.1.0").unwrap_err(),
        "version 0.1.0: expected a draft, found a version released on 2026-01-31\n\
         hint: changes go into a new folder: `cargo xtask wit new`"
    );
}

// Catches folders and entries that drift apart, and files of another version.
#[test]
fn the_list_is_complete() {
    let check = |change: fn(&Repository), expected: &str| {
        let repository = Repository::new();
        change(&repository);
        assert_eq!(repository.check().unwrap_err(), expected);
    };
    check(
        |repository| repository.write("wit/0.1.1/all.wit", CONTRACT),
        "wit/0.1.1: expected an entry in wit/releases.toml, found none",
    );
    check(
        |repository| fs::remove_dir_all(repository.path("wit/0.1.0")).unwrap(),
        "wit/releases.toml: version 0.1.0 has no folder wit/0.1.0",
    );
    check(
        |repository| repository.write("wit/0.1.0/all.wit", &CONTRACT.replace("0.1.0", "0.1.1")),
        "wit/0.1.0/all.wit, line 1: expected `package rlhf:plugin@0.1.0;`, found `package rlhf:plugin@0.1.1;`",
    );
    check(
        |repository| repository.readme(&["nothing"]),
        "wit/README.md: expected a row `| 0.1.0 | …` in its table, found none",
    );
    check(
        |repository| repository.write("tests/sdk/kept/0.1.0/metric.wasm", ""),
        "tests/sdk/kept/0.1.0: expected nothing for a draft, found a folder\n\
         hint: remove it; freezing the version makes it",
    );
    let repository = Repository::new();
    repository.write("wit/0.1.0/notes.txt", "");
    let error = repository.check().unwrap_err();
    assert!(
        error.ends_with("notes.txt: expected nothing but .wit files"),
        "{error}"
    );
}
