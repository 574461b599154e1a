//! Is denied memory, copes with that, and reports an error of its own: the verdict
//! is its error, not the memory.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) && core::arch::wasm32::memory_grow::<0>(8000) == usize::MAX {
            return Err(error("too-long", "needs more memory than it has"));
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
