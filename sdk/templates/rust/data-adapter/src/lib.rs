//! The data adapter as the host sees it; the format is read in `tsv.rs`.

pub mod tsv;

use std::io::BufReader;

use rlhf_sdk::{
    AdapterDescriptor, Content, DataAdapter, Error, NoOptions, Origin, ReadError, Row, RowError,
    Source,
};

use tsv::{Fault, Pairs};

/// Demonstrations from lines `prompt<TAB>response`.
pub struct Tsv {
    pairs: Pairs<BufReader<Source>>,
    /// How many lines with data have been read, bad ones included.
    rows: u64,
}

impl DataAdapter for Tsv {
    type Options = NoOptions;

    fn describe() -> AdapterDescriptor {
        let summary = "demonstrations from lines of prompt, tab, response";
        AdapterDescriptor::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
            .extensions(["tsv"])
    }

    fn open(source: Source, _: NoOptions) -> Result<Self, Error> {
        // The source is read piece by piece: a file may be larger than the memory.
        Ok(Self {
            pairs: Pairs::new(source.buffered()),
            rows: 0,
        })
    }

    fn next(&mut self) -> Result<Option<Row>, ReadError> {
        let Some((line, pair)) = self.pairs.read()? else {
            return Ok(None);
        };
        self.rows += 1;
        let origin = Origin {
            line,
            row: self.rows,
        };
        match pair {
            Ok((prompt, response)) => Ok(Some(Row {
                origin,
                content: Content::Demonstration { prompt, response },
                extra: Vec::new(),
            })),
            Err(Fault { field, message }) => Err(ReadError::Row(RowError {
                origin,
                field: field.to_owned(),
                message,
            })),
        }
    }
}

rlhf_sdk::export_data_adapter!(Tsv);

#[cfg(test)]
mod tests {
    // Catches rows, row-errors and lines that changed: the files in `golden`
    // say what each expects.
    #[test]
    fn golden_files() {
        rlhf_sdk::testing::check_data_adapter::<super::Tsv>("golden");
    }
}
