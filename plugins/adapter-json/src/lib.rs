#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod elements;
pub mod rows;

use std::io::BufReader;

use rlhf_sdk::{AdapterDescriptor, DataAdapter, Error, ReadError, Row, Source};

use crate::rows::{Options, Rows};

/// The adapter as the host sees it.
#[derive(Debug)]
pub struct Json(Rows<BufReader<Source>>);

impl DataAdapter for Json {
    type Options = Options;

    fn describe() -> AdapterDescriptor {
        AdapterDescriptor::new(
            "json",
            env!("CARGO_PKG_VERSION"),
            "demonstrations, ratings, comparisons, evaluation tasks and predictions from JSON and JSON Lines",
        )
        .extensions(["json", "jsonl", "ndjson"])
    }

    fn open(source: Source, options: Options) -> Result<Self, Error> {
        Ok(Self(Rows::open(source.buffered(), options)?))
    }

    fn next(&mut self) -> Result<Option<Row>, ReadError> {
        self.0.read()
    }
}

rlhf_sdk::export_data_adapter!(Json);

#[cfg(test)]
mod tests {
    // Catches rows, row-errors, lines and extras that changed: the files in
    // `golden` say what each expects.
    #[test]
    fn golden_files() {
        rlhf_sdk::testing::check_data_adapter::<super::Json>("golden");
    }
}
