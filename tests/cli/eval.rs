//! `rlhf eval`: forms of metrics and of output, targets, streams.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rlhf_test_support::{Workspace, rlhf};
use serde_json::Value;

use super::{call, plugins, with_plugins};

const ROWS: &str = "{\"id\": \"a\", \"prediction\": \"x y z w\", \"reference\": \"x y z w\"}\n\
                    {\"id\": \"b\", \"prediction\": \"x y z v\", \"reference\": \"x y z w\"}\n";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A call over `rows.jsonl`.
fn eval(workspace: &Workspace, further: &[&str]) -> rlhf_test_support::Run {
    let mut arguments = vec!["eval", "--predictions", "rows.jsonl"];
    arguments.extend(further);
    call(workspace, &arguments)
}

// Would catch options that don't arrive, and a form of output that says something else.
#[test]
fn metrics_and_output_have_their_forms() {
    let workspace = Workspace::new();
    workspace.write("rows.jsonl", ROWS);
    let metrics = [
        "--metric",
        "bleu:smoothing=method4",
        "--metric",
        "exact-match",
        "--per-sample",
        "scores.jsonl",
    ];
    let with = |output| eval(&workspace, &[&metrics[..], &["--output", output]].concat());
    let all = json(&with("json").expect_code(0).stdout);
    let signature = all[0]["signature"].as_str().expect("a text");
    assert!(signature.contains("method4"), "{signature}");
    assert_eq!(all[1]["value"], 0.5);
    let run = with("jsonl").expect_code(0);
    let lines: Vec<Value> = run.stdout.lines().map(json).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["value"], all[0]["value"]);
    assert_eq!(lines[1]["predictions"], "rows.jsonl");
    let run = with("csv").expect_code(0);
    let rows: Vec<&str> = run.stdout.lines().collect();
    assert!(rows[0].starts_with("predictions,metric,value,low,high,"));
    assert!(
        rows[2].starts_with("rows.jsonl,exact-match,0.5,"),
        "{}",
        rows[2]
    );
    assert_eq!(rows.len(), 3);
    let scores: Vec<Value> = workspace.read("scores.jsonl").lines().map(json).collect();
    assert_eq!(scores[1]["id"], "b");
    assert_eq!(scores[1]["scores"]["exact-match"]["value"], 0.0);
    assert!(scores[0]["scores"]["bleu"]["components"].is_object());
}

// Would catch a target that is not missed, is missed by a metric that could not be computed, or
// that nobody watches.
#[test]
fn targets_are_met_or_missed() {
    let workspace = Workspace::new();
    workspace.write("rows.jsonl", ROWS);
    let metric = ["--metric", "exact-match"];
    let with = |further: &[&str]| eval(&workspace, &[&metric[..], further].concat());
    with(&["--target", "exact-match=0.6"])
        .expect_code(0)
        .expect_stdout("target 0.60  missed");
    with(&["--target", "exact-match=0.6", "--require-targets"])
        .expect_code(4)
        .expect_stderr("missed its target: exact-match");
    with(&["--target", "exact-match=0.5", "--require-targets"])
        .expect_code(0)
        .expect_stdout("met");
    with(&["--target", "bleu=0.5"])
        .expect_code(2)
        .expect_stderr("there is no such metric among exact-match");
    with(&["--target", "exact-match=much"]).expect_code(2);
    with(&["--require-targets"]).expect_code(2);
}

