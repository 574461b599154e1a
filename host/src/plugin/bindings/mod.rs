//! Generated bindings, one file per WIT line, and the conversion to our own types.
//!
//! Generated types stay in here: the rest of the crate sees [`super::Sample`],
//! [`super::metric::Score`] and their like.

pub mod v0_1;
