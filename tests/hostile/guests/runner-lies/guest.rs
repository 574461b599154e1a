//! A code runner that returns values which are none, when a function of the
//! program `bad` is called.
//!
//! Written against the bindings, since the SDK would notice first.

use std::sync::Mutex;

use rlhf_sdk::__private::bindings::code_runner::exports::rlhf::plugin::code_runner::{
    Descriptor, Guest,
};
use rlhf_sdk::__private::bindings::host::rlhf::plugin::types::{Error, Outcome};
use rlhf_sdk::__private::bindings::host::rlhf::plugin::values::{Node, Value};

struct Raw;

static OPTIONS: Mutex<String> = Mutex::new(String::new());
static PROGRAM: Mutex<String> = Mutex::new(String::new());

fn how() -> String {
    let options: serde_json::Value =
        serde_json::from_str(&OPTIONS.lock().unwrap()).unwrap_or_default();
    options["how"].as_str().unwrap_or_default().to_owned()
}

impl Guest for Raw {
    fn describe() -> Descriptor {
        Descriptor {
            name: "runner-lies".into(),
            version: "0.1.0".into(),
            summary: String::new(),
            languages: vec![("python".into(), "3".into())],
            extra: Vec::new(),
        }
    }

    fn configure(options: String) -> Result<(), Error> {
        *OPTIONS.lock().unwrap() = options;
        Ok(())
    }

    fn check(_: String, _: String) -> Result<(), Error> {
        Ok(())
    }

    fn load(_: String, source: String) -> Result<(), Error> {
        *PROGRAM.lock().unwrap() = source;
        Ok(())
    }

    fn run(_: Vec<u8>) -> Outcome {
        outcome("finished")
    }

    fn call(_: String, _: Vec<Value>) -> Result<Value, Outcome> {
        let answer = vec![Node::Integer("42".into())];
        if *PROGRAM.lock().unwrap() != "bad" {
            return Ok(value(answer));
        }
        Ok(value(match how().as_str() {
            "itself" => vec![Node::List(vec![0])],
            "cycle" => vec![Node::List(vec![1]), Node::List(vec![0])],
            "twice" => vec![Node::None, Node::List(vec![0, 0])],
            "empty" => Vec::new(),
            "text-number" => vec![Node::Integer("4\u{1b}[2J2".into())],
            "bomb" => {
                // Each holds the one below twice: 2^64 parts in all.
                let pairs = (0..64).map(|below| Node::Tuple(vec![below, below]));
                std::iter::once(Node::None).chain(pairs).collect()
            }
            "deep" => {
                let lists = (0..1_000_000).map(|below| Node::List(vec![below]));
                std::iter::once(Node::None).chain(lists).collect()
            }
            "many" => vec![Node::None; (1 << 21) + 1],
            "exception" => return Err(outcome("\u{1b}[2J")),
            _ => answer,
        }))
    }

    fn judge(_: String, _: String, _: String) -> Outcome {
        outcome("finished")
    }
}

fn value(nodes: Vec<Node>) -> Value {
    Value {
        root: (nodes.len() as u32).wrapping_sub(1),
        nodes,
    }
}

fn outcome(kind: &str) -> Outcome {
    Outcome {
        kind: kind.into(),
        exception: String::new(),
        detail: String::new(),
        exit_code: 0,
        stdout: Vec::new(),
        stderr: Vec::new(),
    }
}

rlhf_sdk::__private::bindings::code_runner::export!(Raw);
