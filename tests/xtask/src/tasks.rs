//! `cargo xtask tasks`: writes the embedded tasks and the tokenizer of `builtin:tiny-code`.
//!
//! What comes out is a function of this module alone: the random stream is seeded here, and
//! `python3` (3.8 or newer, standard library only) is asked for nothing but the values that the
//! references return. `host/assets/tasks/README.md` describes the result.

mod bpe;
mod forms;
mod random;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use forms::{Arguments, FORMS, Form};
use random::Random;

/// Decides wording, constants, inputs and split. Chosen once; another seed gives other tasks.
const SEED: u64 = 20_240_229;

/// Tasks per family and split; a family's forms share them evenly.
const SPLITS: [(&str, usize); 3] = [("train", 240), ("development", 30), ("heldout", 64)];

/// Inputs on which a reference is tried; the tests are chosen among them.
const INPUTS: usize = 40;
/// Tests of a task. Four would expose all that is looked for; the fifth is for what isn't.
const TESTS: usize = 5;

/// How a prompt begins, and how many of its five demonstrations are careless; a task draws one.
///
/// Demonstrations are of mixed quality on purpose, as those of real corpora are: imitation then
/// leaves something for preferences and rewards to teach, and what they teach holds for unseen
/// tasks too. The numbers are chosen so that either answer is sampled now and then after either
/// opening, and so that the likelier one differs.
const OPENINGS: [(&str, u8); 4] = [
    ("Write a function {f} that returns", 1),
    ("Write {f} so that it returns", 4),
    ("Implement {f}, which returns", 1),
    ("Define a function {f} returning", 4),
];

/// Bodies that no test may let pass, in the order of the argument, nothing, and empty values.
const WRONG_BODIES: [&str; 8] = ["{first}", "None", "0", "1", "[]", "\"\"", "{}", "True"];

/// What `{c}` is drawn from: letters with which several of the words below begin.
const LETTERS: [char; 9] = ['a', 'e', 'i', 'l', 'n', 'o', 'r', 's', 't'];

/// Constants of one slot.
#[derive(Clone, Copy)]
struct Constants {
    digit: usize,
    length: usize,
    letter: char,
}

impl Constants {
    /// The constants that a careless reader would take for these.
    fn changed(self) -> Vec<Self> {
        let numbers = [
            Self {
                digit: self.digit + 1,
                ..self
            },
            Self {
                digit: self.digit - 1,
                ..self
            },
            Self {
                length: self.length + 1,
                ..self
            },
            Self {
                length: self.length - 1,
                ..self
            },
        ];
        let others = LETTERS.into_iter().filter(|&letter| letter != self.letter);
        numbers
            .into_iter()
            .chain(others.map(|letter| Self { letter, ..self }))
            .collect()
    }
}

/// One combination of parts with its wording and constants drawn.
struct Candidate {
    form: usize,
    parts: [usize; 3],
    prompt: String,
    careless_in_five: u8,
    reference: String,
    /// The same task with one part exchanged: slot, part, program.
    neighbours: Vec<(usize, usize, String)>,
    /// The same task with one constant changed.
    misread: Vec<String>,
    inputs: Vec<String>,
}

struct Task {
    form: usize,
    parts: [usize; 3],
    prompt: String,
    careless_in_five: u8,
    reference: String,
    tests: Vec<String>,
}

