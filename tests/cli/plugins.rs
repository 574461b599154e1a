//! Do the plugin commands, and plugins of every kind in a run, do what they say?

use rlhf_test_support::{Workspace, component, guest, rlhf};
use serde_json::Value;

use super::{call, with_plugins};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Would catch a shipped plugin that breaks the contract which others are held to.
#[test]
fn shipped_plugins_pass_the_conformance_kit() {
    let workspace = Workspace::new();
    workspace.write(
        "rows.csv",
        "prompt,response\nadd,return a + b\nsub,return a - b\n",
    );
    workspace.write(
        "rows.jsonl",
        "{\"prompt\": \"add\", \"response\": \"return a + b\"}\n",
    );
    for (plugin, data) in [
        ("bertscore", None),
        ("bleu", None),
        ("codebleu", None),
        ("rouge", None),
        ("chrf", None),
        ("exact-match", None),
        ("edit-similarity", None),
        ("ruby", None),
        ("ruby-paper", None),
        ("unit-tests", None),
        ("targets", None),
        ("length", None),
        ("csv", Some("rows.csv")),
        ("json", Some("rows.jsonl")),
        ("parquet", None),
    ] {
        let mut arguments = vec!["plugin", "test", plugin];
        arguments.extend(data.map(|path| ["--data", path]).into_iter().flatten());
        let run = call(&workspace, &arguments);
        assert_eq!(run.code, Some(0), "{plugin}: {}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains("ok    the description is honest"),
            "{}",
            run.stdout
        );
    }
}

/// Would catch a report that an author can't act on: the guest's own words, the
/// sample, and the command that shows it again.
#[test]
fn a_failed_check_says_what_to_do() {
    let workspace = Workspace::new();
    let path = guest("tests/cli/guests/fragile").display().to_string();
    let run = call(&workspace, &["plugin", "test", &path]).expect_code(3);
    for expected in [
        "FAIL  odd samples are scored, or refused with a reason",
        "`empty, response`: trap: wasm `unreachable` instruction executed; the plugin wrote:",
        "nothing to divide by",
        "FAIL  batches of any size and order give the same scores",
        "again: rlhf plugin test ",
        "--case 'empty, response'",
        "FAIL  unknown options are refused by name",
    ] {
        assert!(run.stdout.contains(expected), "{expected}: {}", run.stdout);
    }
    assert!(run.stderr.contains("failed "), "{}", run.stderr);
    let again = [
        "plugin",
        "test",
        &path,
        "--case",
        "empty, response",
        "--json",
    ];
    let report = json(&call(&workspace, &again).expect_code(3).stdout);
    let checks = report["checks"].as_array().expect("a list");
    let odd = checks
        .iter()
        .find(|check| {
            check["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("odd"))
        })
        .expect("the check is there");
    assert_eq!(odd["problems"].as_array().map(Vec::len), Some(1), "{odd}");
}

/// Would catch golden cases that are not run, or pass whatever they say.
#[test]
fn golden_cases_run_through_the_component() {
    let workspace = Workspace::new();
    let header = "{\"origin\": \"worked out by hand\", \"tolerance\": 1e-12}\n";
    let good = "{\"id\": \"equal\", \"response\": \"a b c d\", \"references\": [\"a b c d\"], \"expected\": {\"value\": 1.0}}\n";
    workspace.write("good.jsonl", format!("{header}{good}"));
    workspace.write(
        "bad.jsonl",
        format!("{header}{}", good.replace("1.0", "0.5")),
    );
    call(
        &workspace,
        &["plugin", "test", "bleu", "--cases", "good.jsonl"],
    )
    .expect_code(0)
    .expect_stdout("ok    golden cases (1 cases)");
    call(
        &workspace,
        &["plugin", "test", "bleu", "--cases", "bad.jsonl"],
    )
    .expect_code(3)
    .expect_stdout("`equal`: value: expected 0.5 ± 0.000000000001, found 1");
}

/// Would catch a lock that is ignored, or that refuses what hasn't changed.
#[test]
fn a_locked_plugin_must_not_change() {
    let workspace = Workspace::new();
    let mine = workspace.join("mine.wasm");
    let copy = |package: &str| {
        std::fs::copy(component(package), &mine).expect("it can be copied");
    };
    copy("metric-bleu");
    call(&workspace, &["plugin", "lock", "mine.wasm", "codebleu"])
        .expect_code(0)
        .expect_stderr("rlhf.lock");
    let lock = workspace.read("rlhf.lock");
    assert!(lock.contains("path = \"mine.wasm\""), "{lock}");
    assert!(
        lock.contains("path = \"shipped:metrics/codebleu.wasm\""),
        "{lock}"
    );
    let eval = [
        "eval",
        "--prediction",
        "a",
        "--reference",
        "a",
        "--metric",
        "mine.wasm",
    ];
    call(&workspace, &eval).expect_code(0);
    copy("metric-codebleu");
    let run = call(&workspace, &eval).expect_code(3);
    let hashes: Vec<&str> = run
        .stderr
        .split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| word.len() == 64)
        .collect();
    assert_eq!(hashes.len(), 2, "{}", run.stderr);
    assert!(
        lock.contains(hashes[0]) && hashes[0] != hashes[1],
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("rlhf plugin lock mine.wasm"),
        "{}",
        run.stderr
    );
    // Neither a link in its place nor another file under its name gets around it.
    std::fs::remove_file(&mine).expect("it is ours");
    std::os::unix::fs::symlink(component("metric-codebleu"), &mine).expect("links can be made");
    call(&workspace, &eval)
        .expect_code(3)
        .expect_stderr("has changed");
    let spelt = [
        "eval",
        "--prediction",
        "a",
        "--reference",
        "a",
        "--metric",
        "./mine.wasm",
    ];
    call(&workspace, &spelt)
        .expect_code(3)
        .expect_stderr("has changed");
    let folder = workspace.join("plugins");
    std::fs::create_dir_all(&folder).expect("it can be made");
    std::fs::copy(component("metric-bleu"), folder.join("codebleu.wasm"))
        .expect("it can be copied");
    with_plugins(rlhf!(&workspace))
        .env("RLHF_PLUGIN_PATH", folder)
        .args([
            "eval",
            "--prediction",
            "a",
            "--reference",
            "a",
            "--metric",
            "codebleu",
        ])
        .run()
        .expect_code(3)
        .expect_stderr("has changed");
    workspace.write(
        "rlhf.lock",
        "[[plugin]]\npath = \"x\"\nsha256 = \"short\"\n",
    );
    call(&workspace, &eval)
        .expect_code(2)
        .expect_stderr("expected a sha256 of 64 hexadecimal digits");
}

