//! Instances made ahead of need, and cleared away behind what ran in them.
//!
//! Where every program gets an instance of its own, making it and resetting its memory afterwards
//! take as long as a small program does. A process that waits for programs does both while nobody
//! waits for it. (On a second thread of the process they would slow the program down: threads
//! that change one address space at once wait for each other.)

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Failure;
use super::world::{Instance, Loaded, World};

/// Instances that are ready: a program takes one, a judged one two.
const READY: usize = 2;

pub(super) struct Ahead<W: World> {
    ready: Mutex<Vec<Instance<W>>>,
    used: Mutex<Vec<Instance<W>>>,
}

impl<W: World> Ahead<W> {
    pub fn new() -> Self {
        Self {
            ready: Mutex::default(),
            used: Mutex::default(),
        }
    }

    /// Clears away what was used, and makes what will be.
    ///
    /// # Errors
    /// What kept an instance from being made.
    pub fn prepare(&self, loaded: &Loaded<W>) -> Result<(), Failure> {
        // A judge holds its candidate, which is left here as well once the judge is gone.
        loop {
            let used = std::mem::take(&mut *held(&self.used));
            if used.is_empty() {
                break;
            }
            drop(used);
        }
        let mut ready = held(&self.ready);
        while ready.len() < READY {
            ready.push(loaded.configured()?);
        }
        Ok(())
    }

    /// An instance that nobody has used.
    pub fn take(&self, loaded: &Loaded<W>) -> Result<Instance<W>, Failure> {
        let ready = held(&self.ready).pop();
        ready.map_or_else(|| loaded.configured(), Ok)
    }

    /// Leaves an instance to be cleared away, unless many wait for that already.
    pub fn leave(&self, instance: Instance<W>) {
        let mut used = held(&self.used);
        if used.len() < READY {
            used.push(instance);
        }
    }
}

fn held<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
