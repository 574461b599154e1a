//! Does a component ask for what it uses, and for nothing else?
//!
//! Imports are what a run must grant. The SDK binds every interface, so this
//! holds only as long as the linker drops what a plugin doesn't call.

use std::path::Path;

use rlhf_test_support::{component, guest};
use wasmparser::{Parser, Payload};

/// The `rlhf:` interfaces that a component imports and exports, without their package.
fn interfaces(component: &Path) -> (Vec<String>, Vec<String>) {
    let bytes = std::fs::read(component).expect("the component was built");
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    // Components and modules inside have imports of their own.
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.expect("the component is well-formed") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.expect("well-formed").name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.expect("well-formed").name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    let ours = |names: Vec<String>| {
        let mut names: Vec<String> = names
            .iter()
            .filter_map(|name| {
                Some(
                    name.strip_prefix("rlhf:plugin/")?
                        .split('@')
                        .next()?
                        .to_owned(),
                )
            })
            .collect();
        names.sort();
        names
    };
    (ours(imports), ours(exports))
}

fn check(component: &Path, imports: &[&str], exports: &[&str]) {
    let (found_imports, found_exports) = interfaces(component);
    assert_eq!(found_imports, imports, "{}", component.display());
    assert_eq!(found_exports, exports, "{}", component.display());
}

/// Would catch a plugin that needs grants for interfaces it never calls.
/// (`types` has no functions: there is nothing to grant.)
#[test]
fn shipped_plugins() {
    check(&component("metric-bleu"), &["types"], &["metric"]);
    check(
        &component("adapter-csv"),
        &["log", "source", "types"],
        &["data-adapter"],
    );
    check(
        &component("adapter-json"),
        &["log", "source", "types"],
        &["data-adapter"],
    );
}

/// Would catch an interface that is called and yet not imported, and guests
/// that don't build.
#[test]
fn guests() {
    let folder = Path::new("tests/support/tests/guests");
    check(
        &guest(folder.join("encoder-and-log")),
        &["encoder", "log", "types"],
        &["metric"],
    );
    check(
        &guest(folder.join("shaper")),
        &["types"],
        &["reward-shaper"],
    );
    check(
        &guest(folder.join("judging-runner")),
        &["candidate", "types", "values"],
        &["code-runner"],
    );
    check(&guest(folder.join("nothing")), &[], &[]);
}
