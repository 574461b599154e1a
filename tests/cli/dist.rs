//! Does what `cargo xtask dist` makes run where there is neither Rust nor Python?
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use xtask::dist;

/// Would catch an archive that lacks something, and a binary that needs something of this machine:
/// it runs from the unpacked archive alone, with an empty environment.
#[test]
fn the_archive_runs_by_itself() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let binary = Path::new(env!("CARGO_BIN_EXE_rlhf"));
    let name = dist::name(binary).expect("the binary runs");
    let folder = temporary.path().join("made").join(&name);
    dist::assemble(binary, &crate::plugins(), &folder).expect("everything is there");
    let archive = dist::pack(&folder).expect("it can be packed");
    std::fs::remove_dir_all(&folder).expect("it was just made");
    let elsewhere = temporary.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("it can be made");
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .args([&archive])
        .arg("-C")
        .arg(&elsewhere)
        .status();
    assert!(unpacked.is_ok_and(|status| status.success()), "tar");
    std::fs::remove_file(&archive).expect("it was just made");
    let folder = elsewhere.join(&name);
    for file in [
        "LICENSE",
        "README.md",
        "wit/0.1.0/worlds.wit",
        "plugins/runners/python.wasm",
        "completions/rlhf.bash",
        "completions/_rlhf",
        "man/man1/rlhf.1",
        "rlhf.schema.json",
    ] {
        assert!(folder.join(file).is_file(), "{file} is missing");
    }
    let licences = std::fs::read_to_string(folder.join("THIRD-PARTY.md")).expect("it is there");
    for part in [
        "| wasmtime 48.",
        "| candle-core 0.",
        "| tree-sitter-python 0.",
        "PSF-2.0",
    ] {
        assert!(licences.contains(part), "no {part}");
    }
    assert!(
        !licences.contains("| boon "),
        "a dependency of tests is not shipped"
    );

    let run = |arguments: &[&str], expected: &str| {
        let mut command = Command::new(folder.join("rlhf"));
        command.args(arguments).current_dir(&elsewhere).env_clear();
        // Compiling components takes minutes; what lies there is keyed by their bytes.
        let cache = xtask::workspace::target_dir().expect("cargo tells");
        command.env("RLHF_CACHE", cache.join("test-cache"));
        let output = command.output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains(expected),
            "{arguments:?}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run(&["--version"], "target      ");
    run(&["plugin", "list"], "plugins/metrics/codebleu.wasm");
    run(
        &["--mode", "fast", "--dry-run"],
        "evaluation 256 held-out tasks",
    );
    run(
        &[
            "eval",
            "--prediction",
            "a",
            "--reference",
            "a",
            "--metric",
            "exact-match",
        ],
        "1.0000",
    );
    std::fs::write(elsewhere.join("program.py"), "print(6 * 7)\n").expect("it can be written");
    run(&["exec", "program.py"], "42");
}