/// Would catch shapers that are loaded and don't count, and parts that nobody can see.
#[test]
fn reward_shapers_rank_the_models_samples() {
    let workspace = Workspace::new();
    let run = call(
        &workspace,
        &[
            "--mode",
            "fast",
            "--steps",
            "2",
            "--eval-tasks",
            "8",
            "--output-dir",
            "out",
            "--plugin",
            "rewards/targets.wasm,on-failure=penalty:0",
            "--plugin",
            "rewards/length.wasm,weight=0.2",
            "--config",
            "small.toml",
        ],
    );
    // Without the file it is refused before any work.
    run.expect_code(2).expect_stderr("small.toml");
    workspace.write(
        "small.toml",
        "[warm_up]\nsteps = 60\n[preferences]\nprompts_max = 48\nmargin_min = 0.001\n[evaluation]\nbootstrap_samples = 100\n",
    );
    let arguments = [
        "--mode",
        "fast",
        "--method",
        "dpo",
        "--steps",
        "2",
        "--eval-tasks",
        "8",
        "--output-dir",
        "out",
        "--plugin",
        "rewards/targets.wasm,on-failure=penalty:0",
        "--plugin",
        "rewards/length.wasm,weight=0.2",
        "--config",
        "small.toml",
    ];
    let dry: Vec<&str> = arguments.iter().copied().chain(["--dry-run"]).collect();
    call(&workspace, &dry)
        .expect_code(0)
        .expect_stdout("ranked by targets + 0.2 length");
    call(&workspace, &arguments).expect_code(0);
    let rows: Vec<Value> = workspace
        .read("out/rewards.jsonl")
        .lines()
        .map(json)
        .collect();
    assert!(rows.len() > 48 * 4, "{} rows", rows.len());
    let mut differing = std::collections::BTreeSet::new();
    for row in &rows {
        let value = |part: &str| row["parts"][part]["value"].as_f64();
        let targets = value("targets").unwrap_or(0.0);
        let length = value("length").expect("the length is always known");
        let reward = row["reward"].as_f64().expect("nobody is left out");
        assert!((reward - (targets + 0.2 * length)).abs() < 1e-12, "{row}");
        assert!(
            row["parts"]["targets"]["parts"]["codebleu"].is_f64(),
            "{row}"
        );
        differing.insert(reward.to_bits());
    }
    assert!(differing.len() > 10, "all responses are worth the same");
    let metrics = workspace.read("out/metrics.jsonl");
    for tag in [
        "rewards/total",
        "rewards/targets/bleu",
        "rewards/length/overlong",
    ] {
        assert!(metrics.contains(tag), "{tag}: {metrics}");
    }
    let manifest = json(&workspace.read("out/manifest.json"));
    let pins = manifest["plugins"].as_array().expect("a list");
    let length = pins
        .iter()
        .find(|pin| pin["name"] == "length")
        .expect("it is pinned");
    assert_eq!(length["kind"], "reward-shaper");
    assert_eq!(length["limits"]["log_lines_max"], 100);
}

