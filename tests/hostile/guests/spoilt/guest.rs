//! Remembers that it has failed: a host that goes on with the same instance gets
//! another score for the next sample.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            SPOILT.store(true, std::sync::atomic::Ordering::Relaxed);
            panic!("spoilt");
        }
        let spoilt = SPOILT.load(std::sync::atomic::Ordering::Relaxed);
        Ok(vec![if spoilt { 0.9 } else { 0.5 }])
    }
}

export!(Raw);

static SPOILT: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
