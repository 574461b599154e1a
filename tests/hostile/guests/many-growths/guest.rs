//! Takes memory in small steps, 64 KiB at a time, and goes on when it gets none:
//! the host must remember that it was denied.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            let mut pages = 0;
            while core::arch::wasm32::memory_grow::<0>(1) != usize::MAX {
                pages += 1;
                if pages == 800 {
                    // 50 MiB are enough for everybody.
                    return Ok(vec![0.5]);
                }
            }
            panic!("{pages} pages");
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
