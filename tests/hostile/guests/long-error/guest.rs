//! Reports an error of its own whose message has 10 MB and whose text could
//! rewrite a terminal.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        if is_bad(sample) {
            let message = format!("\u{1b}[2Jcleared\r\n{}", "x".repeat(10 << 20));
            return Err(error("\u{1b}[31mred", message));
        }
        Ok(vec![0.5])
    }
}

export!(Raw);
