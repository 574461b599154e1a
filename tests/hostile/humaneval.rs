//! Does judging give the verdicts that are known? HumanEval's own solutions
//! pass, and bodies that do nothing fail.

use serde::Deserialize;

use crate::programs::{judged, python};
use rlhf::plugin::CodeRunner;
use xtask::workspace::root;

#[derive(Deserialize)]
struct Task {
    task_id: String,
    prompt: String,
    entry_point: String,
    canonical_solution: String,
    test: String,
}

fn tasks() -> Vec<Task> {
    let path = root().join("tests/golden/humaneval/HumanEval.jsonl");
    let text = std::fs::read_to_string(&path).expect("it is committed");
    let tasks: Vec<Task> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a task a line"))
        .collect();
    assert_eq!(tasks.len(), 164);
    tasks
}

/// The tasks whose verdict on a body isn't the expected one, with what was found.
fn wrong(
    runner: &CodeRunner,
    tasks: &[Task],
    body: impl Fn(&Task) -> String + Sync,
    passes: bool,
) -> Vec<String> {
    let verdict = |task: &Task| {
        let candidate = format!("{}{}", task.prompt, body(task));
        let test = format!("{}\ncheck({})\n", task.test, task.entry_point);
        let outcome = judged(runner, &task.prompt, &candidate, &test);
        ((outcome.kind == "finished") != passes).then(|| {
            format!(
                "{}: {} {}\n{}",
                task.task_id, outcome.kind, outcome.exception, outcome.detail
            )
        })
    };
    let (first, second) = tasks.split_at(tasks.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| second.iter().filter_map(verdict).collect::<Vec<_>>());
        let mut wrong: Vec<String> = first.iter().filter_map(verdict).collect();
        wrong.extend(other.join().expect("the checks don't panic"));
        wrong
    })
}

/// Would catch a judge that refuses a right solution: all 164 pass by value,
/// none needs the tests in the candidate's own instance.
#[test]
fn canonical_solutions_pass() {
    let runner = python("stack=32M");
    let tasks = tasks();
    let wrong = wrong(
        &runner,
        &tasks,
        |task| task.canonical_solution.clone(),
        true,
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Would catch a judge whose tests test nothing: the prompt's own function in
/// the place of the candidate's, errors that are swallowed.
#[test]
fn empty_bodies_fail() {
    let runner = python("stack=32M");
    let tasks = tasks();
    for body in ["    pass\n", "    return None\n"] {
        let wrong = wrong(&runner, &tasks, |_| body.to_owned(), false);
        assert!(wrong.is_empty(), "{body}{}", wrong.join("\n"));
    }
}
