//! Recurses as deep as the option `how` says, which takes a stack.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            std::hint::black_box(deeper(how().parse().unwrap_or(0)));
        }
        Ok(vec![0.5])
    }
}

export!(Raw);

/// Keeps everything on the stack of WebAssembly, and can't be made a loop.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    if depth == 0 {
        return 1;
    }
    deeper(depth - 1).wrapping_mul(3).rotate_left(7) ^ depth
}
