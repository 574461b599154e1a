//! What cargo doesn't do: set-up, components, and the commands that need both.
//!
//! A library as well as a program, because the test suites build the
//! components they use with the same code.

pub mod components;
pub mod cuda;
pub mod dist;
pub mod first_party;
pub mod fuzz;
pub mod one_file;
pub mod python;
pub mod readers;
pub mod setup;
pub mod tasks;
pub mod wit;
pub mod workspace;