// Would catch a metric without its encoder that ends everything or gives a 0, an encoder that is
// not checked, and one that isn't used.
#[test]
fn bertscore_needs_an_encoder() {
    let workspace = Workspace::new();
    workspace.write("rows.jsonl", ROWS);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/models/");
    let roberta = format!("{golden}tiny-roberta");
    let metrics = [
        "--metric",
        "exact-match",
        "--metric",
        "bertscore,grant=encoder",
    ];
    let with = |further: &[&str]| eval(&workspace, &[&metrics[..], further].concat());
    with(&["--target", "bertscore=0.5", "--require-targets"])
        .expect_code(3)
        .expect_stdout("exact-match              0.5000")
        .expect_stdout("bertscore              not computed: ")
        .expect_stdout("--encoder MODEL")
        .expect_stderr("not computed: bertscore");
    let run = with(&[
        "--encoder",
        &roberta,
        "--encoder-layer",
        "1",
        "--output",
        "json",
    ]);
    let all = json(&run.expect_code(0).stdout);
    let components = &all[1]["components"];
    assert!(
        components["f1"].as_f64().is_some_and(|f1| f1 > 0.8),
        "{all}"
    );
    assert_eq!(
        all[1]["signature"],
        format!(
            "bertscore|mean|idf:no|model:tiny-roberta|layer:1|version:{}",
            env!("CARGO_PKG_VERSION")
        )
    );
    with(&["--encoder", &roberta, "--encoder-layer", "3"])
        .expect_code(2)
        .expect_stderr("has no layer 3; expected 0 to 2");
    with(&["--encoder", &format!("{golden}tiny-llama")])
        .expect_code(2)
        .expect_stderr("expected a BERT or a RoBERTa");
    with(&["--encoder", "nowhere"]).expect_code(2);
}

// Would catch columns that are guessed without a word, or not at all.
#[test]
fn columns_are_guessed_and_said() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "output,label,x\na b,a b,1\n");
    let arguments = [
        "eval",
        "--predictions",
        "rows.csv",
        "--metric",
        "exact-match",
    ];
    call(&workspace, &arguments)
        .expect_code(0)
        .expect_stderr("note: `rows.csv`: response from `output`, references from `label` (guessed")
        .expect_stdout("1.0000");
}

// Would catch a column that is mistyped, and another one scored in its place without a word.
#[test]
fn a_mistyped_column_is_told() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "prediction,reference,answer\na b,a b,c\n");
    workspace.write(
        "rows.jsonl",
        "{\"prediction\": \"a b\", \"reference\": \"a b\", \"answer\": \"c\"}\n",
    );
    for file in ["rows.csv", "rows.jsonl"] {
        let arguments = ["eval", "--metric", "exact-match", "--predictions", file];
        let column = ["--column", "response=anwser"];
        call(&workspace, &[&arguments[..], &column].concat())
            .expect_code(0)
            .expect_stderr("column `anwser`, which the option `columns` names for `response`, is missing: took `prediction`");
    }
}

// Would catch a flag about files that is taken, and means nothing, where none is read.
#[test]
fn flags_about_files_need_a_file() {
    let workspace = Workspace::new();
    let sources = [
        &["--predictions", "-"][..],
        &["--prediction", "a", "--reference", "a"],
    ];
    for source in sources {
        for flag in [
            ["--column", "response=a"],
            ["--data-option", "csv.delimiter=;"],
        ] {
            let arguments = [&["eval", "--metric", "exact-match"], source, &flag].concat();
            call(&workspace, &arguments)
                .expect_code(2)
                .expect_stderr(&format!("{} is for files, not for stdin", flag[0]));
        }
    }
}

// Would catch options of adapters that training has and evaluation has not.
#[test]
fn adapters_have_their_options() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "prediction;reference\na b;a b\n");
    let arguments = [
        "eval",
        "--metric",
        "exact-match",
        "--predictions",
        "rows.csv",
    ];
    call(&workspace, &arguments)
        .expect_code(2)
        .expect_stderr("hint: set the option `delimiter` to \";\"");
    let option = ["--data-option", "csv.delimiter=;"];
    call(&workspace, &[&arguments[..], &option].concat())
        .expect_code(0)
        .expect_stdout("1.0000");
}

