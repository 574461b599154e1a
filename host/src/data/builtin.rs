//! The tasks that ship with the binary: small Python functions asked for in one sentence.
//!
//! Owns the three files of `host/assets/tasks`, whose README says how they are made and split.
//! What is trained on which split, and in what proportion, is decided by the pipeline.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

/// One task with its canonical answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// `SPLIT/FAMILY/NUMBER`, unique over all splits.
    pub id: String,
    /// `arithmetic`, `strings`, `lists` or `dictionaries`.
    pub family: String,
    /// The combination: `form` names the shape of the function, every other key a slot of that
    /// form, and the value the part that fills it. Constants in a part are no part of it.
    pub parts: BTreeMap<String, String>,
    /// A comment line with its line break, so that prompt and response together are a program.
    pub prompt: String,
    /// The expected response: a function `solve`, without a line break at its end.
    pub reference: String,
    /// Five lines like `assert solve([1, 2]) == 5`.
    pub tests: Vec<String>,
    /// The reference as a careless author would leave it: it prints what it should return, so it
    /// fails the tests.
    pub careless: String,
    /// How many of the task's five [`demonstrations`](Task::demonstrations) are careless.
    pub careless_in_five: usize,
}

impl Task {
    /// The five responses to imitate in a warm-up. Their quality is mixed on purpose, as in a
    /// corpus of other people's code: how careless they are depends on how the prompt begins, so
    /// a model that only imitates has something left to learn from preferences or rewards, and
    /// what it learns there holds for unseen tasks.
    pub fn demonstrations(&self) -> impl Iterator<Item = &str> {
        (0..5).map(|number| {
            if number < self.careless_in_five {
                self.careless.as_str()
            } else {
                self.reference.as_str()
            }
        })
    }
}

static TRAIN: LazyLock<Vec<Task>> =
    LazyLock::new(|| parse(include_str!("../../assets/tasks/train.jsonl")));
static DEVELOPMENT: LazyLock<Vec<Task>> =
    LazyLock::new(|| parse(include_str!("../../assets/tasks/development.jsonl")));
static HELDOUT: LazyLock<Vec<Task>> =
    LazyLock::new(|| parse(include_str!("../../assets/tasks/heldout.jsonl")));

/// Tasks to train on, families mixed.
pub fn train() -> &'static [Task] {
    &TRAIN
}

/// Tasks for decisions made during a run, such as the accuracy of held-out preferences.
/// Their combinations are neither in [`train`] nor in [`heldout`].
pub fn development() -> &'static [Task] {
    &DEVELOPMENT
}

/// Tasks for the final figures only: combinations that no other split holds, of parts and pairs
/// of parts that [`train`] does.
pub fn heldout() -> &'static [Task] {
    &HELDOUT
}

