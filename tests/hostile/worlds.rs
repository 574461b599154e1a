//! What is particular to the kinds of plugins.

use rlhf::plugin::{DataAdapter, Metric};

use crate::harness::{Plugin, runtime, spec, workspace};

/// Would catch a refusal that names neither what was asked for nor what would help.
#[test]
fn refusals_say_what_to_do() {
    let workspace = workspace();
    let runtime = runtime(&workspace);
    let check = |guest: &str, parts: &[&str]| {
        let Err(error) = Plugin::load(&runtime, &spec(guest, "fuel=1000000")) else {
            panic!("{guest} is loaded");
        };
        let text = error.to_string();
        for part in parts.iter().chain(&[guest, "\nhint: "]) {
            assert!(text.contains(part), "{guest}: no `{part}` in {text}");
        }
    };
    check(
        "version-0.1.7-newer",
        &["rlhf:plugin@0.1.7", "0.1.0", "flush"],
    );
    check("version-0.2.0", &["0.2.0", "this host knows 0.1.x"]);
    check("version-9.0.0", &["9.0.0", "this host knows 0.1.x"]);
    check(
        "import-encoder",
        &["rlhf:plugin/encoder@0.1.0", "grant=encoder"],
    );
    check(
        "folder-escape",
        &["rlhf:plugin/folder@0.1.0", "grant=folder:PATH"],
    );
    check(
        "import-unknown",
        &["rlhf:plugin/filesystem@0.1.0", "encoder, sandbox"],
    );
    check("import-wasi-http", &["wasi:http/outgoing-handler@0.2.0"]);
    check("import-wasi-0.3", &["WASI 0.2", "wasm32-wasip2"]);
}

/// Would catch an adapter without end that is asked for more than is wanted of it.
#[test]
fn an_endless_adapter_is_read_as_far_as_is_wanted() {
    let workspace = workspace();
    let runtime = runtime(&workspace);
    let adapter = DataAdapter::load(
        &runtime,
        &spec("adapter-lies", "config={\"how\":\"endless\"}"),
    )
    .expect("it is loaded");
    let rows = adapter
        .open(&workspace.join("files/bad"), serde_json::Map::new())
        .expect("it opens everything");
    assert_eq!(rows.take(10_000).filter(|row| row.is_ok()).count(), 10_000);
}

/// Would catch a plugin that rewrites the terminal of whoever asks what it is.
#[test]
fn what_a_plugin_says_of_itself_is_printable() {
    let workspace = workspace();
    let runtime = runtime(&workspace);
    let metric = Metric::load(
        &runtime,
        &spec("lying-describe", "config={\"how\":\"loud\"}"),
    )
    .expect("it has said nothing wrong");
    let about = metric.descriptor();
    for text in [
        &about.version,
        &about.summary,
        &about.unit,
        &about.citation,
        &about.signature,
        &metric.signature(),
    ] {
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.len() < 64 << 10, "{} bytes", text.len());
    }
}
