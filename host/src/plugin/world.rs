//! What the four worlds have in common: linking, instances, guarded batches.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use wasmtime::component::{InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::bindings::v0_1::types;
use super::bindings::{Line, v0_1};
use super::discovery::Spec;
use super::failure::Failure;
use super::host::encoder::Frequencies;
use super::host::{Encoder, Granted, Services};
use super::instance::{Budget, State, guarded, store};
use super::{Component, Error, Kind, Limits, grants};

/// Items of one guest call. Large enough to hide the cost of the call
/// (a few µs), small enough to share a batch among workers.
pub(super) const ITEMS_PER_CALL_MAX: usize = 64;
/// Below this many samples threads cost more than they save.
const SAMPLES_FOR_THREADS: usize = 8;

/// A world as its bindings were generated; implemented beside them.
pub(super) trait World: Sized + Send + Sync + 'static {
    const KIND: Kind;
    type Pre: Send + Sync;
    /// What a plugin says about itself, in our own terms.
    type Descriptor: Send;

    /// Puts what the world may import into a linker.
    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()>;

    fn prepare(pre: InstancePre<State>) -> wasmtime::Result<Self::Pre>;

    async fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self>;

    /// What it says about itself; the inner error: what it says can't be.
    async fn describe(
        &self,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Result<Self::Descriptor, Failure>>;

    /// Options as one JSON object. Data adapters get theirs when they open a source.
    async fn configure(
        &self,
        store: &mut Store<State>,
        options: &str,
    ) -> wasmtime::Result<Result<(), types::Error>>;
}

/// A component of one world, linked and ready to be instantiated.
pub(super) struct Loaded<W: World> {
    pub component: Component,
    pub limits: Limits,
    /// One JSON object.
    pub options: String,
    /// For log lines.
    label: Arc<str>,
    engine: Engine,
    granted: Granted,
    /// What the encoder learned of the set in work.
    frequencies: Mutex<Option<Arc<Frequencies>>>,
    pre: W::Pre,
    /// Configured instances waiting for work; one a worker at most.
    idle: Mutex<Vec<Instance<W>>>,
    usage: Usage,
}

/// What became of an item, and its share of the calls that it was in: a plugin that uses the
/// sandbox is called for each item alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed<R> {
    pub result: Result<R, Failure>,
    pub seconds: f64,
}

/// An instance and its store.
pub(super) struct Instance<W> {
    pub store: Store<State>,
    pub world: W,
}

/// What the guest calls of a plugin have used.
#[derive(Default)]
struct Usage {
    fuel: AtomicU64,
    memory_bytes: AtomicUsize,
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What the calls of a plugin have used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Fuel of all calls that ended well.
    pub fuel: u64,
    /// Largest memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Guest calls, failed ones included.
    pub calls: u64,
    /// Wall time of all calls, summed over the threads that made them; what a call waited for in
    /// the host (an encoder, a program in the sandbox) is included.
    pub nanoseconds: u64,
}

impl<W: World> Loaded<W> {
    /// Checks a component's kind and grants and links it. Nothing of it is run.
    ///
    /// # Errors
    /// It is of another kind, asks for what it was not granted, or doesn't fit the world.
    pub fn new(component: Component, spec: &Spec, services: &Services) -> Result<Self, Error> {
        component.expect(W::KIND)?;
        let mut grants = grants::first_party(&component);
        grants.extend(spec.grants.iter().cloned());
        let granted = grants::check(&component, &grants, services)?;
        let (engine, compiled) = component.for_stack(spec.limits.stack_bytes_max)?;
        // One line so far; a second one would choose its bindings here.
        let Line::V0_1 = component.line;
        let pre = component
            .runtime
            .linker(&engine)
            .and_then(|mut linker| {
                W::link(&mut linker)?;
                W::prepare(linker.instantiate_pre(&compiled)?)
            })
            .map_err(|error| Error::NotAPlugin {
                plugin: component.label(),
                problem: format!("does not fit the {} world: {error:#}", W::KIND),
                hint: if component.wit_version == v0_1::VERSION {
                    format!(
                        "`rlhf plugin inspect {}` shows what it imports and exports",
                        component.label()
                    )
                } else {
                    format!(
                        "it was built against rlhf:plugin@{}, this host offers {}; update rlhf, or rebuild the plugin",
                        component.wit_version,
                        v0_1::VERSION
                    )
                },
            })?;
        Ok(Self {
            limits: spec.limits.clone(),
            options: spec.config.clone(),
            label: spec
                .name
                .clone()
                .unwrap_or_else(|| stem(&component.path))
                .into(),
            engine,
            granted,
            frequencies: Mutex::default(),
            pre,
            idle: Mutex::default(),
            usage: Usage::default(),
            component,
        })
    }

