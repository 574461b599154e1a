//! Do programs that misbehave cost one outcome, and nothing else?
//!
//! Each `NAME.py` in `programs/` has a `NAME.expected` beside it:
//!
//! ```text
//! KIND[ EXCEPTION]
//! WHAT STANDS ON STANDARD OUTPUT
//! ```
//!
//! A program that tries to forge a verdict faces a test, which runs in a judge;
//! whatever it does, the verdict must not be `finished`:
//!
//! ```text
//! test: ONE LINE OF THE TEST
//! fail: KIND[ EXCEPTION]
//! ```
//!
//! After each the runner has to answer an honest program correctly.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rlhf::plugin::code_runner::{Outcome, Program};
use rlhf::plugin::value::Value;
use rlhf::plugin::{CodeRunner, Failure, Runtime, Spec};
use rlhf_test_support::component;
use xtask::workspace::{root, target_dir};

/// Fuel: enough for every honest program here, and little enough that sixty
/// loops don't take minutes. Stack: what the runner's README asks for.
const LIMITS: &str = "fuel=600000000,stack=32M";

/// The shipped Python runner. Its compiled code is kept for all tests: to
/// compile it takes ten seconds.
pub fn python(limits: &str) -> CodeRunner {
    let cache = target_dir().expect("there is one").join("test-cache");
    let runtime: Arc<Runtime> = Runtime::new(Some(cache), 2).expect("the engine starts");
    let path = component("runner-python");
    let spec = Spec::parse(&format!("{},{limits}", path.display())).expect("well-formed");
    CodeRunner::load(&runtime, &spec).unwrap_or_else(|error| panic!("{error}"))
}

/// How a program is run to its end; the only place that knows.
pub fn run(runner: &CodeRunner, source: &str, stdin: &[u8]) -> Outcome {
    runner.execute("python", source, stdin).outcome
}

/// How a candidate faces a test; the only place that knows.
pub fn judged(runner: &CodeRunner, prompt: &str, candidate: &str, test: &str) -> Outcome {
    let ended = |failure: Failure| Outcome {
        kind: failure.kind().to_owned(),
        detail: failure.to_string(),
        ..Outcome::default()
    };
    let program: Result<Program, Failure> = runner.program("python", candidate);
    let judge = program.and_then(|program| runner.judge(program));
    judge.map_or_else(ended, |mut judge| {
        judge.judge("python", prompt, test).outcome
    })
}

/// What an honest program prints, whatever ran before it.
fn honest(runner: &CodeRunner, after: &str) {
    let source = "import json, sys\n\
                  values = json.loads(input())\n\
                  print(sum(values), sorted({3, 1, 2}), len(str(2 ** 100)))\n\
                  print('talk', file=sys.stderr)\n";
    let outcome = run(runner, source, b"[1, 2, 39]\n");
    assert_eq!(outcome.kind, "finished", "after {after}: {outcome:?}");
    assert_eq!(outcome.stdout, b"42 [1, 2, 3] 31\n", "after {after}");
    assert_eq!(outcome.stderr, b"talk\n", "after {after}");
    let mut program = runner
        .program("python", "def double(x):\n    return x * 2\n")
        .unwrap_or_else(|failure| panic!("after {after}: {failure}"));
    let doubled = program.call("double", vec![Value::Text("ab".into())]);
    assert_eq!(doubled, Ok(Value::Text("abab".into())), "after {after}");
}

struct Case {
    name: String,
    source: String,
    /// Empty for a program that is run.
    test: String,
    expected: String,
}

