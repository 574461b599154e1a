//! Traps in the ways that WebAssembly knows.

#[path = "../honest.rs"]
mod honest;

use std::hint::black_box;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            trap(&how());
        }
        Ok(vec![0.5])
    }
}

export!(Raw);

fn trap(how: &str) {
    // SAFETY: none of this is safe; each becomes the instruction that traps.
    unsafe {
        match how {
            "unreachable" => core::arch::wasm32::unreachable(),
            "divide" => {
                black_box(divide(1, black_box(0)));
            }
            "overflow" => {
                black_box(divide(i32::MIN, black_box(-1)));
            }
            "out-of-bounds" => {
                let end = black_box(usize::MAX - 7) as *const u8;
                black_box(end.read_volatile());
            }
            "null-function" => {
                let function: extern "C" fn() = std::mem::transmute(black_box(usize::MAX));
                function();
            }
            other => panic!("no trap `{other}`"),
        }
    }
}

/// Without the checks that Rust makes.
#[inline(never)]
unsafe fn divide(a: i32, b: i32) -> i32 {
    // SAFETY: a lie, so that the instruction has to find out.
    unsafe {
        if b == 0 || (a == i32::MIN && b == -1) {
            std::hint::unreachable_unchecked();
        }
        a / b
    }
}
