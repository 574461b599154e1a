#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod codec;
pub mod columns;
pub mod encodings;
pub mod fault;
pub mod file;
pub mod integers;
pub mod metadata;
pub mod rows;
pub mod schema;
pub mod thrift;
pub mod value;

use rlhf_sdk::{AdapterDescriptor, DataAdapter, Error, ReadError, Row, Source};

use crate::rows::{Options, Rows};

/// The adapter as the host sees it.
#[derive(Debug)]
pub struct Parquet(Rows<Source>);

impl DataAdapter for Parquet {
    type Options = Options;

    fn describe() -> AdapterDescriptor {
        AdapterDescriptor::new(
            "parquet",
            env!("CARGO_PKG_VERSION"),
            "demonstrations, ratings, comparisons, evaluation tasks and predictions from Parquet",
        )
        .extensions(["parquet"])
    }

    fn open(source: Source, options: Options) -> Result<Self, Error> {
        Ok(Self(Rows::open(source, &options)?))
    }

    fn next(&mut self) -> Result<Option<Row>, ReadError> {
        self.0.read()
    }
}

rlhf_sdk::export_data_adapter!(Parquet);

#[cfg(test)]
mod tests {
    // Catches rows, row-errors and extras that changed: the files in `golden`
    // say what each expects.
    #[test]
    fn golden_files() {
        rlhf_sdk::testing::check_data_adapter::<super::Parquet>("golden");
    }
}