/// Would catch a format that is read otherwise than the others.
#[test]
fn predictions_of_every_format() {
    let workspace = Workspace::new();
    workspace.write(
        "rows.csv",
        "id,answer,reference\na,x y z w,x y z w\nb,x y,x z\n",
    );
    workspace.write(
        "rows.json",
        "[{\"id\": \"a\", \"answer\": \"x y z w\", \"reference\": \"x y z w\"}, {\"id\": \"b\", \"answer\": \"x y\", \"reference\": [\"x z\"]}]",
    );
    let mut found = Vec::new();
    for file in ["rows.csv", "rows.json"] {
        let run = call(
            &workspace,
            &[
                "eval",
                "--predictions",
                file,
                "--column",
                "response=answer",
                "--metric",
                "bleu",
                "--output",
                "json",
                "--per-sample",
                "scores.jsonl",
            ],
        );
        let results = json(&run.expect_code(0).stdout);
        assert_eq!(results[0]["samples"], 2, "{file}");
        found.push((results, workspace.read("scores.jsonl")));
    }
    assert_eq!(found[0], found[1]);
    call(
        &workspace,
        &["eval", "--predictions", "rows.csv", "--metric", "bleu"],
    )
    .expect_code(2)
    .expect_stderr("`response`");
}

/// Would catch a comparison of different questions, and one that finds a
/// difference where there is none, or none where everything differs.
#[test]
fn two_systems_are_tested_against_each_other() {
    let workspace = Workspace::new();
    let file = |name: &str, answer: &dyn Fn(usize) -> String| {
        let rows: String = (0..60)
            .map(|at| {
                format!(
                    "{{\"id\": {at}, \"prediction\": \"{}\", \"reference\": \"return the sum of {at} and b\"}}\n",
                    answer(at)
                )
            })
            .collect();
        workspace.write(name, rows);
    };
    file("good.jsonl", &|at| format!("return the sum of {at} and c"));
    file("bad.jsonl", &|at| format!("print the sum of {at}"));
    file("other.jsonl", &|at| {
        format!("return the sum of {} and c", at + usize::from(at == 7))
    });
    let compare = |first: &str, second: &str| {
        let run = call(
            &workspace,
            &[
                "eval",
                "--predictions",
                first,
                "--predictions",
                second,
                "--metric",
                "bleu",
                "--output",
                "json",
            ],
        );
        json(&run.expect_code(0).stdout)["comparisons"][0]["metrics"][0].clone()
    };
    let clear = compare("bad.jsonl", "good.jsonl");
    let number = |row: &Value, key: &str| row[key].as_f64().expect("a number");
    assert!(number(&clear, "p_value") < 0.01, "{clear}");
    assert!(number(&clear, "difference") > 0.1, "{clear}");
    assert!(clear["interval"][0].as_f64() > Some(0.0), "{clear}");
    let back = compare("good.jsonl", "bad.jsonl");
    assert!((number(&clear, "difference") + number(&back, "difference")).abs() < 1e-12);
    assert_eq!(clear["p_value"], back["p_value"]);
    let same = compare("good.jsonl", "good.jsonl");
    assert_eq!(
        (number(&same, "difference"), number(&same, "p_value")),
        (0.0, 1.0)
    );
    let near = compare("good.jsonl", "other.jsonl");
    assert!(number(&near, "p_value") > 0.05, "{near}");
    workspace.write(
        "short.jsonl",
        "{\"id\": 0, \"prediction\": \"x\", \"reference\": \"y\"}\n",
    );
    call(
        &workspace,
        &[
            "eval",
            "--predictions",
            "good.jsonl",
            "--predictions",
            "short.jsonl",
            "--metric",
            "bleu",
        ],
    )
    .expect_code(2)
    .expect_stderr("`good.jsonl` has 60 predictions, `short.jsonl` 1");
}

