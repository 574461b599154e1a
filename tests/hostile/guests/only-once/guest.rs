//! Serves one call an instance and traps at the next, whatever the sample: what an
//! instance remembers must not decide about a sample.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn measure(samples: Vec<Sample>) -> Vec<Result<Vec<f64>, Error>> {
        if SERVED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            panic!("once is enough");
        }
        samples.iter().map(Self::statistics).collect()
    }
}

export!(Raw);

static SERVED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
