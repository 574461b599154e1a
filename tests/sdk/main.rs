//! Can a stranger ship a plugin? Projects from templates, and components built
//! against older versions of the contract.

mod kept;
mod new;
mod polyglot;
