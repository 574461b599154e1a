//! Do guests that misbehave cost an item, and nothing else?
//!
//! Each folder in `guests/` holds a component's source, `guest.rs` or
//! `guest.wat`, and `expected.txt`. A guest serves the items `first` and `last`
//! honestly and misbehaves on `bad`; an item is a sample, a rollout, a file or
//! a program. Each line of `expected.txt` is a case,
//!
//! ```text
//! [PLUGIN OPTIONS -> ]HOW THE REPORT BEGINS
//! ```
//!
//! with options as `--plugin` has them (`memory=32M,config={"how":"nan"}`).
//! `load: …` is how the error begins with which the guest is refused, `GUEST`
//! being its path; `passes` means that the host has nothing to report.
//!
//! `programs/` are programs that the Python runner is given; see `programs.rs`.

mod harness;
mod humaneval;
mod limits;
mod load;
mod programs;
mod samples;
mod worlds;
