//! What a plugin may use. Each limit is exceeded by a guest in `tests/hostile`.
//!
//! Fuel is the verdict: it is counted, and the same on every machine. Wall time
//! is the backstop of a machine in trouble. The others bound what a plugin can
//! take from the host.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

/// Fuel of one sample: one to two seconds of plain computation, a thousand
/// times what CodeBLEU takes for a HumanEval function (5 million). Its most
/// extreme texts, of 1 MB or nested 20,000 deep, take one billion on average.
pub const FUEL_PER_SAMPLE: u64 = 5_000_000_000;
/// Wall time of one sample; the backstop for a machine in trouble, since fuel
/// is used up long before on a healthy one. Time in host calls doesn't count.
pub const WALL_MS_PER_SAMPLE: u64 = 10_000;
/// Linear memory of an instance, all its memories together.
pub const MEMORY_BYTES_MAX: usize = 256 << 20;
/// Elements of an instance's tables together.
pub const TABLE_ELEMENTS_MAX: usize = 50_000;
/// WebAssembly stack of a call.
pub const STACK_BYTES_MAX: usize = 1 << 20;
/// WebAssembly stack of the programs that a code runner runs, at least: an interpreter recurses
/// with its program. CPython compares, reads and frees lists nested 100,000 deep within it.
pub const PROGRAM_STACK_BYTES: usize = 32 << 20;
/// Fuel of a program where its user sets none: what an interpreter takes for about a second's work
/// of a native CPython, whose every step is some hundred units. An endless loop ends after three.
/// (HumanEval's most expensive canonical solution takes 3.8 billion with its test, the median one 3.6 million.)
pub const PROGRAM_FUEL: u64 = 40_000_000_000;
/// Wall time of a program at least, in milliseconds: its fuel is gone long before on a quiet
/// machine, and a machine can be twenty times as busy before time decides.
pub const PROGRAM_WALL_MS: u64 = 60_000;
/// Bytes that an instance may write to its stdout and stderr as long as it
/// lives: a metric's gets a successor, an adapter's reads one file.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Bytes that one call may hand to the host: its result, and what it passes to host functions.
pub const RESULT_BYTES_MAX: usize = 64 << 20;
/// Log lines of one call.
pub const LOG_LINES_MAX: usize = 100;

/// Time of one sample that host calls may take beside the plugin's own: its
/// programs have limits themselves, but a plugin could start them without end.
pub const HOST_TIME_PER_SAMPLE: Duration = Duration::from_secs(600);
/// How much of a plugin's output is shown with a failure.
pub const OUTPUT_BYTES_SHOWN: usize = 4 << 10;
/// Length of a plugin's own message about an item; the rest is cut off.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Length of a log line.
pub const LOG_LINE_BYTES_MAX: usize = 1 << 10;
/// Statistics of one sample.
pub const STATISTICS_MAX: usize = 4096;
/// Embeddings that one call of a plugin may hold.
pub const EMBEDDINGS_MAX: usize = 1024;
/// Fuel that a guest uses between two looks at the clock: a millisecond or two. A look takes a
/// fraction of a microsecond.
pub const FUEL_BETWEEN_LOOKS: u64 = 4_000_000;
/// Stack of the host functions that a guest calls, beside the guest's own.
pub const HOST_STACK_BYTES: usize = 1 << 20;

/// What memory and tables can be set to, at most: the pool is made for them.
pub const MEMORY_BYTES_SETTABLE: usize = (4 << 30) - (64 << 10);
pub const TABLE_ELEMENTS_SETTABLE: usize = 1 << 20;
/// What the stack can be set to.
pub const STACK_BYTES_SETTABLE: (usize, usize) = (64 << 10, 64 << 20);

/// Limits of one plugin; settable per plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Default [`FUEL_PER_SAMPLE`].
    pub fuel_per_sample: u64,
    /// Default [`WALL_MS_PER_SAMPLE`].
    pub wall_ms_per_sample: u64,
    /// Default [`MEMORY_BYTES_MAX`], at most 4 GiB.
    pub memory_bytes_max: usize,
    /// Default [`TABLE_ELEMENTS_MAX`], at most 1,048,576.
    pub table_elements_max: usize,
    /// Default [`STACK_BYTES_MAX`], 64 KiB to 64 MiB.
    pub stack_bytes_max: usize,
    /// Default [`OUTPUT_BYTES_MAX`].
    pub output_bytes_max: usize,
    /// Default [`RESULT_BYTES_MAX`].
    pub result_bytes_max: usize,
    /// Default [`LOG_LINES_MAX`].
    pub log_lines_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel_per_sample: FUEL_PER_SAMPLE,
            wall_ms_per_sample: WALL_MS_PER_SAMPLE,
            memory_bytes_max: MEMORY_BYTES_MAX,
            table_elements_max: TABLE_ELEMENTS_MAX,
            stack_bytes_max: STACK_BYTES_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
            result_bytes_max: RESULT_BYTES_MAX,
            log_lines_max: LOG_LINES_MAX,
        }
    }
}

