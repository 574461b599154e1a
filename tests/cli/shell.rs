//! Guides, completions, manual pages, the version and the schema: do they say what the commands are?

use rlhf_test_support::Workspace;

use crate::call;

/// Would catch a guide that is not there, and a topic that ends in silence.
#[test]
fn help() {
    let workspace = Workspace::new();
    let list = call(&workspace, &["help"]).expect_code(0).stdout;
    let guides = list.split("Guides").nth(1).expect("a list of guides");
    let names: Vec<&str> = guides
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"your-data") && names.len() >= 10, "{list}");
    for name in names {
        let guide = call(&workspace, &["help", name]).expect_code(0).stdout;
        assert!(
            guide.starts_with("# ") && guide.len() > 500,
            "{name}: {guide}"
        );
    }
    call(&workspace, &["help", "plugin", "bench"])
        .expect_code(0)
        .expect_stdout("Usage: rlhf plugin bench");
    call(&workspace, &["help", "plugn"])
        .expect_code(2)
        .expect_stderr("no guide and no command is called `plugn`\nhint: guides are ");
}

/// Would catch scripts and pages that lack a command or a flag.
#[test]
fn completions_and_manual_pages() {
    let workspace = Workspace::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = call(&workspace, &["completions", shell])
            .expect_code(0)
            .stdout;
        for word in ["learning-rate", "generate", "pass-at"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    call(&workspace, &["man", "man1"]).expect_code(0);
    for (page, word) in [
        ("rlhf.1", "human\\-feedback\\-path"),
        ("rlhf-eval.1", "pass\\-at"),
        ("rlhf-plugin-bench.1", "bench"),
    ] {
        let text = workspace.read(format!("man1/{page}"));
        assert!(text.contains(word), "{page}: no {word}");
    }
}

/// Would catch a binary that does not know what it is.
#[test]
fn version() {
    let workspace = Workspace::new();
    let number = concat!("rlhf ", env!("CARGO_PKG_VERSION"), "\n");
    let short = call(&workspace, &["-V"]).expect_code(0).stdout;
    assert_eq!(short, number);
    let long = call(&workspace, &["--version"]).expect_code(0).stdout;
    assert!(long.starts_with(number), "{long}");
    let engine = format!("wasmtime    {}", rlhf::plugin::engine::VERSION);
    for part in [
        "commit      ",
        "target      ",
        "features    ",
        "candle      0.",
        &engine,
    ] {
        assert!(long.contains(part), "{part}: {long}");
    }
}

/// Would catch a printed configuration that is not the one in effect, or does not say why.
#[test]
fn the_printed_configuration_is_one() {
    let workspace = Workspace::new();
    workspace.write(
        "run.toml",
        "[dpo]\nbeta = 0.3\n[data]\ncolumns = { prompt = \"a b\" }\n",
    );
    let flags = [
        "--mode",
        "production",
        "--config",
        "run.toml",
        "--steps",
        "9",
    ];
    let printed = call(&workspace, &[&["config"], &flags[..]].concat()).expect_code(0);
    for line in [
        "beta = 0.3                                   # run.toml, line 2",
        "steps = 9                                    # --steps",
        "# preset production: Rafailov et al. 2023",
        "# default",
    ] {
        assert!(printed.stdout.contains(line), "{line}: {}", printed.stdout);
    }
    workspace.write("printed.toml", &printed.stdout);
    let json = |arguments: &[&str]| {
        let all = [&["config", "--output", "json"], arguments].concat();
        call(&workspace, &all).expect_code(0).stdout
    };
    assert_eq!(json(&flags), json(&["--config", "printed.toml"]));
    let schema = call(&workspace, &["config", "--schema"])
        .expect_code(0)
        .stdout;
    assert!(
        schema.contains("https://json-schema.org/draft/2020-12/schema"),
        "{schema}"
    );
}
