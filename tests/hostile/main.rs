//! Do guests that misbehave cost a sample, and nothing else?
//!
//! Each folder in `guests/` holds a metric as `guest.rs`, which misbehaves on
//! the sample `bad`, and `expected.txt`: how the host's report of it begins.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rlhf::plugin::{Component, Metric, Runtime, Sample, Spec};
use rlhf_test_support::{Workspace, guest};

fn guests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/hostile/guests");
    let mut guests: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the guests lie there")
        .map(|entry| entry.expect("the entry can be read").path())
        .collect();
    guests.sort();
    guests
}

fn sample(id: &str) -> Sample {
    Sample {
        id: id.to_owned(),
        response: "return 1".into(),
        references: vec!["return 1".into()],
        language: "python".into(),
        ..Sample::default()
    }
}

fn runtime(workspace: &Workspace) -> Arc<Runtime> {
    Runtime::new(Some(workspace.join("cache")), 2).expect("the engine starts")
}

/// Would catch a failure that spreads to its neighbours, is scored as a
/// number, is called by the wrong name, or leaves the runtime unusable.
#[test]
fn a_bad_sample_costs_itself() {
    let workspace = Workspace::new();
    let runtime = runtime(&workspace);
    let guests = guests();
    assert!(guests.len() >= 12, "guests are missing");
    for folder in guests {
        let name = folder
            .file_name()
            .expect("it has a name")
            .to_string_lossy()
            .into_owned();
        let expected = std::fs::read_to_string(folder.join("expected.txt"))
            .unwrap_or_else(|_| panic!("guest `{name}` has no expected.txt"));
        let path = guest(&folder);
        // Less than the default, which would make the test's own loops long.
        let mut spec = Spec::of(&path.display().to_string());
        spec.limits.fuel_per_sample = 1_000_000_000;
        let metric =
            Metric::load(&runtime, &spec).unwrap_or_else(|error| panic!("{name}: {error}"));
        let samples = [sample("first"), sample("bad"), sample("last")];
        // Twice: an instance that failed must not serve again.
        for _ in 0..2 {
            let scored = rlhf::evaluate::score(&metric, &samples).per_sample;
            for at in [0, 2] {
                let score = scored[at]
                    .as_ref()
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(score.value, 0.5, "{name}");
            }
            let failure = scored[1].as_ref().expect_err(&name);
            let found = [failure.to_string(), failure.kind().to_owned()];
            assert!(
                found.iter().any(|found| found.starts_with(expected.trim())),
                "{name}: {found:?}, expected {expected}"
            );
        }
    }
}

/// Would catch a call that is ended by nothing but fuel: the backstop must hold alone.
#[test]
fn wall_time_ends_a_call_that_has_fuel_left() {
    let workspace = Workspace::new();
    let runtime = runtime(&workspace);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/hostile/guests/loop");
    let mut spec = Spec::of(&guest(folder).display().to_string());
    spec.limits.fuel_per_sample = u64::MAX;
    spec.limits.wall_ms_per_sample = 100;
    let metric = Metric::load(&runtime, &spec).expect("it loads");
    let scored = rlhf::evaluate::score(&metric, &[sample("bad")]).per_sample;
    let failure = scored[0].as_ref().expect_err("it never ends");
    assert_eq!(
        failure.to_string(),
        "out of time: more than 100 ms for a sample"
    );
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/hostile/guests/error");
    let path = guest(folder);
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