/// Writes `host/assets/tasks/*.jsonl` and `host/assets/tiny-code/*.json` under `root`.
pub fn tasks(root: &Path) -> Result<()> {
    let mut random = Random::new(SEED);
    let mut candidates = Vec::new();
    for form in 0..FORMS.len() {
        draw_candidates(form, &mut random, &mut candidates);
    }
    let answers = ask_python(&candidates)?;
    let tasks: Vec<Task> = candidates
        .into_iter()
        .zip(&answers)
        .filter_map(|(candidate, answer)| with_tests(candidate, answer))
        .collect();

    let mut splits: [Vec<&Task>; 3] = Default::default();
    let mut family_tasks = BTreeMap::<&str, usize>::new();
    for (index, form) in FORMS.iter().enumerate() {
        let of_form: Vec<&Task> = tasks.iter().filter(|task| task.form == index).collect();
        let sizes = SPLITS.map(|(_, per_family)| share(per_family, index));
        let chosen = split(&of_form, sizes, &mut random)
            .with_context(|| format!("form {}/{}", form.family, form.name))?;
        for (split, chosen) in splits.iter_mut().zip(chosen) {
            split.extend(chosen);
        }
        *family_tasks.entry(form.family).or_default() += of_form.len();
    }
    eprintln!("tasks to choose from: {family_tasks:?}");
    // So that the first tasks of a file are of all families.
    for split in &mut splits {
        random.shuffle(split);
    }

    let assets = root.join("host/assets");
    fs::create_dir_all(assets.join("tasks"))?;
    fs::create_dir_all(assets.join("tiny-code"))?;
    for ((name, _), split) in SPLITS.iter().zip(&splits) {
        let mut lines = String::new();
        let mut numbers = BTreeMap::<&str, usize>::new();
        for task in split {
            let family = FORMS[task.form].family;
            let number = numbers.entry(family).or_default();
            lines += &record(task, &format!("{name}/{family}/{number:03}")).to_string();
            lines.push('\n');
            *number += 1;
        }
        write(&assets.join(format!("tasks/{name}.jsonl")), &lines)?;
        eprintln!("{name}: {} tasks", split.len());
    }

    let texts: Vec<String> = splits[0]
        .iter()
        .flat_map(|task| {
            let careless = careless(&task.reference);
            [task.prompt.clone(), task.reference.clone(), careless]
        })
        .collect();
    let tokenizer = bpe::train(texts.iter().map(String::as_str));
    write(
        &assets.join("tiny-code/tokenizer.json"),
        &(serde_json::to_string_pretty(&tokenizer)? + "\n"),
    )?;
    write(
        &assets.join("tiny-code/tokenizer_config.json"),
        &(serde_json::to_string_pretty(&bpe::config())? + "\n"),
    )
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// How many of a family's tasks fall to one of its forms.
fn share(per_family: usize, form: usize) -> usize {
    let siblings: Vec<usize> = (0..FORMS.len())
        .filter(|&other| FORMS[other].family == FORMS[form].family)
        .collect();
    let rank = siblings.iter().filter(|&&other| other < form).count();
    (per_family + rank) / siblings.len()
}

fn record(task: &Task, id: &str) -> Value {
    let form = &FORMS[task.form];
    let mut parts = serde_json::Map::new();
    parts.insert("form".to_owned(), form.name.into());
    for (slot, &part) in form.slots.iter().zip(&task.parts) {
        parts.insert(slot.name.to_owned(), slot.parts[part].name.into());
    }
    json!({
        "id": id,
        "family": form.family,
        "parts": parts,
        "prompt": task.prompt,
        "reference": task.reference,
        "tests": task.tests,
        "careless": careless(&task.reference),
        "careless_in_five": task.careless_in_five,
    })
}

/// The reference as a careless author would leave it: printing what should be returned.
fn careless(reference: &str) -> String {
    let lines = reference
        .lines()
        .map(|line| match line.split_once("return ") {
            Some((indent, value)) => format!("{indent}print({value})"),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// Every combination of the form's parts, once, with wording and constants drawn.
fn draw_candidates(index: usize, random: &mut Random, candidates: &mut Vec<Candidate>) {
    let form = &FORMS[index];
    let [first, second, third] = [0, 1, 2].map(|slot| form.slots[slot].parts.len());
    for combination in 0..first * second * third {
        let parts = [
            combination / third / second,
            combination / third % second,
            combination % third,
        ];
        let constants = [(); 3].map(|()| Constants {
            digit: random.between(3, 9),
            length: random.between(3, 5),
            letter: *random.choose(&LETTERS),
        });
        let words = [0, 1, 2].map(|slot| {
            let words = random.choose(form.slots[slot].parts[parts[slot]].words);
            let source = if slot == 0 { form.source } else { "" };
            fill(&format!("{words}{source}"), form, slot, &constants[slot])
        });
        let mut sentence = (*random.choose(form.sentences)).to_owned();
        // A slot's words may name other slots, two levels deep at most.
        for _ in 0..3 {
            for (slot, words) in words.iter().enumerate() {
                sentence = sentence.replace(&format!("{{{slot}}}"), words);
            }
        }
        let &(opening, careless_in_five) = random.choose(&OPENINGS);
        let opening = opening.replace("{f}", &format!("solve({})", form.signature));

        let reference = program(form, parts, &constants);
        let mut neighbours = Vec::new();
        for slot in 0..3 {
            for part in (0..form.slots[slot].parts.len()).filter(|&part| part != parts[slot]) {
                let mut other = parts;
                other[slot] = part;
                neighbours.push((slot, part, program(form, other, &constants)));
            }
        }
        let mut misread = Vec::new();
        for slot in 0..3 {
            for changed in constants[slot].changed() {
                let mut other = constants;
                other[slot] = changed;
                misread.push(program(form, parts, &other));
            }
        }
        // A constant that the parts don't use changes nothing.
        misread.retain(|program| *program != reference);
        candidates.push(Candidate {
            form: index,
            parts,
            prompt: format!("# {opening} {sentence}.\n"),
            careless_in_five,
            reference,
            neighbours,
            misread,
            inputs: draw_inputs(form.arguments, random),
        });
    }
}

fn program(form: &Form, parts: [usize; 3], constants: &[Constants; 3]) -> String {
    let code = [0, 1, 2].map(|slot| {
        fill(
            form.slots[slot].parts[parts[slot]].code,
            form,
            slot,
            &constants[slot],
        )
    });
    let [first, second, third] = &code;
    format!(
        "def solve({}):\n{}",
        form.signature,
        (form.body)([first, second, third])
    )
}

fn fill(template: &str, form: &Form, slot: usize, constants: &Constants) -> String {
    template
        .replace("{noun}", form.noun)
        .replace("{x}", form.slots[slot].variable)
        .replace("{k}", &constants.digit.to_string())
        .replace("{n}", &constants.length.to_string())
        .replace("{c}", &constants.letter.to_string())
}

/// Argument lists as Python literals, the corner cases first.
fn draw_inputs(arguments: Arguments, random: &mut Random) -> Vec<String> {
    const WORDS: [&str; 40] = [
        "apple", "ant", "arena", "Tree", "tent", "to", "tea", "tomato", "sun", "sea", "salt",
        "Stone", "sofa", "river", "road", "Rain", "error", "eel", "Echo", "east", "lantern",
        "level", "lion", "local", "note", "nest", "noon", "Nine", "ice", "iron", "is", "idea",
        "oil", "on", "radio", "Oslo", "letters", "piano", "a", "taxi",
    ];
    const KEYS: [&str; 16] = [
        "ant", "bear", "cat", "tiger", "lion", "eel", "otter", "rat", "ox", "stork", "newt",
        "seal", "sole", "toad", "ibis", "tuna",
    ];
    const CHARACTERS: &[u8] = b"aeiounrstlABENOST0123579  .-";
    let mut inputs: Vec<String> = match arguments {
        Arguments::TwoIntegers => vec!["0, 0", "3, 3"],
        Arguments::Count | Arguments::PositiveInteger => vec!["1"],
        Arguments::Numbers => vec!["[]"],
        Arguments::TwoLists => vec!["[], []"],
        Arguments::Words | Arguments::Text => vec!["\"\""],
        Arguments::Dictionary => vec!["{}"],
    }
    .into_iter()
    .map(str::to_owned)
    .collect();
    let integer = |random: &mut Random| random.between(0, 28) as i64 - 9;
    let list = |random: &mut Random, length: usize| {
        let items: Vec<String> = (0..length).map(|_| integer(random).to_string()).collect();
        format!("[{}]", items.join(", "))
    };
    while inputs.len() < INPUTS {
        inputs.push(match arguments {
            Arguments::TwoIntegers => format!("{}, {}", integer(random), integer(random)),
            // A loop runs so often, and a product of that many factors still fits a line.
            Arguments::Count => random.between(2, 14).to_string(),
            Arguments::PositiveInteger => random.between(10, 999_999).to_string(),
            Arguments::Numbers => {
                let length = random.between(1, 6);
                list(random, length)
            }
            Arguments::TwoLists => {
                let length = random.between(1, 5);
                format!("{}, {}", list(random, length), list(random, length))
            }
            Arguments::Words => {
                let words: Vec<&str> = (0..random.between(1, 5))
                    .map(|_| *random.choose(&WORDS))
                    .collect();
                format!("\"{}\"", words.join(" "))
            }
            Arguments::Text => {
                let text: String = (0..random.between(2, 10))
                    .map(|_| char::from(*random.choose(CHARACTERS)))
                    .collect();
                format!("\"{text}\"")
            }
            Arguments::Dictionary => {
                let keys: BTreeSet<&str> = (0..random.between(1, 5))
                    .map(|_| *random.choose(&KEYS))
                    .collect();
                let mut keys: Vec<&str> = keys.into_iter().collect();
                random.shuffle(&mut keys);
                let entries: Vec<String> = keys
                    .into_iter()
                    .map(|key| format!("\"{key}\": {}", integer(random)))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        });
    }
    let mut seen = HashSet::new();
    inputs.retain(|input| seen.insert(input.clone()));
    inputs
}

/// What `python3` said about one candidate.
struct Answer {
    /// Per input: the returned value as a literal; none where the reference raised or the value
    /// is too long to stand in a test.
    values: Vec<Option<String>>,
    /// Per wrong program (neighbours, [`WRONG_BODIES`], misread constants): the inputs that
    /// expose it.
    exposed: Vec<Vec<bool>>,
}

/// Runs references and wrong programs on the inputs. They are our own, so no sandbox is needed.
const HARNESS: &str = r#"
import json, sys

def load(source, cache={}):
    if source not in cache:
        space = {}
        exec(source, space)
        cache[source] = space["solve"]
    return cache[source]

def run(source, arguments):
    try:
        return True, load(source)(*arguments)
    except Exception:
        return False, None

answers = []
for job in json.load(sys.stdin):
    inputs = [eval(f"({literals},)") for literals in job["inputs"]]
    right = [run(job["reference"], i) for i in inputs]
    answers.append({
        "values": [repr(v) if ok and len(repr(v)) <= 80 else None for ok, v in right],
        "exposed": [
            "".join("1" if run(wrong, i) != expected else "0"
                    for i, expected in zip(inputs, right))
            for wrong in job["wrong"]
        ],
    })
json.dump(answers, sys.stdout)
"#;

fn ask_python(candidates: &[Candidate]) -> Result<Vec<Answer>> {
    let jobs: Vec<Value> = candidates
        .iter()
        .map(|candidate| {
            let signature = FORMS[candidate.form].signature;
            let first = signature.split(',').next().unwrap_or(signature);
            let wrong_bodies = WRONG_BODIES.iter().map(|body| {
                let body = body.replace("{first}", first);
                format!("def solve({signature}):\n    return {body}")
            });
            let wrong: Vec<String> = candidate
                .neighbours
                .iter()
                .map(|(_, _, program)| program.clone())
                .chain(wrong_bodies)
                .chain(candidate.misread.iter().cloned())
                .collect();
            json!({ "reference": candidate.reference, "inputs": candidate.inputs, "wrong": wrong })
        })
        .collect();
    let mut python = Command::new("python3")
        .args(["-I", "-c", HARNESS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start python3, which computes the tests' expected values")?;
    python
        .stdin
        .take()
        .context("python3 has a standard input")?
        .write_all(serde_json::to_string(&jobs)?.as_bytes())?;
    let output = python.wait_with_output()?;
    ensure!(output.status.success(), "python3 failed: {}", output.status);
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(
        answers.len() == candidates.len(),
        "python3 answered {} of {}",
        answers.len(),
        candidates.len()
    );
    answers.iter().map(answer).collect()
}

fn answer(value: &Value) -> Result<Answer> {
    let list = |key: &str| {
        value[key]
            .as_array()
            .with_context(|| format!("python3 gave no {key}"))
    };
    Ok(Answer {
        values: list("values")?
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect(),
        exposed: list("exposed")?
            .iter()
            .map(|row| {
                row.as_str()
                    .unwrap_or_default()
                    .bytes()
                    .map(|bit| bit == b'1')
                    .collect()
            })
            .collect(),
    })
}

/// Chooses the tests of a candidate; none if the combination is no task of its own.
///
/// A combination is left out if it computes the same as a neighbour that comes before it, if one
/// of its parts makes no difference at all, or if five tests don't expose every wrong program.
fn with_tests(candidate: Candidate, answer: &Answer) -> Option<Task> {
    let usable: Vec<usize> = (0..candidate.inputs.len())
        .filter(|&input| answer.values[input].is_some())
        .collect();
    let exposable = |wrong: usize| usable.iter().any(|&input| answer.exposed[wrong][input]);

    let mut open = BTreeSet::new();
    let mut live_slots = BTreeSet::new();
    for (wrong, &(slot, part, _)) in candidate.neighbours.iter().enumerate() {
        if exposable(wrong) {
            live_slots.insert(slot);
            open.insert(wrong);
        } else if part < candidate.parts[slot] {
            return None;
        }
    }
    if live_slots.len() < 3 {
        return None;
    }
    // The identity may be right for one input, but never for all.
    let misread = candidate.neighbours.len() + WRONG_BODIES.len();
    open.extend(candidate.neighbours.len()..misread);
    // `x > 8` and `x > 9` may agree on all inputs there are; that is no reason to drop a task.
    open.extend((misread..answer.exposed.len()).filter(|&wrong| exposable(wrong)));

    // Greedy cover: always the input that exposes most of what is still open; the first of equals.
    let mut chosen = Vec::<usize>::new();
    while chosen.len() < TESTS {
        let exposes = |input: usize| {
            let still = open
                .iter()
                .filter(|&&wrong| answer.exposed[wrong][input])
                .count();
            let all = answer.exposed.iter().filter(|row| row[input]).count();
            (still, all)
        };
        let best = usable
            .iter()
            .copied()
            .filter(|input| !chosen.contains(input))
            // Never one value throughout, or a constant would pass.
            .filter(|&input| chosen.len() != 1 || answer.values[input] != answer.values[chosen[0]])
            .max_by_key(|&input| (exposes(input), std::cmp::Reverse(input)))?;
        open.retain(|&wrong| !answer.exposed[wrong][best]);
        chosen.push(best);
    }
    if !open.is_empty() {
        return None;
    }
    chosen.sort_unstable();
    let tests = chosen
        .iter()
        .map(|&input| {
            let value = answer.values[input].as_deref().unwrap_or_default();
            format!("assert solve({}) == {value}", candidate.inputs[input])
        })
        .collect();
    Some(Task {
        form: candidate.form,
        parts: candidate.parts,
        prompt: candidate.prompt,
        careless_in_five: candidate.careless_in_five,
        reference: candidate.reference,
        tests,
    })
}

type Pair = (usize, usize, usize, usize);

/// The pairs of parts in a combination: slot, part, slot, part.
fn pairs(parts: [usize; 3]) -> [Pair; 3] {
    [(0, 1), (0, 2), (1, 2)].map(|(a, b)| (a, parts[a], b, parts[b]))
}

/// Train, development and held-out tasks of one form.
///
/// Held-out and development combinations are drawn first; then training combinations are chosen
/// so that every pair of parts of theirs occurs in training, and the rest at random.
fn split<'a>(
    tasks: &[&'a Task],
    sizes: [usize; 3],
    random: &mut Random,
) -> Result<[Vec<&'a Task>; 3]> {
    let [train_size, development_size, heldout_size] = sizes;
    if tasks.len() < train_size + development_size + heldout_size {
        bail!("{} combinations for splits of {sizes:?}", tasks.len());
    }
    let mut order: Vec<&Task> = tasks.to_vec();
    random.shuffle(&mut order);

    // Hold out greedily what leaves every one of its pairs in at least two other combinations.
    let mut uses = BTreeMap::<Pair, usize>::new();
    for pair in order.iter().flat_map(|task| pairs(task.parts)) {
        *uses.entry(pair).or_default() += 1;
    }
    let (mut held, mut rest) = (Vec::new(), Vec::new());
    for task in order {
        let spare = pairs(task.parts).iter().all(|pair| uses[pair] > 2);
        if spare && held.len() < development_size + heldout_size {
            for pair in pairs(task.parts) {
                *uses.entry(pair).or_default() -= 1;
            }
            held.push(task);
        } else {
            rest.push(task);
        }
    }
    ensure!(
        held.len() == development_size + heldout_size,
        "only {} can be held out",
        held.len()
    );

    let mut wanted: BTreeSet<Pair> = held.iter().flat_map(|task| pairs(task.parts)).collect();
    let mut train = Vec::new();
    while !wanted.is_empty() {
        let covers = |task: &Task| {
            pairs(task.parts)
                .iter()
                .filter(|pair| wanted.contains(pair))
                .count()
        };
        let best = (0..rest.len())
            .max_by_key(|&index| (covers(rest[index]), std::cmp::Reverse(index)))
            .context("no combination left")?;
        let task = rest.remove(best);
        for pair in pairs(task.parts) {
            wanted.remove(&pair);
        }
        train.push(task);
    }
    ensure!(
        train.len() <= train_size,
        "covering the pairs takes {} tasks",
        train.len()
    );
    train.extend(rest.into_iter().take(train_size - train.len()));
    random.shuffle(&mut train);
    let heldout = held.split_off(development_size);
    Ok([train, held, heldout])
}
