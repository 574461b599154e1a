//! The WebAssembly engine of a process, and the cache of compiled components.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, StoreContextMut,
};

use super::Error;
use super::instance::State;
use super::limits::{
    HOST_STACK_BYTES, MEMORY_BYTES_SETTABLE, STACK_BYTES_MAX, TABLE_ELEMENTS_SETTABLE,
};
use super::lock::Lock;

/// The version of wasmtime in `Cargo.toml`; a test compares the two.
pub const VERSION: &str = "48.0.8";

/// Instances that may live at once: at least these, and so many for each worker,
/// for its plugins and the programs that they run.
const INSTANCES_MIN: u32 = 256;
const INSTANCES_PER_WORKER: u32 = 16;
/// Core modules, memories and tables of a component; a Rust component has
/// three modules, interpreters have some dozens.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 100;

/// Initial memory that is mapped whatever holes it has; CPython's, booted, has 26 MB.
const IMAGE_BYTES_MAX: u64 = 64 << 20;
/// Instances of a worker process: a program, its judge, and those made ahead.
const INSTANCES_OF_PROGRAMS: u32 = 8;
/// Memory of a finished program that stays mapped for the next one. Chosen: an ordinary program
/// touches 4 MB, and what an extraordinary one took should go back to the system.
const PROGRAM_RESIDENT_BYTES: usize = 16 << 20;

/// The interface as wasmtime-wasi links it; older 0.2 versions resolve to it.
const MONOTONIC_CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";

/// A wait that is over.
struct Over;

#[wasmtime_wasi::async_trait]
impl wasmtime_wasi::p2::Pollable for Over {
    async fn ready(&mut self) {}
}

/// What the instances of an engine are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Many plugins of many workers.
    Plugins,
    /// One program after another, each in an interpreter's instance.
    Programs,
}

/// The engines of a process, shared by its plugins.
pub struct Runtime {
    /// By the stack they allow, which is an engine's setting: one, as long as
    /// no plugin has a stack limit of its own.
    engines: Mutex<BTreeMap<usize, Engine>>,
    cache: Option<PathBuf>,
    /// Threads that score at once.
    workers: usize,
    purpose: Purpose,
    /// Hashes that plugins must have.
    lock: Option<Lock>,
}

impl Runtime {
    /// Starts the engine. `cache` is the folder for compiled components, or
    /// `None` to compile afresh every time; `workers` threads score at once.
    ///
    /// # Errors
    /// The engine refuses its configuration on this machine.
    pub fn new(cache: Option<PathBuf>, workers: usize) -> Result<Arc<Self>, Error> {
        Self::locked(cache, workers, None)
    }

