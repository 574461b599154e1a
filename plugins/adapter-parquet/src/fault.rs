//! What can be wrong with a file.

use std::io;

use rlhf_sdk::Error;

/// Why a part of a file can't be read. Where it stands is added by
/// [`Fault::at`], since what finds a fault doesn't know.
#[derive(Debug)]
pub enum Fault {
    /// The bytes end in the middle of something.
    Truncated,
    /// Bytes that no writer of Parquet writes: what was expected and found.
    Broken(String),
    /// Parquet that this adapter can't read: what it is, and a hint.
    Unsupported(String),
    /// More memory than reading may take: what is too large, and a hint.
    TooLarge(String),
    /// The host can't read its file.
    Read(io::Error),
}

/// `Err` with a [`Fault::Broken`].
pub fn broken<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Broken(message.into()))
}

impl Fault {
    /// The error for a fault at `place`.
    pub fn at(self, place: &str) -> Error {
        let (code, message) = match self {
            Self::Truncated => (
                "bad-parquet",
                "expected more bytes, found the end: is the file complete?".to_owned(),
            ),
            Self::Broken(message) => ("bad-parquet", message),
            Self::Unsupported(message) => ("unsupported", message),
            Self::TooLarge(message) => ("too-large", message),
            Self::Read(error) => return Error::new("read-failed", format!("source: {error}")),
        };
        Error::new(code, format!("{place}: {message}"))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}