impl Limits {
    /// Fuel for starting, describing, configuring and for each `next` of a data
    /// adapter, calls that are not about one sample: twice a sample's. Chosen;
    /// an interpreter's start is well below.
    pub fn fuel_per_call(&self) -> u64 {
        self.fuel_per_sample.saturating_mul(2)
    }

    /// Keys that `--plugin PATH,KEY=NUMBER` sets.
    pub const KEYS: [&str; 8] = [
        "fuel",
        "wall-ms",
        "memory",
        "table",
        "stack",
        "output",
        "result",
        "log-lines",
    ];

    /// Sets the limit that `--plugin` calls `key`; whether there is one.
    pub fn set(&mut self, key: &str, value: u64) -> bool {
        let size = usize::try_from(value).unwrap_or(usize::MAX);
        match key {
            "fuel" => self.fuel_per_sample = value,
            "wall-ms" => self.wall_ms_per_sample = value,
            "memory" => self.memory_bytes_max = size,
            "table" => self.table_elements_max = size,
            "stack" => self.stack_bytes_max = size,
            "output" => self.output_bytes_max = size,
            "result" => self.result_bytes_max = size,
            "log-lines" => self.log_lines_max = size,
            _ => return false,
        }
        true
    }

    /// For the programs of a code runner: limits that nobody set are those of programs.
    #[must_use]
    pub fn for_programs(&self) -> Self {
        let mut limits = self.clone();
        if limits.fuel_per_sample == FUEL_PER_SAMPLE {
            limits.fuel_per_sample = PROGRAM_FUEL;
        }
        limits.stack_bytes_max = limits.stack_bytes_max.max(PROGRAM_STACK_BYTES);
        limits.wall_ms_per_sample = limits.wall_ms_per_sample.max(PROGRAM_WALL_MS);
        limits
    }

    /// Whether every limit can be enforced as it is set.
    ///
    /// # Errors
    /// The first that can't, with its range.
    pub fn validate(&self) -> Result<(), String> {
        let ranges = [
            (
                "memory_bytes_max",
                self.memory_bytes_max,
                0,
                MEMORY_BYTES_SETTABLE,
            ),
            (
                "table_elements_max",
                self.table_elements_max,
                0,
                TABLE_ELEMENTS_SETTABLE,
            ),
            (
                "stack_bytes_max",
                self.stack_bytes_max,
                STACK_BYTES_SETTABLE.0,
                STACK_BYTES_SETTABLE.1,
            ),
        ];
        for (name, found, least, most) in ranges {
            if !(least..=most).contains(&found) {
                return Err(format!("`{name}` is {found}; expected {least} to {most}"));
            }
        }
        for (name, found) in [
            ("fuel_per_sample", self.fuel_per_sample),
            ("wall_ms_per_sample", self.wall_ms_per_sample),
        ] {
            if found == 0 {
                return Err(format!("`{name}` is 0; expected at least 1"));
            }
        }
        Ok(())
    }
}

/// Enforces memory and table sizes, and remembers that it had to.
pub struct Limiter {
    memory_bytes_max: usize,
    table_elements_max: usize,
    /// Of all memories and tables of the instance.
    memory_bytes: usize,
    table_elements: usize,
    pub memory_denied: bool,
    pub table_denied: bool,
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes_max: limits.memory_bytes_max,
            table_elements_max: limits.table_elements_max,
            memory_bytes: 0,
            table_elements: 0,
            memory_denied: false,
            table_denied: false,
        }
    }

    /// Memory in use, in bytes. Memories never shrink, so this is its peak.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

/// The total after one of them grew, if that is allowed.
fn grown(total: usize, current: usize, desired: usize, max: usize) -> Option<usize> {
    total
        .saturating_sub(current)
        .checked_add(desired)
        .filter(|after| *after <= max)
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let after = grown(self.memory_bytes, current, desired, self.memory_bytes_max);
        self.memory_bytes = after.unwrap_or(self.memory_bytes);
        self.memory_denied |= after.is_none();
        Ok(after.is_some())
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_denied = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let max = self.table_elements_max;
        let after = grown(self.table_elements, current, desired, max);
        self.table_elements = after.unwrap_or(self.table_elements);
        self.table_denied |= after.is_none();
        Ok(after.is_some())
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table_denied = true;
        Ok(())
    }
}