/// Would catch a measurement that measures nothing.
#[test]
fn bench_and_list() {
    let workspace = Workspace::new();
    let bench = ["plugin", "bench", "bleu", "--seconds", "0.1", "--json"];
    let facts = json(&call(&workspace, &bench).expect_code(0).stdout);
    for key in [
        "per second, 1 worker",
        "per second, all workers",
        "fuel each",
        "memory bytes",
    ] {
        assert!(
            facts[key].as_f64().is_some_and(|value| value > 0.0),
            "{key}: {facts}"
        );
    }
    let run = call(&workspace, &["plugin", "list"]).expect_code(0);
    for line in [
        "codebleu         metric         wit 0.1.0",
        "length           reward-shaper  wit 0.1.0",
        "parquet          data-adapter   wit 0.1.0",
    ] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
    // A folder of the user's goes first, and hides what it replaces.
    workspace.write("plugins/metrics/bleu.wasm", "no component");
    let shipped = component("metric-bleu");
    let shipped = shipped
        .ancestors()
        .nth(2)
        .expect("plugins/metrics/bleu.wasm");
    let paths = std::env::join_paths([workspace.join("plugins"), shipped.to_owned()])
        .expect("they have no colons");
    let run = with_plugins(rlhf!(&workspace))
        .env("RLHF_PLUGIN_PATH", paths)
        .args(["plugin", "list"])
        .run()
        .expect_code(0);
    assert!(
        run.stdout
            .contains("bleu             metric         broken"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout
            .contains("bleu             metric         hidden"),
        "{}",
        run.stdout
    );
}

/// Would catch a runner that nobody is given, a sandbox without a grant, and a
/// program's endless loop that becomes the metric's.
#[test]
fn a_metric_runs_programs_through_a_runner() {
    let workspace = Workspace::new();
    workspace.write(
        "rows.jsonl",
        "{\"id\": \"right\", \"prediction\": \"hello\", \"reference\": \"hello!\"}\n\
         {\"id\": \"wrong\", \"prediction\": \"hello\", \"reference\": \"bye\"}\n\
         {\"id\": \"endless\", \"prediction\": \"loop\", \"reference\": \"loop!\"}\n",
    );
    let metric = guest("tests/cli/guests/runs").display().to_string();
    let runner = guest("tests/cli/guests/echo-runner").display().to_string();
    let eval = |metric: &str, further: &[&str]| {
        let mut arguments = vec![
            "eval",
            "--predictions",
            "rows.jsonl",
            "--metric",
            metric,
            "--language",
            "echo",
            "--per-sample",
            "scores.jsonl",
        ];
        arguments.extend(further);
        call(&workspace, &arguments)
    };
    eval(&metric, &[])
        .expect_code(3)
        .expect_stderr("asks for `rlhf:plugin/sandbox@0.1.0`, which was not granted");
    let granted = format!("{metric},grant=sandbox");
    // The shipped runner is there, and runs another language.
    eval(&granted, &[])
        .expect_code(3)
        .expect_stdout("no runner for `echo`: expected one of python");
    let limited = format!("{runner},fuel=50000000");
    eval(&granted, &["--plugin", &limited]).expect_code(0);
    let values: Vec<Value> = workspace
        .read("scores.jsonl")
        .lines()
        .map(|line| json(line)["scores"]["runs"]["value"].clone())
        .collect();
    assert_eq!(values, [1.0, 0.0, 0.0]);
}

/// Would catch tests that are lost between a data set as it is published and
/// the runner, and a metric that runs code without being allowed to.
#[test]
fn tests_of_data_sets_are_run() {
    let workspace = Workspace::new();
    workspace.write(
        "apps.jsonl",
        "{\"problem_id\": 7, \"question\": \"Echo.\", \"completion\": \"hello\", \
          \"input_output\": \"{\\\"inputs\\\": [\\\"1\\\", \\\"2\\\"], \\\"outputs\\\": [\\\"hello1\\\", \\\"bye\\\"]}\"}\n",
    );
    let runner = guest("tests/cli/guests/echo-runner").display().to_string();
    let eval = |metric: &str| {
        let arguments = [
            "eval",
            "--predictions",
            "apps.jsonl",
            "--metric",
            metric,
            "--plugin",
            &runner,
            "--language",
            "echo",
            "--per-sample",
            "scores.jsonl",
        ];
        call(&workspace, &arguments)
    };
    eval("unit-tests,grant=sandbox,config={\"fraction\":true}").expect_code(0);
    let scored = json(&workspace.read("scores.jsonl"));
    assert_eq!(scored["id"], "7");
    let score = &scored["scores"]["unit-tests"];
    assert_eq!(score["value"], 0.5);
    assert_eq!(score["components"]["passed"], 1.0);
    assert_eq!(score["components"]["total"], 2.0);
    // Another language than its own is a failure of the sample, not a score.
    let metric = "ruby,grant=sandbox";
    eval(metric)
        .expect_code(3)
        .expect_stdout("expected `python`, found echo");
}

/// Would catch an adapter that ships and isn't asked, or rows that differ from the other formats'.
#[test]
fn parquet_is_read_like_the_others() {
    let workspace = Workspace::new();
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../plugins/adapter-parquet/golden"
    );
    let file = format!("{golden}/codec-snappy-1.parquet");
    let run = call(
        &workspace,
        &["--mode", "fast", "--dry-run", "--train-data-path", &file],
    );
    let run = run.expect_code(0).expect_stdout(": 40 demonstrations");
    run.expect_stdout("plugin     parquet data-adapter");
}

