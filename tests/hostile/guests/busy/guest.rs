//! Counts to the number that the option `how` says, and is done.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            for turn in 0..how().parse().unwrap_or(0_u64) {
                std::hint::black_box(turn);
            }
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
