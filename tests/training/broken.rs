//! What a run meets on the disk when it is gone on with: damage, and the traces of another run.

use std::path::Path;

use rlhf_test_support::Workspace;

use crate::job::{RESULTS, difference, run, workspace};

/// Takes away what a run leaves behind its training.
fn cut(workspace: &Workspace, folder: &str) {
    std::fs::remove_dir_all(workspace.join(folder).join("final")).expect("it was there");
    std::fs::remove_file(workspace.join(folder).join("summary.json")).expect("it was there");
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("it can be written");
}

// Would catch a damaged checkpoint that is loaded, ends the run, or is passed over in silence.
#[test]
fn the_newest_whole_checkpoint_is_taken() {
    let workspace = workspace();
    let resume =
        |more: &[&str]| run(&workspace, "dpo", "cut", &[&["--resume"], more].concat()).run();
    for folder in ["whole", "cut"] {
        run(&workspace, "dpo", folder, &[]).run().expect_code(0);
    }
    cut(&workspace, "cut");
    flip(&workspace.join("cut/checkpoint-10/optimizer.safetensors"));
    let named = ["--resume", "cut/checkpoint-10"];
    run(&workspace, "dpo", "cut", &named)
        .run()
        .expect_code(2)
        .expect_stderr(
            "checkpoint `cut/checkpoint-10`: `optimizer.safetensors` is not as it was written",
        )
        .expect_stderr("hint: `--resume auto` takes the newest checkpoint that is whole");
    resume(&[])
        .expect_code(0)
        .expect_stderr("warning: checkpoint `cut/checkpoint-10`: `optimizer.safetensors` is not as it was written: its SHA-256 differs; it is left out")
        .expect_stderr("going on from cut/checkpoint-8");
    assert_eq!(difference(&workspace, "whole", "cut"), None);
    // All of them: cut short, and half of one gone.
    cut(&workspace, "cut");
    let file = workspace.join("cut/checkpoint-10/model.safetensors");
    let bytes = std::fs::read(&file).expect("it can be read");
    std::fs::write(&file, &bytes[..1000]).expect("it can be written");
    let gone = workspace.join("cut/checkpoint-8/tokenizer.json");
    std::fs::remove_file(gone).expect("it was there");
    resume(&[])
        .expect_code(0)
        .expect_stderr("`model.safetensors` has 1000 bytes, and ")
        .expect_stderr("checkpoint `cut/checkpoint-8`: `tokenizer.json`: No such file")
        .expect_stderr("cut has no whole checkpoint: its training begins anew");
    assert_eq!(difference(&workspace, "whole", "cut"), None);
}

// Would catch a run that is gone on with as another one, and a difference that is not named.
#[test]
fn other_settings_plugins_and_data_are_named() {
    let workspace = workspace();
    run(&workspace, "dpo", "out", &[]).run().expect_code(0);
    let before = RESULTS.map(|file| std::fs::read(workspace.join("out").join(file)).expect(file));
    let refused = |more: &[&str], expected: &[&str]| {
        let run = run(&workspace, "dpo", "out", &[&["--resume"], more].concat()).run();
        let mut run = run
            .expect_code(2)
            .expect_stderr("the run in `out` was begun otherwise:\n  ");
        for line in expected {
            run = run.expect_stderr(line);
        }
        run.expect_stderr("hint: give the settings, plugins and data that it was begun with");
    };
    refused(
        &["--learning-rate", "0.5", "--seed", "12", "--lora-rank", "2"],
        &[
            "\n  seed is 11 there and 12 here\n",
            "\n  training.learning_rate is 0.001 there and 0.5 here\n",
            "\n  model.lora.rank is 0 there and 2 here\n",
        ],
    );
    refused(
        &["--plugin", "rouge,weight=2"],
        &["\n  plugins rouge: weight is null there and 2.0 here\n"],
    );
    let pairs = workspace.read("pairs.csv");
    workspace.write("pairs.csv", pairs.replace("say 7", "say seven"));
    refused(&[], &["data data.train_data_path: sha256 is "]);
    workspace.write("moved.csv", pairs);
    let after = RESULTS.map(|file| std::fs::read(workspace.join("out").join(file)).expect(file));
    assert!(before == after, "a refused run changed the results");
    // What does not matter is told, and the run is the same.
    let moved = "[data]\ntrain_data_path = \"moved.csv\"\n";
    workspace.write("small.toml", workspace.read("small.toml") + moved);
    let free = ["--resume", "--save-steps", "3"];
    run(&workspace, "file", "out", &free)
        .run()
        .expect_code(0)
        .expect_stderr("warning: going on otherwise: training.save_steps is 2 there and 3 here")
        .expect_stderr("data.train_data_path is \"pairs.csv\" there and \"moved.csv\" here");
    let again = RESULTS.map(|file| std::fs::read(workspace.join("out").join(file)).expect(file));
    assert!(
        before == again,
        "another interval of checkpoints changed the results"
    );
}

