//! Do pycodestyle and radon themselves give the same numbers, on texts nobody
//! has chosen?
//!
//! Runs where `RLHF_PEER_PYTHON` names a CPython 3.11 that has pycodestyle
//! 2.15.0 and radon 6.0.1; see `golden/README.md`. Texts are mutations of the
//! golden ones and random, the same ones each time.

#[path = "../../lib-text/tests/peer/mod.rs"]
mod peer;

use std::path::Path;

use metric_ruby::complexity::Complexity;
use metric_ruby::style::violations;
use peer::Random;
use serde_json::{Map, Value, json};

const TEXTS: usize = 3000;

/// What might be tokenised, spaced or counted otherwise.
#[rustfmt::skip]
const FRAGMENTS: [&str; 132] = [
    "'", "\"", "'''", "\"\"\"", "(", ")", "[", "]", "{", "}", "\\", "\t", " ", "  ", "\n", "\n\n", "\n\n\n", "\r", "\r\n", "#", "# ", "#:", "#!x",
    "## y", "  # noqa", ":", "é", "数", "😀", "\x0c", "\u{3000}", "\x1c", "$", "?", "!", "=", " = ", "==", " == None", " != True", "True == ", ",",
    " ,", ".", "if ", "if x: y", "else:", "elif a:\n", "for x in y:", "lambda x=1: x", "f = lambda: 0\n", "f\"{a!r:>{w}}\"", "f\"{a if b else c}\"",
    "rb\"x\"", "*", "**", "@", "@ x\n", "->", ":=", "0x", "1e", "...", ";", "; ", "\\\n", "async ", "await ", "# c\n", "pass\n", "    ", "\tx",
    "not x in y", "not x is y", " not ", " in ", " is ", "type(a) == type(b)", "type(a) != int", "except:", "import a, b\n", "import os\n",
    "from x import(y)\n", "l = 1\n", "O", "I", "def l(", "class I:\n", "def f(a, b = 1, *, c: int=2) -> x:\n    return 1\n",
    "class C:\n    def m(self):\n        pass\n", "and ", " or\n", "+", "-", "%", "//", ">>", "|", "\"\\d\"", "'\\\n'", "(\n    ", "[\n        1,\n",
    "x(\n  a,\n   b)\n", "if (a and\n    b):\n    pass\n", "assert a and b\n", "try:\n    x\nexcept A:\n    y\nelse:\n    z\n",
    "match x:\n    case 1:\n        a\n    case _:\n        b\n", "while a:\n    b\nelse:\n    c\n", "return(1)", "yield(x)", "print (x)", "d [\"a\"]",
    "{\"a\":1}", "a=1", "a= 1", "a  = 1", "a =\t1", "a and  b", "a\tand b", "__all__ = 1\n", "__v__: str = \"x\"\n", "\"doc\"\n", "with a as l:\n",
    "global l\n", "[l for l in y]\n", "def f(): pass\n", "async def h():\n  await x\n", "\u{feff}", "\u{a0}", "²", "# http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

fn golden_texts() -> Vec<String> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut texts = Vec::new();
    for (file, key) in [("humaneval.jsonl", "prediction"), ("odd.jsonl", "text")] {
        let lines = std::fs::read_to_string(golden.join(file)).expect("golden file");
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("golden line");
            texts.extend(line[key].as_str().map(str::to_owned));
        }
    }
    texts
}

fn mutated(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..random.below(6) {
        let at = random.below(chars.len() + 1);
        let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
        match random.below(4) {
            0 => {
                let end = (at + 1 + random.below(12)).min(chars.len());
                chars.drain(at..end.max(at));
            }
            1 | 2 => drop(chars.splice(at..at, fragment.chars())),
            _ => {
                let line = chars[..at].iter().rposition(|&c| c == '\n');
                let start = line.map_or(0, |end| end + 1);
                chars.splice(start..start, fragment.chars());
            }
        }
    }
    chars.into_iter().collect()
}

/// Would catch a difference that the golden cases happen not to show.
#[test]
fn random_texts_count_as_in_pycodestyle_and_radon() {
    let Some(python) = peer::python() else {
        return;
    };
    let golden = golden_texts();
    let mut random = Random::new(&FRAGMENTS, 4);
    let texts: Vec<String> = (0..TEXTS)
        .map(|at| match at % 3 {
            0 => random.text(),
            1 => {
                let text = &golden[random.below(golden.len())];
                let end = random.response(text);
                mutated(&end, &mut random)
            }
            _ => {
                let text = &golden[random.below(golden.len())];
                mutated(text, &mut random)
            }
        })
        .collect();
    let lines: String = texts
        .iter()
        .map(|text| json!({ "text": text }).to_string() + "\n")
        .collect();
    let answers = peer::ask(python, env!("CARGO_MANIFEST_DIR"), lines);
    assert_eq!(answers.len(), TEXTS);
    let mut compared = 0;
    for (text, answer) in texts.iter().zip(answers) {
        if answer["pycodestyle"].is_object() {
            compared += 1;
            let found: Map<String, Value> = violations(text)
                .found()
                .map(|(code, count)| (code.to_owned(), count.into()))
                .collect();
            assert_eq!(Value::Object(found), answer["pycodestyle"], "{text:?}");
        }
        if answer["radon_cc"].is_array() {
            compared += 1;
            let complexity = Complexity::of(text);
            let found: Vec<Value> = complexity
                .blocks
                .iter()
                .map(|block| json!([block.letter.to_string(), block.name, block.complexity]))
                .collect();
            assert_eq!(Value::Array(found), answer["radon_cc"], "{text:?}");
            assert_eq!(complexity.module, answer["module"], "{text:?}");
        }
    }
    assert!(compared > TEXTS, "only {compared} comparisons");
}