    /// Loads a component, gives an instance its options and asks it to describe itself.
    ///
    /// # Errors
    /// Those of [`Loaded::new`], and what went wrong in the instance, by the call.
    pub fn ready(
        component: Component,
        spec: &Spec,
        services: &Services,
    ) -> Result<(Self, Instance<W>, W::Descriptor), Error> {
        let loaded = Self::new(component, spec, services)?;
        let mut instance = loaded.start().map_err(loaded.failed("start"))?;
        loaded
            .configure(&mut instance)
            .map_err(loaded.failed("configure"))?;
        let descriptor = loaded
            .describe(&mut instance)
            .map_err(loaded.failed("describe"))?;
        Ok((loaded, instance, descriptor))
    }

    fn describe(&self, instance: &mut Instance<W>) -> Result<W::Descriptor, Failure> {
        let budget = Budget::for_call(&self.limits);
        self.call(instance, budget, async |world, store| {
            world.describe(store).await
        })?
    }

    /// What a new instance that has no options yet says about itself.
    pub fn describe_unconfigured(&self) -> Result<W::Descriptor, Failure> {
        self.describe(&mut self.start()?)
    }

    /// What its calls have used so far.
    pub fn used(&self) -> Used {
        Used {
            fuel: self.usage.fuel.load(Ordering::Relaxed),
            memory_bytes: self.usage.memory_bytes.load(Ordering::Relaxed),
            calls: self.usage.calls.load(Ordering::Relaxed),
            nanoseconds: self.usage.nanoseconds.load(Ordering::Relaxed),
        }
    }

    /// For the calls that come before any sample: an error that names the call.
    fn failed(&self, call: &'static str) -> impl Fn(Failure) -> Error {
        let plugin = self.component.label();
        move |failure| Error::Call {
            plugin: plugin.clone(),
            call,
            failure,
        }
    }

    /// The encoder it was granted.
    pub fn encoder(&self) -> Option<&dyn Encoder> {
        self.granted.encoder.as_deref()
    }