/// A run that no file may grow beyond a size from a moment on: what a full disk does to it.
#[cfg(target_os = "linux")]
fn run_on_a_full_disk(
    workspace: &Workspace,
    method: &str,
    bytes: u64,
    when: &str,
) -> rlhf_test_support::Run {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limited = run(workspace, method, method, &[]).through("trap '' XFSZ; exec \"$@\"");
    let mut running = limited.start();
    let there = workspace.join(method).join(when);
    assert!(
        running.wait_until(|| there.exists()),
        "it ended before {when}"
    );
    let process = Pid::from_raw(i32::try_from(running.id()).expect("a process id"));
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    prlimit(process, Resource::Fsize, limit).expect("a child's limits can be set");
    running.wait()
}

// Would catch a full disk that costs an earlier checkpoint, leaves half of one, or ends a run
// without a word about it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let workspace = workspace();
    for (method, bytes, expected) in [
        ("dpo", 100_000, "cannot write model folder `dpo/checkpoint-"),
        // Not even a row of the responses.
        ("ppo", 10, "results `ppo/completions.jsonl`: "),
    ] {
        run(&workspace, method, "whole", &["--overwrite"])
            .run()
            .expect_code(0);
        let ended = run_on_a_full_disk(&workspace, method, bytes, "checkpoint-4");
        let ended = ended.expect_code(1).expect_stderr(expected);
        let errors = ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{ended}");
        assert!(
            ended.stderr.contains("File too large") && ended.stderr.contains("hint: "),
            "{ended}"
        );
        let names: Vec<String> = std::fs::read_dir(workspace.join(method))
            .expect("the run's folder")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert!(
            !names.iter().any(|name| name.contains(".partial-")),
            "{names:?}"
        );
        run(&workspace, method, method, &["--resume"])
            .run()
            .expect_code(0)
            .expect_stderr(&format!("going on from {method}/checkpoint-"));
        assert_eq!(difference(&workspace, "whole", method), None);
    }
}

/// A clock that stands before 1970, in 2100 and where it should, one look after the other.
#[cfg(target_os = "linux")]
const JUMPING_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static const long jumps[] = {-4000000000L, 2300000000L, 0};
    static atomic_uint looks;
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME) {
        now->tv_sec += jumps[looks++ % 3];
    }
    return result;
}
"#;

// Would catch results, a choice of checkpoints or a log that depend on the time of day, and a
// difference of two times that is taken for a duration.
#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let workspace = workspace();
    workspace.write("clock.c", JUMPING_CLOCK);
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"])
        .current_dir(workspace.path())
        .status();
    assert!(built.expect("a C compiler").success());
    let shim = workspace.join("clock.so").display().to_string();
    for method in ["dpo", "ppo"] {
        run(&workspace, method, "whole", &["--overwrite"])
            .run()
            .expect_code(0);
        let jumping = |more: &[&str]| {
            run(&workspace, method, method, &[&["--wandb"], more].concat())
                .through(&format!("export LD_PRELOAD='{shim}'; exec \"$@\""))
                .run()
                .expect_code(0)
        };
        jumping(&[]);
        assert_eq!(difference(&workspace, "whole", method), None);
        cut(&workspace, method);
        jumping(&["--resume"]).expect_stderr(&format!("going on from {method}/checkpoint-10"));
        assert_eq!(difference(&workspace, "whole", method), None);
    }
}
