//! One instance of a component: its store, its empty WASI, and guarded calls.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use wasmtime::{Store, Trap};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxView, WasiView,
};

use super::failure::Failure;
use super::host::{Candidate, Granted};
use super::limits::{
    FUEL_BETWEEN_LOOKS, HOST_TIME_PER_SAMPLE, Limiter, Limits, OUTPUT_BYTES_SHOWN,
};

/// What the host keeps for one instance.
pub struct State {
    /// Name of the plugin, for its log lines.
    pub plugin: Arc<str>,
    pub table: ResourceTable,
    pub limiter: Limiter,
    pub log_lines: usize,
    pub log_lines_max: usize,
    /// What the run granted, and what a plugin did with it.
    pub granted: Granted,
    /// The program that a judge calls.
    pub candidate: Option<Box<dyn Candidate>>,
    /// Time that the call in progress may take from its start, in nanoseconds; whoever runs the
    /// call looks at it while the guest waits.
    allowed: Arc<AtomicU64>,
    /// What is left of the time that host calls may take.
    host_time: Duration,
    wasi: WasiCtx,
    output: MemoryOutputPipe,
    output_bytes_max: usize,
    /// What had been written before the call in progress.
    output_before: usize,
}

impl State {
    fn new(plugin: Arc<str>, limits: &Limits, granted: Granted) -> Self {
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
            plugin,
            table: ResourceTable::new(),
            limiter: Limiter::new(limits),
            log_lines: 0,
            log_lines_max: limits.log_lines_max,
            granted,
            candidate: None,
            allowed: Arc::default(),
            host_time: Duration::ZERO,
            wasi,
            output,
            output_bytes_max: limits.output_bytes_max,
            output_before: 0,
        }
    }

    /// Runs a host call whose time is not the plugin's, as long as there is any
    /// left: a plugin that calls the host without end is ended, too.
    pub fn in_host<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let start = Instant::now();
        let result = call(self);
        let free = start.elapsed().min(self.host_time);
        self.host_time -= free;
        self.allowed.fetch_add(nanoseconds(free), Ordering::Relaxed);
        result
    }

    /// Whether everything that may be written has been written.
    pub fn output_is_full(&self) -> bool {
        self.output.contents().len() >= self.output_bytes_max
    }

    /// The end of what the guest wrote during this call, printable, on one line.
    pub fn output_tail(&self) -> String {
        let written = self.output.contents();
        let start = written.len().saturating_sub(OUTPUT_BYTES_SHOWN);
        let start = start.max(self.output_before.min(written.len()));
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
    /// Samples that share it; 0 for a call that is not about samples.
    pub samples: u64,
}

impl Budget {
    /// For samples that have to be seen together: a sample's share times their number.
    pub fn for_samples(limits: &Limits, samples: usize) -> Self {
        let samples = samples.max(1) as u64;
        Self {
            fuel: limits.fuel_per_sample.saturating_mul(samples),
            wall: Duration::from_millis(limits.wall_ms_per_sample.saturating_mul(samples)),
            samples,
        }
    }

    /// For a batch of samples that have nothing to do with each other. All of
    /// them together get the fuel of one: if that is enough for all, it is
    /// enough for each, whatever its neighbours use.
    pub fn for_batch(limits: &Limits, samples: usize) -> Self {
        Self {
            fuel: limits.fuel_per_sample,
            ..Self::for_samples(limits, samples)
        }
    }

    /// For a call that is not about samples, such as `describe`.
    pub fn for_call(limits: &Limits) -> Self {
        Self {
            fuel: limits.fuel_per_call(),
            wall: Duration::from_millis(limits.wall_ms_per_sample),
            samples: 0,
        }
    }
}

/// A store ready for an instantiation under `budget`.
///
/// # Errors
/// None that a guest could cause.
pub fn store(
    engine: &wasmtime::Engine,
    plugin: Arc<str>,
    limits: &Limits,
    granted: Granted,
    budget: Budget,
) -> wasmtime::Result<Store<State>> {
    let mut store = Store::new(engine, State::new(plugin, limits, granted));
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(limits.result_bytes_max);
    store.fuel_async_yield_interval(Some(FUEL_BETWEEN_LOOKS))?;
    arm(&mut store, budget)?;
    Ok(store)
}

fn arm(store: &mut Store<State>, budget: Budget) -> wasmtime::Result<()> {
    store.set_fuel(budget.fuel)?;
    let state = store.data_mut();
    let shares = u32::try_from(budget.samples.max(1)).unwrap_or(u32::MAX);
    state.host_time = HOST_TIME_PER_SAMPLE.saturating_mul(shares);
    // A day is as good as forever, and can always be added to.
    let wall = budget.wall.min(Duration::from_secs(24 * 60 * 60));
    state.allowed.store(nanoseconds(wall), Ordering::Relaxed);
    state.limiter.memory_denied = false;
    state.limiter.table_denied = false;
    state.log_lines = 0;
    state.output_before = state.output.contents().len();
    Ok(())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Calls into an instance under a budget; whatever happens there comes back as a value.
///
/// The guest runs on a stack of its own and hands over each time it has used
/// [`FUEL_BETWEEN_LOOKS`]: that is when the clock is looked at. Fuel is counted anyway, so the
/// compiled code has one counter to keep and not two, which epochs would be.
///
/// # Errors
/// Any [`Failure`] but a plugin's own error. The instance must not be used again then.
pub fn guarded<T>(
    store: &mut Store<State>,
    limits: &Limits,
    budget: Budget,
    call: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    let result = arm(store, budget).and_then(|()| {
        let allowed = Arc::clone(&store.data().allowed);
        let start = Instant::now();
        let mut call = pin!(call(store));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(result) = call.as_mut().poll(&mut context) {
                return result;
            }
            if nanoseconds(start.elapsed()) >= allowed.load(Ordering::Relaxed) {
                // The call is dropped with its stack.
                return Err(Trap::Interrupt.into());
            }
        }
    });
    // Handles end with the call that made them.
    store.data_mut().granted.end_call();
    result.map_err(|error| Failure::classify(&error, store.data(), limits, budget))
}