// Would catch a stream that answers only at its end (it would hang here), loses its order, or
// takes bad lines for good ones.
#[test]
fn a_stream_is_answered_line_by_line() {
    let workspace = Workspace::new();
    let arguments = ["eval", "--predictions", "-", "--metric", "exact-match"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_rlhf"))
        .args(arguments)
        .env("RLHF_PLUGIN_PATH", plugins())
        .env("RLHF_CACHE", workspace.join("cache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut to = child.stdin.take().expect("piped");
    let mut from = BufReader::new(child.stdout.take().expect("piped"));
    let mut read = || {
        let mut line = String::new();
        from.read_line(&mut line).expect("a line");
        json(&line)
    };
    for (completion, expected) in [("a", 1.0), ("b", 0.0), ("a", 1.0)] {
        writeln!(
            to,
            "{{\"completion\": \"{completion}\", \"reference\": \"a\"}}"
        )
        .expect("it reads");
        assert_eq!(read()["scores"]["exact-match"]["value"], expected);
    }
    let lines = ["c", "a"]
        .map(|one| format!("{{\"completion\": \"{one}\", \"references\": [\"b\", \"a\"]}}\n"));
    to.write_all(lines.concat().as_bytes()).expect("it reads");
    assert_eq!(read()["scores"]["exact-match"]["value"], 0.0);
    assert_eq!(read()["id"], "5");
    drop(to);
    assert!(child.wait().expect("it ends").success());

    let stream = |further: &[&str]| {
        let lines = "{\"prediction\": \"a\", \"reference\": \"a\"}\nnonsense\n{\"prediction\": \"b\", \"reference\": \"a\"}\n";
        let rlhf = with_plugins(rlhf!(&workspace))
            .args(arguments)
            .args(further);
        rlhf.stdin(lines).run()
    };
    let run = stream(&[])
        .expect_code(2)
        .expect_stderr("`stdin`, line 2: ");
    assert_eq!(run.stdout.lines().count(), 1);
    let run = stream(&["--on-bad-row", "skip"]).expect_code(0);
    let lines: Vec<Value> = run.stdout.lines().map(json).collect();
    assert!(lines[1]["failure"].is_string(), "{}", run.stdout);
    assert_eq!(lines[2]["scores"]["exact-match"]["value"], 0.0);
    let run = stream(&["--on-bad-row", "skip", "--output", "json"]).expect_code(0);
    assert_eq!(json(&run.stdout)[0]["samples"], 2);
}

// Would catch a guide that doesn't work.
#[test]
#[ignore = "needs RLHF_PEER_PYTHON, any Python 3"]
fn the_guides_reward_function_works() {
    let workspace = Workspace::new();
    let guide = include_str!("../../host/docs/from-trl.md");
    let code = guide.split("```python\n").nth(1).expect("a block");
    let code = code.split("```").next().expect("its end");
    let check = "print(codebleu(completions=['def f():\\n    return 1', 'x'], reference=['def f():\\n    return 1', 'y = 2']))\nrlhf.stdin.close()\n";
    let python = std::env::var_os("RLHF_PEER_PYTHON").expect("RLHF_PEER_PYTHON is set");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_rlhf"));
    let out = Command::new(python)
        .args(["-c", &format!("{code}\n{check}")])
        .env("PATH", binary.parent().expect("a folder"))
        .env("RLHF_PLUGIN_PATH", plugins())
        .env("RLHF_CACHE", workspace.join("cache"))
        .output()
        .expect("Python starts");
    let scores = json(&String::from_utf8_lossy(&out.stdout));
    assert_eq!(scores[0], 1.0, "{}", String::from_utf8_lossy(&out.stderr));
    assert!(
        scores[1].as_f64().is_some_and(|score| score < 0.5),
        "{scores}"
    );
}

// Would catch texts that are kept.
#[test]
#[ignore = "scores 100,000 rows, 400 MB"]
fn a_hundred_thousand_rows_in_bounded_memory() {
    const ROWS: usize = 100_000;
    // Little against the file; 105 MiB were measured.
    const PEAK_BYTES_MAX: u64 = 180 << 20;
    let workspace = Workspace::new();
    let filler = "x = compute(1)\\n".repeat(130);
    let path = workspace.write("rows.jsonl", "");
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).expect("it was there"));
    for row in 0..ROWS {
        writeln!(
            out,
            "{{\"prediction\": \"{filler}{row}\", \"reference\": \"{filler}{}\"}}",
            row / 2 * 2
        )
        .expect("the disk has room");
    }
    out.flush().expect("the disk has room");
    let script = "set -e; \"$0\" eval --predictions rows.jsonl --metric exact-match --metric bleu --bootstrap-samples 100 --output json & p=$!; m=0; while [ -d /proc/$p ] && v=$(awk '/VmHWM/{print $2}' /proc/$p/status 2>/dev/null) && [ -n \"$v\" ]; do m=$v; sleep 0.2; done; wait $p; echo \"$m\" >&2";
    let run = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_rlhf")])
        .current_dir(workspace.path())
        .env("RLHF_PLUGIN_PATH", plugins())
        .env("RLHF_CACHE", workspace.join("cache"))
        .output()
        .expect("a shell");
    let all = json(&String::from_utf8_lossy(&run.stdout));
    assert_eq!(all[0]["samples"], ROWS);
    assert_eq!(all[0]["value"], 0.5);
    let said = String::from_utf8_lossy(&run.stderr);
    let peak: u64 = said
        .trim()
        .lines()
        .last()
        .and_then(|line| line.parse().ok())
        .expect("kB");
    println!("peak: {} MiB for a file of 400 MB", peak >> 10);
    assert!(peak << 10 < PEAK_BYTES_MAX, "{} MiB", peak >> 10);
}

/// Would catch predictions that are overwritten by their scores, and a file that nobody can write,
/// found when all is scored.
#[test]
fn what_is_read_is_not_written_to() {
    let workspace = Workspace::new();
    workspace.write("rows.jsonl", ROWS);
    workspace.write("others.jsonl", ROWS);
    let metric = ["--metric", "exact-match"];
    let same = ["--per-sample", "./rows.jsonl"];
    eval(&workspace, &[&metric[..], &same].concat())
        .expect_code(2)
        .expect_stderr("--per-sample `./rows.jsonl` is the file `rows.jsonl`, which is read");
    let same = [
        "--predictions",
        "others.jsonl",
        "--per-sample",
        "others.jsonl",
    ];
    eval(&workspace, &[&metric[..], &same].concat()).expect_code(2);
    for file in ["rows.jsonl", "others.jsonl"] {
        assert_eq!(workspace.read(file), ROWS);
    }
    let nowhere = ["--per-sample", "nowhere/scores.jsonl"];
    eval(&workspace, &[&metric[..], &nowhere].concat())
        .expect_code(2)
        .expect_stderr("there is no folder `nowhere`");
}

/// Would catch a flag that a stream takes and does nothing with.
#[test]
fn a_stream_refuses_what_needs_all_of_it() {
    let workspace = Workspace::new();
    for flags in [
        &["--target", "exact-match=1", "--require-targets"][..],
        &["--per-sample", "scores.jsonl"],
    ] {
        let arguments = ["eval", "--predictions", "-", "--metric", "exact-match"];
        with_plugins(rlhf!(&workspace))
            .args(arguments)
            .args(flags)
            .stdin(ROWS)
            .run()
            .expect_code(2)
            .expect_stderr("stdin is answered line by line");
        // All together, as a file.
        with_plugins(rlhf!(&workspace))
            .args(arguments)
            .args(flags)
            .args(["--output", "json"])
            .stdin(ROWS)
            .run()
            .expect_code(if flags.len() == 3 { 4 } else { 0 });
    }
}

/// Would catch targets that are the baseline's where a second system is tested.
#[test]
fn targets_are_those_of_the_system_that_is_tested() {
    let workspace = Workspace::new();
    workspace.write("good.jsonl", ROWS.replace("x y z v", "x y z w"));
    workspace.write("bad.jsonl", ROWS);
    let gate = |first: &str, second: &str| {
        let files = ["eval", "--predictions", first, "--predictions", second];
        let target = ["--target", "exact-match=1", "--require-targets"];
        let metric = ["--metric", "exact-match"];
        call(&workspace, &[&files[..], &metric, &target].concat())
    };
    gate("good.jsonl", "bad.jsonl")
        .expect_code(4)
        .expect_stdout("targets of bad.jsonl");
    gate("bad.jsonl", "good.jsonl")
        .expect_code(0)
        .expect_stdout("targets of good.jsonl");
}

/// Would catch rows that are left out without a word.
#[test]
fn rows_that_are_left_out_are_told() {
    let workspace = Workspace::new();
    workspace.write("rows.jsonl", format!("{ROWS}{{\"prediction\": 5}}\n"));
    let skip = ["--metric", "exact-match", "--on-bad-row", "skip"];
    eval(&workspace, &skip)
        .expect_code(0)
        .expect_stderr("warning: `rows.jsonl`: 1 row was left out; line 3: ");
}

/// Would catch a pipe that is opened twice and waited for.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_file() {
    let workspace = Workspace::new();
    let made = Command::new("mkfifo")
        .arg(workspace.join("rows.jsonl"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    eval(&workspace, &["--metric", "exact-match"])
        .expect_code(2)
        .expect_stderr("is no regular file");
}
