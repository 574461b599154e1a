//! Asks for as many embeddings as the option `how` says, and never gives them back.

#[path = "../honest.rs"]
mod honest;

use honest::*;
use rlhf_sdk::__private::bindings::host::rlhf::plugin::encoder;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            let texts = vec!["text".to_owned(); how().parse().unwrap_or(0)];
            std::mem::forget(encoder::encode(&texts)?);
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
