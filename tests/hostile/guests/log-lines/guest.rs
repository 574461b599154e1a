//! Writes as many log lines as the option `how` says.

#[path = "../honest.rs"]
mod honest;

use honest::*;
use rlhf_sdk::__private::bindings::host::rlhf::plugin::log::{self, write};

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            for line in 0..how().parse().unwrap_or(0) {
                write(
                    log::Level::Warning,
                    &format!("line {line} \u{1b}[31m {}", "x".repeat(4096)),
                );
            }
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
