//! Panics with a message of 1 MB: the end of what fits into its output is shown.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            panic!("{}", "\u{1b}[31mred".repeat(1 << 17));
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