    /// What the encoder learned of the set in work; later calls find it there.
    pub fn frequencies(&self) -> std::sync::MutexGuard<'_, Option<Arc<Frequencies>>> {
        let held = self.frequencies.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }

    /// A new instance that nobody has configured.
    pub fn start(&self) -> Result<Instance<W>, Failure> {
        let budget = Budget::for_call(&self.limits);
        let label = Arc::clone(&self.label);
        let mut store = store(
            &self.engine,
            label,
            &self.limits,
            self.granted.clone(),
            budget,
        )
        .map_err(|error| Failure::of_host(&error))?;
        let world = guarded(&mut store, &self.limits, budget, async |store| {
            W::instantiate(&self.pre, store).await
        })?;
        Ok(Instance { store, world })
    }

    /// Gives an instance the plugin's options.
    fn configure(&self, instance: &mut Instance<W>) -> Result<(), Failure> {
        let budget = Budget::for_call(&self.limits);
        self.call(instance, budget, async |world, store| {
            world.configure(store, &self.options).await
        })?
        .map_err(v0_1::failure)
    }

    /// A new instance with the plugin's options.
    pub fn configured(&self) -> Result<Instance<W>, Failure> {
        let mut instance = self.start()?;
        self.configure(&mut instance)?;
        Ok(instance)
    }

    /// One guest call under a budget. After a failure the instance must not be used again.
    pub fn call<T>(
        &self,
        instance: &mut Instance<W>,
        budget: Budget,
        call: impl AsyncFnOnce(&W, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let Instance { store, world } = instance;
        store.data_mut().granted.of_corpus = self.frequencies().clone();
        let start = Instant::now();
        let result = guarded(store, &self.limits, budget, async |store| {
            call(world, store).await
        });
        let taken = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.usage.calls.fetch_add(1, Ordering::Relaxed);
        self.usage.nanoseconds.fetch_add(taken, Ordering::Relaxed);
        let result = result?;
        let used = budget.fuel - store.get_fuel().unwrap_or(budget.fuel);
        self.usage.fuel.fetch_add(used, Ordering::Relaxed);
        let memory = store.data().limiter.memory_bytes();
        self.usage.memory_bytes.fetch_max(memory, Ordering::Relaxed);
        Ok(result)
    }

    /// One guest call in an idle instance, and in a new one if there is none or
    /// it fails there. An instance waits for more work only if its call ended well.
    pub fn reuse<T>(
        &self,
        budget: Budget,
        call: impl AsyncFn(&W, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let idle = self.take_idle();
        if let Some(instance) = idle
            && let Ok(result) = self.call_and_keep(instance, budget, &call)
        {
            return Ok(result);
        }
        // What earlier calls left behind in an instance must not decide.
        let fresh = || self.call_and_keep(self.configured()?, budget, &call);
        let result = fresh();
        // Running out of wall time is trouble of the machine: try once more.
        if matches!(result, Err(Failure::OutOfTime { .. })) {
            return fresh();
        }
        result
    }

    /// One guest call in whatever instance there is, for callers that try again themselves.
    fn once<T>(
        &self,
        budget: Budget,
        call: impl AsyncFn(&W, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let idle = self.take_idle();
        let instance = match idle {
            Some(instance) => instance,
            None => self.configured()?,
        };
        self.call_and_keep(instance, budget, call)
    }

    fn call_and_keep<T>(
        &self,
        mut instance: Instance<W>,
        budget: Budget,
        call: impl AsyncFn(&W, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let result = self.call(&mut instance, budget, call)?;
        self.keep(instance);
        Ok(result)
    }

    /// Hands over a configured instance to later calls, if it gave back what it held.
    pub fn keep(&self, instance: Instance<W>) {
        if !instance.store.data().granted.leaked {
            self.idle().push(instance);
        }
    }

    /// Makes configured instances until so many wait.
    pub fn keep_ready(&self, count: usize) -> Result<(), Failure> {
        while self.idle().len() < count {
            self.keep(self.configured()?);
        }
        Ok(())
    }

    /// A configured instance that waits, if there is one.
    pub fn take_idle(&self) -> Option<Instance<W>> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Instance<W>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples of one call. A program in the sandbox takes so long that its call does not count:
    /// with one sample a call, each has its own time, and workers share what is slow.
    pub fn samples_per_call(&self) -> usize {
        match self.granted.sandbox {
            Some(_) => 1,
            None => ITEMS_PER_CALL_MAX,
        }
    }

    /// A result for each item, in their order, from calls of up to `items_max` items each,
    /// in parallel.
    ///
    /// An item's outcome depends on the item alone: a batch has the fuel of one
    /// item, and where it fails its halves are tried, down to single items, of
    /// which none is out of a limit or trapped but in a fresh instance.
    ///
    /// `finish` checks what the guest gave for an item, in the worker as well.
    pub fn batch<I: Sync, O, R: Send>(
        &self,
        items: &[I],
        items_max: usize,
        call: impl AsyncFn(&W, &mut Store<State>, &[I]) -> wasmtime::Result<Vec<O>> + Sync,
        finish: impl Fn(&I, O) -> Result<R, Failure> + Sync,
    ) -> Vec<Timed<R>> {
        let workers = self.component.runtime.workers();
        let chunk = items.len().div_ceil(workers * 4).clamp(1, items_max);
        let for_threads = SAMPLES_FOR_THREADS.min(items_max + 1);
        if workers == 1 || items.len() < for_threads {
            return items
                .chunks(items_max)
                .flat_map(|chunk| self.chunk(chunk, &call, &finish))
                .collect();
        }
        let chunks: Vec<&[I]> = items.chunks(chunk).collect();
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Vec<Timed<R>>>> = chunks.iter().map(|_| Mutex::default()).collect();
        let work = || {
            while let Some(at) =
                Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < chunks.len())
            {
                let done = self.chunk(chunks[at], &call, &finish);
                *results[at].lock().unwrap_or_else(PoisonError::into_inner) = done;
            }
        };
        // Threads of their own, beside this one: a guest that waits inside a
        // rayon job could steal another job and deadlock.
        std::thread::scope(|scope| {
            for _ in 1..workers.min(chunks.len()) {
                scope.spawn(work);
            }
            work();
        });
        results
            .into_iter()
            .flat_map(|chunk| chunk.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    fn chunk<I, O, R>(
        &self,
        items: &[I],
        call: &impl AsyncFn(&W, &mut Store<State>, &[I]) -> wasmtime::Result<Vec<O>>,
        finish: &impl Fn(&I, O) -> Result<R, Failure>,
    ) -> Vec<Timed<R>> {
        let start = Instant::now();
        let budget = Budget::for_batch(&self.limits, items.len());
        let call_with = async |world: &W, store: &mut Store<State>| call(world, store, items).await;
        let results = match items.len() {
            1 => self.reuse(budget, call_with),
            _ => self.once(budget, call_with),
        };
        let results = results.and_then(|results| {
            if results.len() == items.len() {
                return Ok(results);
            }
            // It can't be trusted with more.
            self.idle().clear();
            Err(Failure::BadResult {
                message: format!("{} results for {} items", results.len(), items.len()),
            })
        });
        let seconds = start.elapsed().as_secs_f64() / items.len().max(1) as f64;
        let timed = |result| Timed { result, seconds };
        match results {
            Ok(results) => items
                .iter()
                .zip(results)
                .map(|(item, result)| timed(finish(item, result)))
                .collect(),
            Err(failure) if items.len() == 1 => vec![timed(Err(failure))],
            Err(_) => {
                let (first, second) = items.split_at(items.len() / 2);
                let mut results = self.chunk(first, call, finish);
                results.extend(self.chunk(second, call, finish));
                for result in &mut results {
                    result.seconds += seconds;
                }
                results
            }
        }
    }
}

/// A plugin's name before it has told its own.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(
        || path.display().to_string(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}
