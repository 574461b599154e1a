//! Returns fewer results than there were samples, or more.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn measure(samples: Vec<Sample>) -> Vec<Result<Vec<f64>, Error>> {
        let results = |sample: &Sample| match (is_bad(sample), how().as_str()) {
            (false, _) => 1,
            (true, "more") => 2,
            (true, _) => 0,
        };
        samples
            .iter()
            .flat_map(|sample| vec![Ok(vec![0.5]); results(sample)])
            .collect()
    }
}

export!(Raw);
