//! Do worker processes keep what the sandbox promises? One lost program for one that dies,
//! nothing left behind, the same outcome and fuel everywhere, verdicts from outside.

mod command;
mod workers;

use std::path::PathBuf;

use rlhf::plugin::{CodeRunner, Runtime, Spec};
use rlhf::sandbox::{Policy, Pool};
use rlhf_test_support::component;
use xtask::workspace::target_dir;

/// Where compiled code is kept for all tests: to compile the interpreter takes ten seconds.
fn cache() -> PathBuf {
    target_dir().expect("there is one").join("test-cache")
}

/// A pool of workers of the real binary over the shipped Python runner.
fn pool(size: usize, policy: Policy, limits: &str) -> Pool {
    let runtime = Runtime::new(Some(cache()), 1).expect("the engine starts");
    let path = component("runner-python");
    let spec = Spec::parse(&format!("{}{limits}", path.display())).expect("well-formed");
    let runner = CodeRunner::load(&runtime, &spec).unwrap_or_else(|error| panic!("{error}"));
    let program = env!("CARGO_BIN_EXE_rlhf").into();
    Pool::new(program, &[(runner, spec)], size, policy).unwrap_or_else(|error| panic!("{error}"))
}
