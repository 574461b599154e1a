//! `rlhf exec` and pass@k: what a user sees.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rlhf_test_support::{Rlhf, Run, Workspace, component, rlhf};
use xtask::workspace::root;

fn exec(workspace: &Workspace) -> Rlhf {
    let runner = component("runner-python");
    let folder = runner
        .ancestors()
        .nth(2)
        .expect("plugins/runners/python.wasm");
    rlhf!(workspace).env("RLHF_PLUGIN_PATH", folder).arg("exec")
}

fn program(source: &str, flags: &[&str], stdin: &str) -> Run {
    let workspace = Workspace::new();
    workspace.write("program.py", source);
    exec(&workspace)
        .args(flags)
        .arg("program.py")
        .stdin(stdin)
        .run()
}

// Would catch output, input or an exit code that is not the program's own.
#[test]
fn exec_is_like_an_interpreter() {
    let run = program(
        "import sys\nprint(input().upper())\nprint('talk', file=sys.stderr)\nsys.exit(7)\n",
        &[],
        "hello\n",
    );
    let run = run.expect_code(7);
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("HELLO\n", "talk\n")
    );
    let run = program("def f():\n    return 1 / 0\nf()\n", &[], "").expect_code(1);
    assert_eq!(run.stdout, "");
    assert_eq!(
        run.stderr,
        "Traceback (most recent call last):\n  File \"program.py\", line 3, in <module>\n    f()\n  \
         File \"program.py\", line 2, in f\n    return 1 / 0\nZeroDivisionError: division by zero\n"
    );
    program("print(", &[], "")
        .expect_code(1)
        .expect_stderr("SyntaxError");
    let workspace = Workspace::new();
    workspace.write("program.py", "print(1)\n");
    let much = vec![b'x'; (64 << 20) + 1];
    let run = exec(&workspace).arg("program.py").stdin(much).run();
    run.expect_code(2)
        .expect_stderr("stdin has more than 67108864 bytes");
    let run = exec(&workspace).arg("-").stdin("print(2 ** 70)").run();
    assert_eq!(run.expect_code(0).stdout, "1180591620717411303424\n");
}

// Would catch a limit that is taken for the program's failure, or the other way round.
#[test]
fn limits_have_exit_codes_of_their_own() {
    for (source, flags, code, words) in [
        (
            "while True: pass",
            &["--fuel", "100M"][..],
            124,
            "out of fuel",
        ),
        (
            "while True: print('x' * 1000)",
            &["--fuel", "2G"],
            125,
            "output",
        ),
        ("import os\nos.abort()", &[], 134, "trap"),
        ("raise SystemExit(256 + 3)", &[], 3, ""),
        ("raise SystemExit('no')", &[], 1, "no"),
        ("import os\nos._exit(5)", &[], 5, ""),
    ] {
        program(source, flags, "")
            .expect_code(code)
            .expect_stderr(words);
    }
    program("x = bytes(1 << 29)", &["--memory", "64M"], "")
        .expect_code(137)
        .expect_stderr("MemoryError");
    // Who catches it goes on.
    let caught = "try: x = bytes(1 << 29)\nexcept MemoryError: print('caught')";
    let run = program(caught, &["--memory", "64M"], "").expect_code(0);
    assert_eq!(run.stdout, "caught\n");
}

// Would catch a file, a variable or the time of this machine that gets in.
#[test]
fn nothing_of_the_machine_is_there() {
    let run = program(
        "import os, time\n\
         found = []\n\
         for path in ['program.py', '/etc/passwd', '/proc/self/environ', '.', '/']:\n    \
             for look in (open, os.listdir, os.stat):\n        \
                 try: found.append((path, look(path)))\n        \
                 except OSError: pass\n\
         print(found, dict(os.environ), time.time() < 1e9)\n",
        &[],
        "",
    );
    assert_eq!(run.expect_code(0).stdout, "[] {} True\n");
}

// Would catch the README's first picture when it stops being true.
#[test]
fn the_demonstration_is_as_the_readme_shows_it() {
    let workspace = Workspace::new();
    let run = exec(&workspace).arg("--demo-forge").run().expect_code(0);
    let readme = std::fs::read_to_string(root().join("README.md")).expect("it is there");
    for line in run.stdout.lines() {
        assert!(readme.contains(line), "not in the README: {line}");
    }
    assert_eq!(run.stdout.matches(" pass ").count(), 5, "{}", run.stdout);
    assert_eq!(run.stdout.matches(" fail ").count(), 5, "{}", run.stdout);
}

// Would catch messages that leave the reader alone.
#[test]
fn wrong_uses_are_named() {
    let workspace = Workspace::new();
    workspace.write("latin.py", [b'#', 0xe9, b'\n']);
    workspace.write("program.rb", "puts 1");
    for (arguments, words) in [
        (&["missing.py"][..], "missing.py"),
        (&["latin.py"], "byte 2 is not UTF-8"),
        (
            &["program.rb"],
            "no runner for `ruby`: expected one of python",
        ),
        (&["--fuel", "lots", "latin.py"], "expected a whole number"),
        (&[], "FILE"),
    ] {
        exec(&workspace)
            .args(arguments)
            .run()
            .expect_code(2)
            .expect_stderr(words);
    }
}

