//! What a plugin may use. Each limit is exceeded by a guest in `tests/hostile`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

/// Fuel of one sample: one to two seconds of plain computation, a thousand
/// times what CodeBLEU takes for a HumanEval function (5 million). Its most
/// extreme texts, of 1 MB or nested 20,000 deep, take one billion on average.
pub const FUEL_PER_SAMPLE: u64 = 5_000_000_000;
/// Wall time of one sample; the backstop for a machine in trouble, since fuel
/// is used up long before on a healthy one.
pub const WALL_MS_PER_SAMPLE: u64 = 10_000;
/// Linear memory of an instance.
pub const MEMORY_BYTES_MAX: usize = 256 << 20;
/// Elements of each of a component's tables.
pub const TABLE_ELEMENTS_MAX: usize = 50_000;
/// Bytes that a plugin may write to its stdout and stderr during one call.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// How much of that is shown with a failure.
pub const OUTPUT_BYTES_SHOWN: usize = 4 << 10;
/// Statistics of one sample.
pub const STATISTICS_MAX: usize = 4096;
/// Log lines of one call, and the length of each.
pub const LOG_LINES_MAX: usize = 100;
pub const LOG_LINE_BYTES_MAX: usize = 1 << 10;
/// WebAssembly stack. Calls run on threads with at least twice as much.
pub const STACK_BYTES: usize = 1 << 20;
/// How often the clock that ends overlong calls ticks.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);
/// Fuel for describing, configuring and for each `next` of a data adapter:
/// calls that are not about one sample.
pub const FUEL_PER_CALL: u64 = 2 * FUEL_PER_SAMPLE;

/// Limits of one plugin; settable per plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Default [`FUEL_PER_SAMPLE`].
    pub fuel_per_sample: u64,
    /// Default [`WALL_MS_PER_SAMPLE`].
    pub wall_ms_per_sample: u64,
    /// Default [`MEMORY_BYTES_MAX`].
    pub memory_bytes_max: usize,
    /// Default [`TABLE_ELEMENTS_MAX`].
    pub table_elements_max: usize,
    /// Default [`OUTPUT_BYTES_MAX`].
    pub output_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel_per_sample: FUEL_PER_SAMPLE,
            wall_ms_per_sample: WALL_MS_PER_SAMPLE,
            memory_bytes_max: MEMORY_BYTES_MAX,
            table_elements_max: TABLE_ELEMENTS_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
        }
    }
}

/// Enforces memory and table sizes, and remembers that it had to.
pub struct Limiter {
    memory_bytes_max: usize,
    table_elements_max: usize,
    pub memory_denied: bool,
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes_max: limits.memory_bytes_max,
            table_elements_max: limits.table_elements_max,
            memory_denied: false,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory_bytes_max;
        self.memory_denied |= !allowed;
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_denied = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements_max)
    }
}