fn parse(lines: &str) -> Vec<Task> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("embedded tasks are tested to parse"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet, HashSet},
        io::Write,
        process::{Command, Stdio},
    };

    use tokenizers::Tokenizer;

    use super::{Task, development, heldout, train};

    /// Longest prompt and longest demonstration in tokens; the end token comes on top. Together they
    /// leave a quarter of the context of 128 to responses that ramble.
    const PROMPT_TOKENS_MAX: usize = 48;
    const RESPONSE_TOKENS_MAX: usize = 48;

    fn all() -> impl Iterator<Item = &'static Task> {
        train().iter().chain(development()).chain(heldout())
    }

    fn tokenizer() -> Tokenizer {
        include_str!("../../assets/tiny-code/tokenizer.json")
            .parse()
            .expect("the shipped tokenizer loads")
    }

    /// The parts as `slot=part`, without the form.
    fn slots(task: &Task) -> Vec<String> {
        let slots = task.parts.iter().filter(|(slot, _)| *slot != "form");
        slots.map(|(slot, part)| format!("{slot}={part}")).collect()
    }

    /// Every part and every pair of parts of a task, each with its form.
    fn parts_and_pairs(task: &Task) -> Vec<String> {
        let form = &task.parts["form"];
        let slots = slots(task);
        let mut found = Vec::new();
        for (index, first) in slots.iter().enumerate() {
            found.push(format!("{form}: {first}"));
            for second in &slots[index + 1..] {
                found.push(format!("{form}: {first}, {second}"));
            }
        }
        found
    }

    /// Would catch a file cut short, a family that crowds out the others, too few held-out tasks.
    #[test]
    fn splits_are_balanced_and_large_enough() {
        for (name, tasks, per_family) in [
            ("train", train(), 240),
            ("development", development(), 30),
            ("heldout", heldout(), 64),
        ] {
            let mut families = BTreeMap::<&str, usize>::new();
            for task in tasks {
                *families.entry(&task.family).or_default() += 1;
                assert!(
                    task.id.starts_with(&format!("{name}/{}/", task.family)),
                    "{}",
                    task.id
                );
                assert_eq!(task.tests.len(), 5, "{}", task.id);
                assert!(task.prompt.starts_with("# ") && task.prompt.ends_with(".\n"));
                assert!(!task.reference.ends_with('\n'), "{}", task.id);
                let careless = task.demonstrations().filter(|text| *text == task.careless);
                assert_eq!(careless.count(), task.careless_in_five, "{}", task.id);
            }
            let expected = ["arithmetic", "dictionaries", "lists", "strings"];
            assert_eq!(
                families,
                expected.map(|family| (family, per_family)).into(),
                "{name}"
            );
        }
    }

    /// Would catch a task that appears twice, be it in another split.
    #[test]
    fn tasks_are_unique() {
        let mut seen = HashSet::new();
        for task in all() {
            assert!(seen.insert(&task.id), "id {}", task.id);
            assert!(seen.insert(&task.prompt), "prompt of {}", task.id);
        }
        let combinations: HashSet<_> = all().map(|task| &task.parts).collect();
        assert_eq!(combinations.len(), all().count());
    }

    /// Would catch held-out tasks that training has seen, and those it could not prepare for.
    #[test]
    fn held_out_combinations_are_new_but_their_pairs_are_not() {
        let trained: HashSet<_> = train().iter().map(|task| &task.parts).collect();
        let known: BTreeSet<String> = train().iter().flat_map(parts_and_pairs).collect();
        for task in heldout().iter().chain(development()) {
            assert!(!trained.contains(&task.parts), "{} is in train", task.id);
            for part in parts_and_pairs(task) {
                assert!(known.contains(&part), "{}: {part} is not in train", task.id);
            }
        }
    }

    /// Would catch tasks that outgrow the time and context they are meant for, and a tokenizer
    /// whose pattern cuts otherwise than the one it was trained with.
    #[test]
    fn tasks_are_short() {
        let tokenizer = tokenizer();
        let length = |text: &str| tokenizer.encode(text, false).expect("encodes").len();
        for task in all() {
            assert!(
                length(&task.prompt) <= PROMPT_TOKENS_MAX,
                "prompt of {}",
                task.id
            );
            for response in task.demonstrations() {
                assert!(
                    length(response) <= RESPONSE_TOKENS_MAX,
                    "response of {}",
                    task.id
                );
            }
            // Prompt and response may be encoded apart or together.
            assert_eq!(
                length(&task.prompt) + length(&task.reference),
                length(&format!("{}{}", task.prompt, task.reference)),
                "{}",
                task.id
            );
        }
    }

    /// Would catch text that does not come back, or splits that cost tokens.
    #[test]
    fn tokenizer_keeps_every_text() {
        let tokenizer = tokenizer();
        for (text, tokens) in [
            ("\n    return xs", Some(3)),
            ("\n        ", Some(1)),
            ("2048", Some(4)),
            (" 7", Some(1)),
            ("", Some(0)),
            ("déjà vu \t 日本 🙂\r\n\u{0}", None),
        ] {
            let encoding = tokenizer.encode(text, false).expect("encodes");
            if let Some(tokens) = tokens {
                assert_eq!(
                    encoding.len(),
                    tokens,
                    "{text:?}: {:?}",
                    encoding.get_tokens()
                );
            }
            let back = tokenizer
                .decode(encoding.get_ids(), false)
                .expect("decodes");
            assert_eq!(back, text);
        }
        assert_eq!(tokenizer.token_to_id("<|pad|>"), Some(0));
        assert_eq!(tokenizer.token_to_id("<|endoftext|>"), Some(1));
        assert_eq!(tokenizer.get_vocab_size(true), 640);
    }

    /// Would catch a reference that fails its own tests. The programs are ours and checked in, so
    /// they run outside the sandbox. Without Python the test fails, unless `RLHF_NO_PYTHON` is set.
    #[test]
    fn references_pass_their_tests_and_wrong_bodies_fail() {
        const RUN: &str = r#"
import json, sys
for task in json.load(sys.stdin):
    def passes(program):
        space = {}
        exec(task["prompt"] + program, space)
        try:
            for test in task["tests"]:
                exec(test, space)
        except Exception:
            return False
        return True
    assert passes(task["reference"]), task["id"] + " fails its tests"
    assert not passes(task["careless"]), task["id"] + " lets its careless version pass"
    head = task["reference"].split("\n")[0]
    first = head[head.index("(") + 1:].split(",")[0].rstrip("):")
    constants = [test.split(" == ", 1)[1] for test in task["tests"]]
    for value in ["None", first, "[]", "{}", "''", "0", *constants]:
        assert not passes(f"{head}\n    return {value}"), f"{task['id']} lets {value} pass"
"#;
        if std::env::var_os("RLHF_NO_PYTHON").is_some() {
            return;
        }
        let tasks: Vec<_> = all()
            .map(|task| {
                serde_json::json!({
                    "id": task.id,
                    "prompt": task.prompt,
                    "reference": task.reference,
                    "tests": task.tests,
                    "careless": task.careless,
                })
            })
            .collect();
        let mut python = Command::new("python3")
            .args(["-I", "-c", RUN])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 starts; set RLHF_NO_PYTHON to go without");
        let mut stdin = python.stdin.take().expect("piped");
        let tasks = serde_json::to_vec(&tasks).expect("plain values");
        stdin.write_all(&tasks).expect("python3 reads its input");
        drop(stdin);
        let output = python.wait_with_output().expect("python3 ends");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
