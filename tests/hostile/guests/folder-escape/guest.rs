//! A data adapter that looks for a way out of the folder it was granted, when it
//! is given the file `bad`.

use rlhf_sdk::__private::bindings::data_adapter::exports::rlhf::plugin::data_adapter::{
    Content, Demonstration, Descriptor, Guest, Origin, Row, RowError,
};
use rlhf_sdk::__private::bindings::host::rlhf::plugin::folder;
use rlhf_sdk::__private::bindings::host::rlhf::plugin::source::Source;
use rlhf_sdk::__private::bindings::host::rlhf::plugin::types::Error;

/// No file inside the folder has these names.
const OUTSIDE: [&str; 17] = [
    "../secret",
    "below/../../secret",
    "./../secret",
    "..",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "/proc/self/environ",
    "/proc/self/fd/0",
    "/proc/self/root/etc/passwd",
    "link",
    "absolute-link",
    "folder-link/secret",
    "folder-link",
    "below/../folder-link/secret",
    "inside/../../secret",
    "inside\0",
];

struct Raw;

static ENDED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl Guest for Raw {
    fn describe() -> Descriptor {
        Descriptor {
            name: "folder-escape".into(),
            version: "0.1.0".into(),
            summary: String::new(),
            extensions: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn open(source: Source, _: String) -> Result<(), Error> {
        if source.read(16).unwrap() == b"bad" {
            Err(Error {
                code: "looked-around".into(),
                message: look_around(),
            })
        } else {
            Ok(())
        }
    }

    fn next(_: u32) -> Result<Vec<Result<Row, RowError>>, Error> {
        if ENDED.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let demonstration = Demonstration {
            prompt: String::new(),
            response: String::new(),
        };
        Ok(vec![Ok(Row {
            origin: Origin { line: 1, row: 1 },
            content: Content::Demonstration(demonstration),
            extra: Vec::new(),
        })])
    }
}

fn look_around() -> String {
    let mut found = Vec::new();
    for path in OUTSIDE {
        if folder::open(path).is_ok() {
            found.push(format!("opened {path:?}"));
        }
        if folder::entries(path).is_ok() {
            found.push(format!("listed {path:?}"));
        }
    }
    for path in ["inside", "below/inside", "inner-link", "below/../inside"] {
        match folder::open(path).map(|file| file.read(16)) {
            Ok(Ok(bytes)) if bytes == b"inside" => found.push(format!("read {path:?}")),
            _ => found.push(format!("not read {path:?}")),
        }
    }
    for path in ["", "below"] {
        let names = folder::entries(path).map(|entries| {
            let names = entries.into_iter().map(|entry| entry.name);
            names.collect::<Vec<_>>().join(" ")
        });
        found.push(format!("listed {path:?}: {}", names.unwrap_or_default()));
    }
    found.join(", ")
}

rlhf_sdk::__private::bindings::data_adapter::export!(Raw);
