//! One instance of a component: its store, its empty WASI, and guarded calls.

use std::time::Duration;

use wasmtime::Store;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxView, WasiView,
};

use super::failure::Failure;
use super::limits::{EPOCH_TICK, Limiter, Limits, OUTPUT_BYTES_SHOWN};

/// What the host keeps for one instance.
pub struct State {
    /// Name of the plugin, for its log lines.
    pub plugin: String,
    pub table: ResourceTable,
    pub limiter: Limiter,
    pub log_lines: usize,
    wasi: WasiCtx,
    output: MemoryOutputPipe,
    output_bytes_max: usize,
}

impl State {
    fn new(plugin: &str, limits: &Limits) -> Self {
        let output = MemoryOutputPipe::new(limits.output_bytes_max);
        // No files, environment, arguments or sockets. Clocks stand still and
        // randomness is pinned, so that a score depends on the sample alone.
        let wasi = WasiCtx::builder()
            .stdout(output.clone())
            .stderr(output.clone())
            .secure_random(Deterministic::new(vec![0x5a]))
            .insecure_random(Deterministic::new(vec![0x5a]))
            .insecure_random_seed(0)
            .wall_clock(StoppedClock)
            .monotonic_clock(StoppedClock)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self {
            plugin: plugin.to_owned(),
            table: ResourceTable::new(),
            limiter: Limiter::new(limits),
            log_lines: 0,
            wasi,
            output,
            output_bytes_max: limits.output_bytes_max,
        }
    }

    /// Whether everything that may be written has been written.
    pub fn output_is_full(&self) -> bool {
        self.output.contents().len() >= self.output_bytes_max
    }

    /// The end of what the guest wrote, printable, on one line.
    pub fn output_tail(&self) -> String {
        let written = self.output.contents();
        let start = written.len().saturating_sub(OUTPUT_BYTES_SHOWN);
        String::from_utf8_lossy(&written[start..])
            .trim()
            .escape_debug()
            .to_string()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

struct StoppedClock;

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }
    fn now(&self) -> u64 {
        0
    }
}

/// What a call may use in all.
#[derive(Clone, Copy)]
pub struct Budget {
    pub fuel: u64,
    pub wall: Duration,
}

impl Budget {
    /// For a batch: a sample's share times its length.
    pub fn for_samples(limits: &Limits, samples: usize) -> Self {
        let samples = samples.max(1) as u64;
        Self {
            fuel: limits.fuel_per_sample.saturating_mul(samples),
            wall: Duration::from_millis(limits.wall_ms_per_sample.saturating_mul(samples)),
        }
    }

    /// For a call that is not about samples, such as `describe`.
    pub fn for_call(limits: &Limits) -> Self {
        Self {
            fuel: limits.fuel_per_sample.max(super::limits::FUEL_PER_CALL),
            wall: Duration::from_millis(limits.wall_ms_per_sample),
        }
    }
}

/// A store ready for an instantiation under `budget`.
///
/// # Errors
/// None that a guest could cause.
pub fn store(
    engine: &wasmtime::Engine,
    plugin: &str,
    limits: &Limits,
    budget: Budget,
) -> wasmtime::Result<Store<State>> {
    let mut store = Store::new(engine, State::new(plugin, limits));
    store.limiter(|state| &mut state.limiter);
    arm(&mut store, budget)?;
    Ok(store)
}

fn arm(store: &mut Store<State>, budget: Budget) -> wasmtime::Result<()> {
    store.set_fuel(budget.fuel)?;
    let ticks = budget.wall.as_millis().div_ceil(EPOCH_TICK.as_millis());
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX).max(1));
    let state = store.data_mut();
    state.limiter.memory_denied = false;
    state.log_lines = 0;
    Ok(())
}

/// Calls into an instance under a budget; whatever happens there comes back as a value.
///
/// # Errors
/// Any [`Failure`] but a plugin's own error. The instance must not be used again then.
pub fn guarded<T>(
    store: &mut Store<State>,
    limits: &Limits,
    budget: Budget,
    call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    arm(store, budget)
        .and_then(|()| call(store))
        .map_err(|error| Failure::classify(&error, store.data(), limits))
}
