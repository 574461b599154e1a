//! A data adapter that misbehaves on a file whose content is `bad`; of others
//! it makes one row.
//!
//! Written against the bindings, since the SDK would notice first.

use std::sync::Mutex;

use rlhf_sdk::__private::bindings::data_adapter::exports::rlhf::plugin::data_adapter::{
    Content, Demonstration, Descriptor, Guest, Origin, Row, RowError,
};
use rlhf_sdk::__private::bindings::host::rlhf::plugin::source::Source;
use rlhf_sdk::__private::bindings::host::rlhf::plugin::types::Error;

struct Raw;

/// What to do in `next`: one honest row, then the end, or how to misbehave.
static NEXT: Mutex<String> = Mutex::new(String::new());

fn row() -> Result<Row, RowError> {
    let demonstration = Demonstration {
        prompt: "prompt".into(),
        response: "response".into(),
    };
    Ok(Row {
        origin: Origin { line: 1, row: 1 },
        content: Content::Demonstration(demonstration),
        extra: Vec::new(),
    })
}

fn error(code: &str, message: String) -> Error {
    Error {
        code: code.into(),
        message,
    }
}

impl Guest for Raw {
    fn describe() -> Descriptor {
        Descriptor {
            name: "adapter-lies".into(),
            version: "0.1.0".into(),
            summary: String::new(),
            extensions: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn open(source: Source, options: String) -> Result<(), Error> {
        let options: serde_json::Value = serde_json::from_str(&options).unwrap();
        let how = options["how"].as_str().unwrap_or_default();
        let content = source.read(u32::MAX).unwrap();
        *NEXT.lock().unwrap() = "row".into();
        if content != b"bad" {
            return Ok(());
        }
        match how {
            "far" => {
                // Behind the end there is nothing, however far.
                let far =
                    [u64::MAX, i64::MAX as u64 + 1, i64::MAX as u64, 4].map(|offset| match source
                        .read_at(offset, u32::MAX)
                    {
                        Ok(bytes) => bytes.len().to_string(),
                        Err(message) => message,
                    });
                return Err(error("far", far.join(", ")));
            }
            "empty" => loop {
                if source.read(0) != Ok(Vec::new()) {
                    panic!("bytes");
                }
            },
            "drop-twice" => {
                // SAFETY: it isn't safe: the handle is given back here, and again below.
                drop(unsafe { Source::from_handle(source.handle()) });
            }
            "made-up" => {
                // SAFETY: it isn't safe: nobody gave this handle.
                let made_up = unsafe { Source::from_handle(12345) };
                return Err(error("made-up", made_up.size().to_string()));
            }
            how => *NEXT.lock().unwrap() = how.into(),
        }
        Ok(())
    }

    fn next(max: u32) -> Result<Vec<Result<Row, RowError>>, Error> {
        let mut next = NEXT.lock().unwrap();
        match next.as_str() {
            "row" => {
                next.clear();
                Ok(vec![row()])
            }
            "more" => Ok((0..=max).map(|_| row()).collect()),
            "endless" => Ok((0..max).map(|_| row()).collect()),
            "error" => Err(error("broken", "\u{1b}[2J".repeat(1 << 20))),
            "trap" => core::arch::wasm32::unreachable(),
            _ => Ok(Vec::new()),
        }
    }
}

rlhf_sdk::__private::bindings::data_adapter::export!(Raw);
