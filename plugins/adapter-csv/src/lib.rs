#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod csv;
pub mod rows;

use std::io::BufReader;

use rlhf_sdk::{AdapterDescriptor, DataAdapter, Error, ReadError, Row, Source};

use crate::rows::{Options, Rows};

/// The adapter as the host sees it.
#[derive(Debug)]
pub struct Csv(Rows<BufReader<Source>>);

impl DataAdapter for Csv {
    type Options = Options;

    fn describe() -> AdapterDescriptor {
        AdapterDescriptor::new(
            "csv",
            env!("CARGO_PKG_VERSION"),
            "demonstrations, ratings, comparisons, evaluation tasks and predictions from CSV",
        )
        .extensions(["csv"])
    }

    fn open(source: Source, options: Options) -> Result<Self, Error> {
        Ok(Self(Rows::open(source.buffered(), &options)?))
    }

    fn next(&mut self) -> Result<Option<Row>, ReadError> {
        self.0.read()
    }
}

rlhf_sdk::export_data_adapter!(Csv);

#[cfg(test)]
mod tests {
    // Catches rows, row-errors, lines and extras that changed: the files in
    // `golden` say what each expects.
    #[test]
    fn golden_files() {
        rlhf_sdk::testing::check_data_adapter::<super::Csv>("golden");
    }
}
