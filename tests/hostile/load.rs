//! Guests and other files that are refused before they are given anything.

use std::path::PathBuf;

use rlhf::plugin::{Component, Error};
use rlhf_test_support::{Workspace, guest};

use crate::harness::{Plugin, cases, runtime, spec, workspace};

/// Would catch a component that is started against the rules, an error that
/// names another culprit, or a runtime that a refused component leaves unusable.
#[test]
fn refused_at_load() {
    let workspace = workspace();
    let runtime = runtime(&workspace);
    let honest = Plugin::load(&runtime, &spec("honest", "fuel=1000000")).expect("it is honest");
    let mut wrong = Vec::new();
    for case in cases().into_iter().filter(|case| case.is_load()) {
        let name = case.name();
        let spec = case.spec(&workspace);
        match Plugin::load(&runtime, &spec) {
            Ok(_) => wrong.push(format!("{name}: it is loaded")),
            Err(error) => {
                let text = error.to_string().replace(&spec.path, "GUEST");
                let expected = &case.expected["load: ".len()..];
                if !text.starts_with(expected) {
                    wrong.push(format!("{name}: {text}\n  expected {expected}"));
                }
                // What reaches a terminal is text, of a bounded length.
                let plain = !text.chars().any(|c| c.is_control() && c != '\n');
                if !plain || text.len() > 64 << 10 {
                    wrong.push(format!("{name}: a report of {} bytes", text.len()));
                }
                // A failed call is for its author, the rest for the user.
                if !matches!(error, Error::Call { .. }) && !text.contains("\nhint: ") {
                    wrong.push(format!("{name}: no hint: {text}"));
                }
            }
        }
        let served = honest.serve(&workspace);
        assert_eq!(served, [Ok(()), Ok(()), Ok(())], "after {name}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Would catch a file that is run, or crashes the host, before it is known to be a plugin.
#[test]
fn files_that_are_no_plugins() {
    let workspace = Workspace::new();
    let runtime = runtime(&workspace);
    let core_module = b"\0asm\x01\0\0\0";
    let empty_component = b"\0asm\x0d\0\x01\0";
    let cut_off = b"\0asm\x0d\0\x01\0\x07\xff\xff";
    for (name, bytes, expected) in [
        ("empty.wasm", &b""[..], "is not a WebAssembly component"),
        (
            "text.wasm",
            b"hello, world",
            "is not a WebAssembly component",
        ),
        (
            "core.wasm",
            core_module,
            "is a core WebAssembly module, not a component",
        ),
        ("nothing.wasm", empty_component, "exports nothing"),
        ("cut.wasm", cut_off, "is not a valid component"),
    ] {
        let path = workspace.write(name, bytes);
        let error = Component::load(&runtime, &path)
            .err()
            .unwrap_or_else(|| panic!("{name} loads"))
            .to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.contains("\nhint: "), "{name}: {error}");
    }
}

/// Would catch a cache that others could fill, or that serves another component's code.
#[test]
fn compiled_code_is_cached_by_content() {
    let workspace = Workspace::new();
    let path = PathBuf::from(spec("error", "fuel=1").path);
    let cached = || {
        let mut files: Vec<_> = std::fs::read_dir(workspace.join("cache"))
            .map(|files| {
                files
                    .map(|file| file.expect("it can be read").path())
                    .collect()
            })
            .unwrap_or_default();
        files.sort();
        files
    };
    assert_eq!(cached(), Vec::<PathBuf>::new());
    let first = Component::load(&runtime(&workspace), &path).expect("it loads");
    let files = cached();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].to_string_lossy().contains(&first.sha256));
    let second = Component::load(&runtime(&workspace), &path).expect("it loads from the cache");
    assert_eq!((first.sha256, cached()), (second.sha256, files.clone()));
    // A damaged cache entry must not matter.
    // Renamed into place: the code that `second` runs is a map of the old file.
    let damaged = workspace.write("damaged", "damaged");
    std::fs::rename(damaged, &files[0]).expect("it can be renamed");
    Component::load(&runtime(&workspace), &path).expect("it is compiled again");
    // A folder that others can write is not trusted.
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(workspace.join("cache"), open).expect("it is ours");
    Component::load(&runtime(&workspace), &path).expect("it is compiled again");
}

/// Would catch a component that is small to send and endless to compile, or
/// whose depth overflows the host's stack.
#[test]
fn compiling_is_bounded() {
    const METRIC: &str =
        "(instance $metric) (export \"rlhf:plugin/metric@0.1.0\" (instance $metric))";
    let workspace = Workspace::new();
    let runtime = runtime(&workspace);
    let function = "(func (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))\n";
    let functions = format!(
        "(component (core module {}) {METRIC})",
        function.repeat(20_000)
    );
    // Each has two of the one before.
    let mut types = "(component (type $t0 u8)\n".to_owned();
    for below in 0..64 {
        let pair = format!("(type $t{} (tuple $t{below} $t{below}))\n", below + 1);
        types.push_str(&pair);
    }
    types.push_str(METRIC);
    types.push(')');
    let text = |name: &str, text: String| {
        workspace.write(format!("{name}/guest.wat"), text);
        guest(workspace.join(name))
    };
    for (path, expected) in [
        (text("many-functions", functions), None),
        (
            text("doubling-types", types),
            Some("effective type size exceeds the limit"),
        ),
        (workspace.write("nested.wasm", nested(5000)), None),
    ] {
        let start = std::time::Instant::now();
        let error = Component::load(&runtime, &path).err();
        let name = path.display();
        match (error.map(|error| error.to_string()), expected) {
            (None, None) => {}
            (Some(error), Some(expected)) => assert!(error.contains(expected), "{name}: {error}"),
            (found, _) => panic!("{name}: {found:?}, expected {expected:?}"),
        }
        let elapsed = start.elapsed();
        assert!(elapsed.as_secs() < 30, "{name}: {elapsed:?}");
    }
}

/// A metric without functions, and components in components in it. As text it
/// would be too deep for its parser.
fn nested(depth: usize) -> Vec<u8> {
    const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
    let mut inner = PREAMBLE.to_vec();
    for _ in 0..depth {
        let mut outer = PREAMBLE.to_vec();
        outer.push(4);
        let mut length = inner.len();
        while length > 0x7f {
            outer.push(length as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(inner);
        inner = outer;
    }
    // An instance without exports, exported.
    inner.extend(b"\x05\x03\x01\x01\0");
    inner.extend(b"\x0b\x1e\x01\0\x18rlhf:plugin/metric@0.1.0\x05\0\0");
    inner
}
