//! What a run and its workers say to each other: one message after another, each its length (four
//! bytes, lowest first) and its postcard encoding.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::judge::Policy;
use crate::plugin::code_runner::Execution;
use crate::plugin::component::Handover;
use crate::plugin::host::sandbox::{Refusal, Verdict};
use crate::plugin::{self, CodeRunner, Limits, Spec};

/// The largest message that is read. A request carries a program and its input, a reply at most
/// what a guest may hand over; whoever says more than this is broken.
const MESSAGE_BYTES_MAX: u32 = 256 << 20;

/// What a worker is told before it confines itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    pub runners: Vec<Runner>,
}

/// A runner's compiled code and how it is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Runner {
    pub component: Handover,
    /// One JSON object.
    pub options: String,
    pub limits: Limits,
    /// Name in messages, where the user gave one.
    pub name: Option<String>,
}

/// A worker is ready for requests.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// What the system let it drop, and what not, for people.
    pub confinement: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    Check {
        language: String,
        source: String,
    },
    Execute {
        language: String,
        source: String,
        stdin: Vec<u8>,
    },
    Judge {
        language: String,
        prompt: String,
        candidate: String,
        tests: Vec<String>,
        policy: Policy,
    },
}

impl Request {
    pub fn language(&self) -> &str {
        match self {
            Request::Check { language, .. }
            | Request::Execute { language, .. }
            | Request::Judge { language, .. } => language,
        }
    }

    /// Programs that the request starts at most one after another, each with its own limits.
    pub fn programs(&self) -> usize {
        match self {
            Request::Check { .. } | Request::Execute { .. } => 1,
            // A test may need a new candidate and a new judge.
            Request::Judge { tests, .. } => 2 * tests.len() + 2,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Checked(Result<(), Refusal>),
    Executed(Result<Execution, Refusal>),
    Judged(Result<Verdict, Refusal>),
}

impl Reply {
    /// Whether wall time ended it, which says nothing about the program.
    pub fn is_out_of_time(&self) -> bool {
        const OUT_OF_TIME: &str = "out-of-time";
        match self {
            Reply::Executed(Ok(execution)) => execution.outcome.kind == OUT_OF_TIME,
            Reply::Checked(Err(refusal)) | Reply::Judged(Err(refusal)) => {
                refusal.code == OUT_OF_TIME
            }
            _ => false,
        }
    }
}

impl Runner {
    /// What a worker needs of a runner that the run has loaded, with what its user set. Code that
    /// no cache holds is put into `folder`, which is made for it.
    ///
    /// # Errors
    /// The code can't be written.
    pub fn of(
        runner: &CodeRunner,
        spec: &Spec,
        folder: &mut Option<tempfile::TempDir>,
    ) -> Result<Self, plugin::Error> {
        Ok(Self {
            component: runner.component().hand_over(folder)?,
            options: spec.config.clone(),
            limits: spec.limits.for_programs(),
            name: spec.name.clone(),
        })
    }

    /// How a worker loads it.
    pub fn spec(&self) -> Spec {
        Spec {
            name: self.name.clone(),
            config: self.options.clone(),
            limits: self.limits.clone(),
            ..Spec::of(&self.component.path.to_string_lossy())
        }
    }
}

/// Sends a message.
///
/// # Errors
/// The other side is gone.
pub fn send(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= MESSAGE_BYTES_MAX)
        .ok_or_else(|| io::Error::other(format!("a message of {} bytes", body.len())))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&body)?;
    out.flush()
}

/// Waits for a message.
///
/// # Errors
/// The other side is gone, or says what is no message.
pub fn receive<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    // Grows with what really comes: a length alone allocates nothing.
    let mut body = Vec::new();
    input.take(length.into()).read_to_end(&mut body)?;
    if body.len() != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch messages that run into each other, and a length that is believed.
    #[test]
    fn messages_arrive_whole_or_not_at_all() {
        let mut pipe = Vec::new();
        send(&mut pipe, &("first", 1_u64)).expect("a vector takes it");
        send(&mut pipe, &("second", 2_u64)).expect("a vector takes it");
        let mut input = pipe.as_slice();
        let first: (String, u64) = receive(&mut input).expect("it was sent");
        let second: (String, u64) = receive(&mut input).expect("it was sent");
        assert_eq!((first.1, second.0.as_str()), (1, "second"));
        for (bytes, expected) in [
            (&pipe[..3], "failed to fill"),
            (&pipe[..6], "unexpected end of file"),
            (
                &[0xff, 0xff, 0xff, 0xff, 0][..],
                "a message of 4294967295 bytes",
            ),
        ] {
            let error = receive::<(String, u64)>(&mut &bytes[..]).expect_err("it is no message");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
