//! `rlhf plugin`: everything about plugins but using them in a run.

mod bench;
mod inspect;
mod list;
mod lock;
mod new;
mod test;

use anyhow::Result;

pub use test::Failed;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Write a project that builds and passes its tests at once
    New(new::Arguments),
    /// Show what a component is, what it asks for and what it says about itself
    Inspect(inspect::Arguments),
    /// Check that a plugin keeps the contract
    Test(test::Arguments),
    /// Measure what a plugin costs
    Bench(bench::Arguments),
    /// List the components a run would find
    List,
    /// Pin plugins to the bytes they have now, in `rlhf.lock`
    Lock(lock::Arguments),
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::New(arguments) => new::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::List => list::run(),
        Command::Lock(arguments) => lock::run(arguments),
    }
}