// Would catch workers that go on computing when nobody waits for them any more.
#[test]
fn an_interrupt_leaves_no_process_behind() {
    let workspace = Workspace::new();
    let path = workspace.write("program.py", "while True: pass");
    let runner = component("runner-python");
    for signal in ["-INT", "-KILL"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rlhf"))
            .args(["exec", "--fuel", "1000G"])
            .arg(format!("--plugin={},wall-ms=600000", runner.display()))
            .arg(&path)
            .env("RLHF_CACHE", crate::cache())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let worker_of = |parent: u32| -> Option<u32> {
            std::fs::read_dir("/proc").ok()?.find_map(|entry| {
                let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
                status.contains(&format!("PPid:\t{parent}\n")).then_some(id)
            })
        };
        let start = Instant::now();
        let worker = loop {
            if let Some(worker) = worker_of(child.id()) {
                break worker;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "no worker");
            std::thread::sleep(Duration::from_millis(20));
        };
        std::thread::sleep(Duration::from_millis(300));
        let status = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(status.expect("kill is there").success());
        child.wait().expect("it ends");
        let start = Instant::now();
        // A zombie that init has not fetched yet computes no more.
        let alive = || {
            std::fs::read_to_string(format!("/proc/{worker}/status"))
                .is_ok_and(|status| !status.contains("State:\tZ"))
        };
        while alive() {
            assert!(start.elapsed() < Duration::from_secs(10), "{signal}: left");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

// Would catch samples that are joined to the wrong task, or counted wrongly.
#[test]
fn pass_at_k_over_humaneval() {
    let workspace = Workspace::new();
    let tasks = root().join("tests/golden/humaneval/HumanEval.jsonl");
    let text = std::fs::read_to_string(&tasks).expect("it is committed");
    let mut samples = String::new();
    let mut few = String::new();
    for (at, line) in text.lines().take(10).enumerate() {
        let task: serde_json::Value = serde_json::from_str(line).expect("a task a line");
        few.push_str(&format!("{line}\n"));
        // Of four samples the first 0, 1, 2, 3 are right.
        for sample in 0..4 {
            let completion = match sample < at % 4 {
                true => task["canonical_solution"].clone(),
                false => "    return None\n".into(),
            };
            let row = serde_json::json!({ "task_id": task["task_id"], "completion": completion });
            samples.push_str(&format!("{row}\n"));
        }
    }
    workspace.write("samples.jsonl", samples);
    workspace.write("tasks.jsonl", few);
    let metric = format!("{},grant=sandbox", component("metric-unit-tests").display());
    for package in [
        "adapter-csv",
        "adapter-json",
        "adapter-parquet",
        "runner-python",
    ] {
        component(package);
    }
    let folder = component("metric-unit-tests");
    let folder = folder.ancestors().nth(2).expect("plugins/metrics/…");
    let eval = |flags: &[&str]| {
        rlhf!(&workspace)
            .env("RLHF_PLUGIN_PATH", folder)
            .args([
                "eval",
                "--predictions",
                "samples.jsonl",
                "--metric",
                &metric,
            ])
            .args(flags)
            .run()
    };
    let run = eval(&[
        "--tasks",
        "tasks.jsonl",
        "--pass-at",
        "1,2,5",
        "--output",
        "json",
    ]);
    let report: serde_json::Value =
        serde_json::from_str(&run.expect_code(0).stdout).expect("it is JSON");
    let pass_at = &report["systems"][0]["pass_at"];
    // Tasks with 0, 1, 2, 3 of 4 right: three of the first two kinds, two of the others.
    let close = |at: usize, expected: f64| {
        let found = pass_at[at]["value"].as_f64().expect("it has a value");
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    };
    close(0, (3.0 * 0.25 + 2.0 * 0.5 + 2.0 * 0.75) / 10.0);
    close(1, (3.0 * 0.5 + 2.0 * (5.0 / 6.0) + 2.0) / 10.0);
    assert!(pass_at[2]["value"].is_null());
    let reason = pass_at[2]["reason"].as_str().expect("it says why");
    assert_eq!(
        reason,
        "task `HumanEval/0` has 4 samples; pass@5 takes at least 5"
    );
    // Without the tasks there is nothing to run.
    eval(&["--pass-at", "1"])
        .expect_code(3)
        .expect_stdout("the sample has no tests");
    workspace.write("tasks.jsonl", text.lines().next().expect("there is one"));
    eval(&["--tasks", "tasks.jsonl", "--pass-at", "1"])
        .expect_code(2)
        .expect_stderr("no such task as `HumanEval/1`");
}