fn cases() -> Vec<Case> {
    let folder = root().join("tests/hostile/programs");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the programs lie there")
        .map(|entry| entry.expect("the entry can be read").path())
        .map(|path| {
            let end = path.extension().unwrap_or_default();
            assert!(end == "py" || end == "expected", "{}", path.display());
            path.file_stem()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| case(&folder, name)).collect()
}

fn case(folder: &Path, name: String) -> Case {
    let read = |end: &str| {
        let path: PathBuf = folder.join(format!("{name}.{end}"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let (source, text) = (read("py"), read("expected"));
    let mut test = String::new();
    let mut expected = String::new();
    for line in text.lines() {
        match line.strip_prefix("test:") {
            Some(line) => test.push_str(&format!("{}\n", line.strip_prefix(' ').unwrap_or(line))),
            None => expected.push_str(&format!("{line}\n")),
        }
    }
    assert!(!expected.trim().is_empty(), "{name} expects nothing");
    Case {
        name,
        source,
        test,
        expected,
    }
}

/// An outcome as `NAME.expected` has it.
fn report(case: &Case, outcome: &Outcome) -> String {
    let ended = format!("{} {}", outcome.kind, outcome.exception);
    let ended = ended.trim_end();
    if !case.test.is_empty() {
        let verdict = if outcome.kind == "finished" {
            "pass"
        } else {
            "fail"
        };
        return format!("{verdict}: {ended}\n");
    }
    let written = String::from_utf8_lossy(&outcome.stdout);
    // Of a flood the beginning is enough.
    let shown: String = written.chars().take(400).collect();
    let ended = match outcome.exit_code {
        0 => ended.to_owned(),
        code => format!("{ended} {code}"),
    };
    format!(
        "{ended}\n{}",
        if shown.is_empty() || shown.ends_with('\n') {
            shown
        } else {
            shown + "\n"
        }
    )
}

/// Would catch a program that gets out, gets on its neighbour's nerves, or is
/// reported as something else than what it did; and a forged verdict.
#[test]
fn programs_cost_one_outcome() {
    let runner = python(LIMITS);
    let cases = cases();
    let forging = cases.iter().filter(|case| !case.test.is_empty()).count();
    assert!(cases.len() >= 75 && forging >= 15, "programs are missing");
    let check = |case: &Case| {
        let outcome = if case.test.is_empty() {
            run(&runner, &case.source, b"")
        } else {
            judged(&runner, "", &case.source, &case.test)
        };
        honest(&runner, &case.name);
        let found = report(case, &outcome);
        let problem = || {
            let detail: String = outcome.detail.chars().take(600).collect();
            format!(
                "{}: expected\n{}found\n{found}{detail}\n",
                case.name, case.expected
            )
        };
        (found != case.expected || found.starts_with("pass")).then(problem)
    };
    let (even, odd): (Vec<_>, Vec<_>) = cases.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let half = |cases: &[(usize, &Case)]| -> Vec<String> {
        cases.iter().filter_map(|(_, case)| check(case)).collect()
    };
    let problems = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(&odd));
        let mut problems = half(&even);
        problems.extend(other.join().expect("the checks don't panic"));
        problems
    });
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Would catch an honest program that prints something else than `python3` prints, or ends in another way.
#[test]
fn golden_programs() {
    let runner = python(LIMITS);
    let folder = root().join("plugins/runner-python/golden");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the programs lie there") {
        let path = entry.expect("the entry can be read").path();
        if path.extension().is_none_or(|end| end != "py") {
            continue;
        }
        count += 1;
        let beside = |end: &str| std::fs::read(path.with_extension(end));
        let source = std::fs::read_to_string(&path).expect("it is UTF-8");
        let outcome = run(&runner, &source, &beside("in").unwrap_or_default());
        let name = path.display();
        assert_eq!(
            String::from_utf8_lossy(&outcome.stdout),
            String::from_utf8_lossy(&beside("out").expect("it says what is printed")),
            "{name}: {outcome:?}"
        );
        let status = beside("status").map_or("0".to_owned(), |bytes| {
            String::from_utf8_lossy(&bytes).trim().to_owned()
        });
        let found = match outcome.kind.as_str() {
            "finished" => 0,
            "exit" => outcome.exit_code,
            _ => 1,
        };
        assert_eq!(found.to_string(), status, "{name}: {outcome:?}");
    }
    assert!(count >= 8, "programs are missing");
}
