//! Returns a million errors whose texts are all the same 64 KiB of memory: 64 GB
//! for a host that copies each.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn measure(samples: Vec<Sample>) -> Vec<Result<Vec<f64>, Error>> {
        if !samples.iter().any(is_bad) {
            return samples.iter().map(Self::statistics).collect();
        }
        let length = 64 << 10;
        let text = vec![b'x'; length].leak().as_mut_ptr();
        let alias = |text: *mut u8| {
            // SAFETY: it isn't safe: what is there once is given away again and
            // again. The host copies it and never comes to freeing it.
            unsafe { String::from_raw_parts(text, length, length) }
        };
        (0..1_000_000)
            .map(|_| Err(error("", alias(text))))
            .collect()
    }
}

export!(Raw);
