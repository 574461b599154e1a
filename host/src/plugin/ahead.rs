//! Instances made ahead of need, and cleared away behind what ran in them.
//!
//! Where every program gets an instance of its own, making it and resetting its memory afterwards
//! take as long as a small program does. A second thread does both, so that they cost a program
//! nothing as long as there is a core for that thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Failure;
use super::instance::spawn_on_stack;
use super::world::{Instance, Loaded, World};

/// Instances that wait: a program takes one, a judged one two.
const READY: usize = 2;

/// The thread's side and its users'.
pub(super) struct Ahead<W: World> {
    queue: Mutex<Queue<W>>,
    changed: Condvar,
}

struct Queue<W: World> {
    ready: VecDeque<Instance<W>>,
    used: Vec<Instance<W>>,
    /// Whether nobody makes instances any more.
    over: bool,
}

impl<W: World> Ahead<W> {
    /// Starts the thread, which ends only where an instance can't be made.
    pub fn start(loaded: Arc<Loaded<W>>) -> Arc<Self> {
        let ahead = Arc::new(Self {
            queue: Mutex::new(Queue {
                ready: VecDeque::new(),
                used: Vec::new(),
                over: false,
            }),
            changed: Condvar::new(),
        });
        let stack_bytes = loaded.limits.stack_bytes_max;
        let shared = Arc::clone(&ahead);
        spawn_on_stack(stack_bytes, move || {
            let _over = Over(&shared);
            shared.work(&loaded);
        });
        ahead
    }

    /// An instance that nobody has used. If it can't be made ahead, why shows here.
    pub fn take(&self, loaded: &Loaded<W>) -> Result<Instance<W>, Failure> {
        let mut queue = self.queue();
        while queue.ready.is_empty() && !queue.over {
            queue = self.wait(queue);
        }
        let ready = queue.ready.pop_front();
        drop(queue);
        self.changed.notify_all();
        ready.map_or_else(|| loaded.configured(), Ok)
    }

    /// Has an instance cleared away.
    pub fn clear(&self, instance: Instance<W>) {
        let mut queue = self.queue();
        if !queue.over {
            queue.used.push(instance);
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn work(&self, loaded: &Loaded<W>) {
        loop {
            let mut queue = self.queue();
            // Somebody may wait for an instance, nobody waits for memory to be cleared; but what
            // a program has taken should not stay with an idle process.
            while queue.ready.len() >= READY && queue.used.is_empty() {
                queue = self.wait(queue);
            }
            let used = match queue.ready.is_empty() {
                true => None,
                false => queue.used.pop(),
            };
            drop(queue);
            if used.is_some() {
                drop(used);
                continue;
            }
            match loaded.configured() {
                Ok(instance) => {
                    self.queue().ready.push_back(instance);
                    self.changed.notify_all();
                }
                Err(failure) => {
                    tracing::debug!("no instance ahead of need: {failure}");
                    return;
                }
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue<W>>) -> MutexGuard<'a, Queue<W>> {
        let waited = self.changed.wait(queue);
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells those who wait that the thread has ended, however it did.
struct Over<'a, W: World>(&'a Ahead<W>);

impl<W: World> Drop for Over<'_, W> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.over = true;
        queue.used.clear();
        drop(queue);
        self.0.changed.notify_all();
    }
}
