//! Returns more statistics than it announced, or fewer, or ten million.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        let length = match (is_bad(sample), how().as_str()) {
            (false, _) => 1,
            (true, "none") => 0,
            (true, "millions") => 10_000_000,
            (true, _) => 2,
        };
        Ok(vec![0.5; length])
    }
}

export!(Raw);
