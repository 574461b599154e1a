//! Generated bindings, one file per WIT line, and the conversion to our own types.
//!
//! Generated types stay in here: the rest of the crate sees [`super::Sample`],
//! [`super::metric::Score`] and their like.

mod lent;
mod name;
pub mod v0_1;

/// A line of WIT versions that one file of bindings serves. A later version of
/// a line is a superset of the earlier ones, so the bindings of its newest
/// serve them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    V0_1,
}

impl Line {
    /// For messages.
    pub const KNOWN: [&str; 1] = ["0.1.x"];

    /// The line that a version in a component's exports belongs to. Decided
    /// once, when the component is loaded.
    pub fn of(version: &str) -> Option<Self> {
        let patch = version.strip_prefix("0.1.")?;
        let is_number = !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some(Line::V0_1)
    }
}
