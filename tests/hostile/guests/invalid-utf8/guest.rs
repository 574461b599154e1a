//! Returns text that is no UTF-8.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            // SAFETY: it isn't safe, which is the point.
            let message = unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe, 0xc3]) };
            return Err(error("odd", message));
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