    /// For a command of the user's: the user's cache, every core, and the lock
    /// of the folder it is started from.
    ///
    /// # Errors
    /// The lock can't be read; the engine refuses its configuration on this machine.
    pub fn of_user() -> Result<Arc<Self>, Error> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let lock = Lock::of_folder(Path::new("."))?;
        Self::locked(cache_folder(), workers, lock)
    }

    /// The same, with hashes that plugins must have.
    ///
    /// # Errors
    /// The engine refuses its configuration on this machine.
    pub fn locked(
        cache: Option<PathBuf>,
        workers: usize,
        lock: Option<Lock>,
    ) -> Result<Arc<Self>, Error> {
        let runtime = Arc::new(Self {
            engines: Mutex::default(),
            cache,
            workers: workers.max(1),
            purpose: Purpose::Plugins,
            lock,
        });
        runtime.engine(STACK_BYTES_MAX)?;
        Ok(runtime)
    }

    /// For a process that runs programs, one after another, with code that was compiled elsewhere.
    pub fn of_worker() -> Arc<Self> {
        Arc::new(Self {
            engines: Mutex::default(),
            cache: None,
            workers: 1,
            purpose: Purpose::Programs,
            lock: None,
        })
    }

    /// The engine whose calls may use this much stack.
    ///
    /// # Errors
    /// The engine refuses its configuration on this machine.
    pub(super) fn engine(&self, stack_bytes: usize) -> Result<Engine, Error> {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&stack_bytes) {
            return Ok(engine.clone());
        }
        let pool = match self.purpose {
            Purpose::Plugins => {
                let workers = u32::try_from(self.workers).unwrap_or(u32::MAX);
                plugin_pool(INSTANCES_MIN.max(workers.saturating_mul(INSTANCES_PER_WORKER)))
            }
            Purpose::Programs => program_pool(),
        };
        let engine = Engine::new(&config(stack_bytes, Some(pool)))
            .or_else(|error| {
                // The pool reserves address space in advance, which a tight ulimit refuses.
                tracing::debug!(
                    "no pooling allocator ({error:#}): instances are allocated on demand"
                );
                Engine::new(&config(stack_bytes, None))
            })
            .map_err(|error| Error::Engine(format!("{error:#}")))?;
        engines.insert(stack_bytes, engine.clone());
        Ok(engine)
    }

    pub(super) fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// A linker with the whole of WASI 0.2, and nothing behind it. Components
    /// of every language import parts of it whether they use them or not.
    pub(super) fn linker(&self, engine: &Engine) -> wasmtime::Result<Linker<State>> {
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        // A sleep would be spent inside the host, where neither fuel nor the
        // clock ends it. Time stands still for guests, so it is over at once.
        linker.allow_shadowing(true);
        let mut clock = linker.instance(MONOTONIC_CLOCK)?;
        for wait in ["subscribe-duration", "subscribe-instant"] {
            clock.func_wrap(
                wait,
                |mut store: StoreContextMut<State>, (_when,): (u64,)| {
                    let table = &mut store.data_mut().table;
                    let over = table.push(Over)?;
                    Ok((wasmtime_wasi::p2::subscribe(table, over)?,))
                },
            )?;
        }
        linker.allow_shadowing(false);
        Ok(linker)
    }

    /// The component of these bytes, from the cache or compiled now.
    ///
    /// # Errors
    /// The bytes are no valid component.
    pub(super) fn compile(
        &self,
        engine: &Engine,
        bytes: &[u8],
        sha256: &str,
    ) -> wasmtime::Result<wasmtime::component::Component> {
        let Some(cache) = &self.cache else {
            return wasmtime::component::Component::new(engine, bytes);
        };
        let file = cache.join(compiled_name(engine, sha256));
        if let Some(component) = cached(engine, &file) {
            return Ok(component);
        }
        let component = wasmtime::component::Component::new(engine, bytes)?;
        if let Err(error) = store_private(cache, &file, &component.serialize()?) {
            tracing::debug!(
                "compiled component not cached in {}: {error}",
                cache.display()
            );
        }
        Ok(component)
    }
}

impl Runtime {
    /// A file with a component's compiled code, for another process: the cache's, or one that is
    /// written into `folder`, which is made for it.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn compiled_file(
        &self,
        engine: &Engine,
        compiled: &wasmtime::component::Component,
        sha256: &str,
        folder: &mut Option<tempfile::TempDir>,
    ) -> wasmtime::Result<PathBuf> {
        let name = compiled_name(engine, sha256);
        if let Some(file) = self.cache.as_ref().map(|cache| cache.join(&name))
            && file.parent().is_some_and(is_private)
            && file.is_file()
        {
            return Ok(file);
        }
        let folder = match folder {
            Some(folder) => folder,
            None => folder.insert(tempfile::tempdir()?),
        };
        let file = folder.path().join(name);
        std::fs::write(&file, compiled.serialize()?)?;
        Ok(file)
    }

    /// The component whose code another process of this binary has compiled.
    ///
    /// # Errors
    /// The file is not where only this user can write, or of another engine.
    pub(super) fn compiled_elsewhere(
        &self,
        engine: &Engine,
        file: &Path,
    ) -> wasmtime::Result<wasmtime::component::Component> {
        cached(engine, file)
            .ok_or_else(|| wasmtime::Error::msg(format!("{} is not usable", file.display())))
    }
}

