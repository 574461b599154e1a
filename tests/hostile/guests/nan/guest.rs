//! Returns statistics that are no numbers.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        let value = match (is_bad(sample), how().as_str()) {
            (false, _) => 0.5,
            (true, "infinite") => f64::INFINITY,
            (true, "minus-infinite") => f64::NEG_INFINITY,
            (true, _) => f64::NAN,
        };
        Ok(vec![value])
    }
}

export!(Raw);
