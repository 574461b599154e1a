//! Writes text that could rewrite a terminal, bytes that are no text, and more
//! than is shown; then traps.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            use std::io::Write;
            let mut stderr = std::io::stderr();
            let _ = stderr.write_all(&[b'x'; 8 << 10]);
            let _ = stderr.write_all(b"\x1b[2J\x1b]0;owned\x07\r\xff\xfe\0");
            core::arch::wasm32::unreachable();
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
