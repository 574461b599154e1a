//! Lines of a prompt, a tab and a response into demonstrations. A line without
//! a tab is a row error of the field `response`; with two tabs it is a
//! comparison: prompt, chosen, rejected.
//!
//! A line `@NAME` reads the file NAME of the granted folder into the response
//! of a demonstration whose prompt is NAME. Writes `kept data-adapter opened N
//! bytes` to the log. Imports `log`, `source` and `folder`.

use std::io::{BufRead, BufReader, Read};

use rlhf_sdk::{
    AdapterDescriptor, Content, DataAdapter, Error, NoOptions, Origin, ReadError, Row, RowError,
    Source, host,
};

struct Kept {
    source: BufReader<Source>,
    row: u64,
}

impl DataAdapter for Kept {
    type Options = NoOptions;

    fn describe() -> AdapterDescriptor {
        AdapterDescriptor::new("kept", "1.0.0", "prompt, tab, response").extensions(["kept"])
    }

    fn open(source: Source, _: NoOptions) -> Result<Self, Error> {
        host::log::info(format_args!(
            "kept data-adapter opened {} bytes",
            source.size()
        ));
        Ok(Self {
            source: source.buffered(),
            row: 0,
        })
    }

    fn next(&mut self) -> Result<Option<Row>, ReadError> {
        let mut line = String::new();
        if self.source.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        self.row += 1;
        let origin = Origin {
            line: self.row,
            row: self.row,
        };
        let line = line.trim_end_matches('\n');
        let columns: Vec<&str> = line.split('\t').collect();
        let content = match columns.as_slice() {
            [name] if name.starts_with('@') => {
                let name = &name[1..];
                let mut response = String::new();
                host::folder()?.open(name)?.read_to_string(&mut response)?;
                Content::Demonstration {
                    prompt: name.to_owned(),
                    response,
                }
            }
            [prompt, response] => Content::Demonstration {
                prompt: (*prompt).to_owned(),
                response: (*response).to_owned(),
            },
            [prompt, chosen, rejected] => Content::Comparison {
                prompt: (*prompt).to_owned(),
                chosen: (*chosen).to_owned(),
                rejected: (*rejected).to_owned(),
            },
            columns => {
                return Err(ReadError::Row(RowError {
                    origin,
                    field: "response".to_owned(),
                    message: format!("expected 2 or 3 columns, found {}", columns.len()),
                }));
            }
        };
        Ok(Some(Row {
            origin,
            content,
            extra: vec![("bytes".to_owned(), line.len().to_string())],
        }))
    }
}

rlhf_sdk::export_data_adapter!(Kept);
