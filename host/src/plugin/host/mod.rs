//! The interfaces the host offers to plugins.

pub mod log;
pub mod source;
