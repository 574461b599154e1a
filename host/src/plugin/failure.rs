//! What can go wrong in a plugin: values, never panics of the host.

use wasmtime::Trap;

use super::instance::{Budget, State};
use super::limits::{Limits, MESSAGE_BYTES_MAX};

/// Why a plugin gave no result for a sample or a call.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    #[error("out of fuel: more than {fuel} units {scope}")]
    OutOfFuel { fuel: u64, scope: &'static str },
    #[error("out of time: more than {ms} ms {scope}")]
    OutOfTime { ms: u64, scope: &'static str },
    #[error("out of memory: more than {bytes} bytes")]
    OutOfMemory { bytes: usize },
    #[error("out of table: more than {elements} elements")]
    OutOfTable { elements: usize },
    #[error("out of output: more than {bytes} bytes written")]
    OutOfOutput { bytes: usize },
    #[error("result too large: more than {bytes} bytes handed over in one call")]
    ResultTooLarge { bytes: usize },
    #[error("stack: too deep a recursion")]
    Stack,
    #[error("trap: {message}")]
    Trap { message: String },
    #[error("bad result: {message}")]
    BadResult { message: String },
    #[error("plugin error {code}: {message}")]
    Plugin { code: String, message: String },
}

/// A plugin's own words, of a bounded length and without what could rewrite a terminal.
pub(super) fn words(text: &str) -> String {
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    let mut words = String::with_capacity(end);
    for c in text[..end].chars() {
        // Hints have a line of their own.
        if c.is_control() && c != '\n' {
            words.extend(c.escape_debug());
        } else {
            words.push(c);
        }
    }
    if end < text.len() {
        words.push('…');
    }
    words
}

impl Failure {
    /// Stable name for counting and for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::OutOfFuel { .. } => "out-of-fuel",
            Failure::OutOfTime { .. } => "out-of-time",
            Failure::OutOfMemory { .. } => "out-of-memory",
            Failure::OutOfTable { .. } => "out-of-table",
            Failure::OutOfOutput { .. } => "out-of-output",
            Failure::ResultTooLarge { .. } => "result-too-large",
            Failure::Stack => "stack",
            Failure::Trap { .. } => "trap",
            Failure::BadResult { .. } => "bad-result",
            Failure::Plugin { .. } => "plugin-error",
        }
    }

    /// Names what ended a call.
    ///
    /// The order matters: a stack overflow or a time-out often comes after a
    /// denied memory request, and would be misnamed if memory were asked first.
    pub(super) fn classify(
        error: &wasmtime::Error,
        state: &State,
        limits: &Limits,
        budget: Budget,
    ) -> Self {
        let (fuel, shares, scope) = match budget.samples {
            0 => (budget.fuel, 1, "in one call"),
            samples => (limits.fuel_per_sample, samples, "for a sample"),
        };
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => {
                return Failure::OutOfFuel { fuel, scope };
            }
            Some(Trap::Interrupt) => {
                return Failure::OutOfTime {
                    ms: u64::try_from(budget.wall.as_millis()).unwrap_or(u64::MAX) / shares,
                    scope,
                };
            }
            Some(Trap::StackOverflow) => return Failure::Stack,
            _ => {}
        }
        // wasmtime keeps the type of this error to itself.
        if error.root_cause().to_string().starts_with("too much data") {
            return Failure::ResultTooLarge {
                bytes: limits.result_bytes_max,
            };
        }
        if state.limiter.memory_denied {
            return Failure::OutOfMemory {
                bytes: limits.memory_bytes_max,
            };
        }
        if state.limiter.table_denied {
            return Failure::OutOfTable {
                elements: limits.table_elements_max,
            };
        }
        if state.output_is_full() {
            return Failure::OutOfOutput {
                bytes: limits.output_bytes_max,
            };
        }
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            return Failure::Trap {
                message: format!("the plugin called exit({})", exit.0),
            };
        }
        let mut message = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string().replace("wasm trap: ", ""),
            // `{error:#}` would repeat the frames of the guest's stack.
            None => error.root_cause().to_string(),
        };
        let talk = state.output_tail();
        if !talk.is_empty() {
            message.push_str("; the plugin wrote: ");
            message.push_str(&talk);
        }
        Failure::Trap { message }
    }

    /// A trap of the host's own making, such as an instance that can't be started.
    pub(super) fn of_host(error: &wasmtime::Error) -> Self {
        Failure::Trap {
            message: format!("{error:#}"),
        }
    }
}
