//! Does what it should: what the other guests are compared with.

#[path = "../honest.rs"]
mod honest;

use honest::*;

struct Raw;

impl Behaviour for Raw {}

export!(Raw);
