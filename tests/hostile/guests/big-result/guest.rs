//! Hands over 1 MB with a sample that needs none of it.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            return Err(error("large", "x".repeat(1 << 20)));
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