/// Would catch input that is taken for something else, or refused as somebody else's fault.
#[test]
fn wrong_uses_are_named() {
    let workspace = Workspace::new();
    workspace.write(
        "rows.jsonl",
        "{\"prediction\": \"a\", \"reference\": \"a\"}\n",
    );
    let eval = ["eval", "--predictions", "rows.jsonl", "--metric"];
    for (plugin, code, expected) in [
        (
            "rewards/targets.wasm",
            3,
            "is a reward-shaper, where a metric was expected",
        ),
        (
            "adapters/csv.wasm",
            3,
            "is a data-adapter, where a metric was expected",
        ),
        ("bleu,weight=nan", 2, "`weight` needs a number"),
        ("bleu,stack=1", 2, "`stack_bytes_max` is 1; expected 65536"),
        (
            "bleu,fuel=1000",
            3,
            "out of fuel: more than 2000 units in one call",
        ),
    ] {
        let arguments: Vec<&str> = eval.into_iter().chain([plugin]).collect();
        call(&workspace, &arguments)
            .expect_code(code)
            .expect_stderr(expected);
    }
    for (arguments, code, expected) in [
        (
            &["plugin", "test", "length", "--case", "nope"][..],
            2,
            "no check has a case of this name",
        ),
        (
            &["plugin", "test", "bleu", "--data", "rows.jsonl"],
            2,
            "data files are for adapters",
        ),
        (
            &["plugin", "test", "csv", "--data", "nope.csv"],
            2,
            "is not a file",
        ),
        (
            &["plugin", "bench", "bleu", "--seconds", "nan"],
            2,
            "expected 0.01 to 3600",
        ),
        (
            &[
                "--plugin",
                "rewards/length.wasm,name=bleu",
                "--plugin",
                "bleu",
                "--dry-run",
            ],
            3,
            "two plugins are named `bleu`",
        ),
        (
            &["--plugin", "rewards/length.wasm,name=total", "--dry-run"],
            2,
            "the name `total`",
        ),
    ] {
        call(&workspace, arguments)
            .expect_code(code)
            .expect_stderr(expected);
    }
    // A file of a shipped one's name doesn't take its place.
    workspace.write("bleu", "no component");
    let arguments: Vec<&str> = eval.into_iter().chain(["bleu"]).collect();
    call(&workspace, &arguments).expect_code(0);
}
