//! Calls the host while the host is writing arguments into it, and while the host
//! lets it clean up a result: both from its allocator.

#[path = "../honest.rs"]
mod honest;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use honest::{Behaviour, Error, Sample, export, how, is_bad, remember};
use rlhf_sdk::__private::bindings::host::rlhf::plugin::log::{Level, write};

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) && how() == "post-return" {
            CLEANING_UP.store(true, Relaxed);
        }
        Ok(vec![0.5])
    }

    fn configure(options: String) -> Result<(), Error> {
        remember(options);
        ARGUMENTS.store(how() == "realloc", Relaxed);
        Ok(())
    }
}

export!(Raw);

static ARGUMENTS: AtomicBool = AtomicBool::new(false);
static CLEANING_UP: AtomicBool = AtomicBool::new(false);

struct Calling;

// SAFETY: all memory comes from the system's allocator.
unsafe impl GlobalAlloc for Calling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The length of `bad`, and of nothing else in a sample.
        if layout.size() == "bad".len() && ARGUMENTS.load(Relaxed) {
            write(Level::Error, "let me out");
        }
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // Statistics are freed after the return.
        if layout == Layout::new::<f64>() && CLEANING_UP.load(Relaxed) {
            write(Level::Error, "let me out");
        }
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Calling = Calling;