/// The name of a component's compiled code: that of its bytes, for an engine that reads it.
fn compiled_name(engine: &Engine, sha256: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{sha256}-{:016x}.cwasm", hasher.finish())
}

#[allow(unsafe_code, reason = "deserialising compiled code has no safe form")]
fn cached(engine: &Engine, file: &Path) -> Option<wasmtime::component::Component> {
    if !is_private(file.parent()?) || !file.is_file() {
        return None;
    }
    // SAFETY: the file lies in a folder that only this user can write, under a
    // name made of the component's hash and the engine's, and was renamed there
    // whole by `store_private`.
    match unsafe { wasmtime::component::Component::deserialize_file(engine, file) } {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::debug!(
                "cached component {} is not usable: {error:#}",
                file.display()
            );
            None
        }
    }
}

fn config(stack_bytes: usize, pool: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // A seventh of a metric's time on an Intel Xeon, a quarter to a third on an AMD EPYC. It is
        // not the counting: the check at the head of each loop calls the host where fuel is out,
        // and what lives across the loop must survive that call. Costs of nothing for all
        // instructions save 2 %, epochs, whose check is of the same kind, 5 %; a compiler changed to
        // call the host so that all registers survive, a tenth at most.
        .consume_fuel(true)
        // An interpreter's memory, booted when it was built, is mapped and not copied.
        .memory_guaranteed_dense_image_size(IMAGE_BYTES_MAX)
        .max_wasm_stack(stack_bytes)
        // Not `compiler_inlining`: it saves 2 to 5 % of a metric's time. But to compile takes a
        // gigabyte of memory, and frames grow: an interpreter that recurses overflows its stack
        // before it counts to its own limit.
        .async_stack_size(stack_bytes + HOST_STACK_BYTES);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// Room for so many instances at once.
fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(4 * instances)
        .total_memories(instances)
        .total_tables(2 * instances)
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(4)
        .max_tables_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .max_memory_size(MEMORY_BYTES_SETTABLE)
        .table_elements(TABLE_ELEMENTS_SETTABLE);
    pool
}

/// Pages a metric has touched stay mapped for its next instance.
fn plugin_pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = pool(instances);
    pool.linear_memory_keep_resident(1 << 20);
    pool
}

/// A program lives in an instance, its judge in another, and the next ones are made ahead. What
/// a program has written is found by `PAGEMAP_SCAN`, where the kernel has it, and set back by
/// copying: that takes less time than faulting the pages in again (152 programs/s against 110).
fn program_pool() -> PoolingAllocationConfig {
    let mut pool = pool(INSTANCES_OF_PROGRAMS);
    pool.total_core_instances(INSTANCES_OF_PROGRAMS * CORE_INSTANCES_PER_COMPONENT_MAX)
        .total_tables(INSTANCES_OF_PROGRAMS * 4)
        .max_unused_warm_slots(INSTANCES_OF_PROGRAMS)
        .linear_memory_keep_resident(PROGRAM_RESIDENT_BYTES)
        .table_keep_resident(1 << 20)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Writes beside and renames, in a folder that nobody else can write.
fn store_private(folder: &Path, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    if !is_private(folder) {
        return Err(std::io::Error::other("others can write to the folder"));
    }
    crate::files::replace(file, bytes)
}

fn is_private(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(folder) = folder.metadata() else {
        return false;
    };
    // A file made by us belongs to our effective user: /proc/self does as well.
    let ours = std::fs::metadata("/proc/self").map_or(true, |us| us.uid() == folder.uid());
    folder.is_dir() && ours && folder.mode() & 0o022 == 0
}

/// Where compiled components are kept: `RLHF_CACHE`, or the user's cache folder.
pub fn cache_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("RLHF_CACHE")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| PathBuf::from(folder).join("rlhf")))
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache/rlhf")))
        .map(|folder| folder.join("components"))
}
