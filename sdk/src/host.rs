//! What the host offers a plugin.
//!
//! A component imports an interface if, and only if, it calls it, and the
//! imports are what a run must grant: a plugin that uses [`encoder`],
//! [`sandbox`] or [`folder`] isn't loaded without `grant=encoder`,
//! `grant=sandbox` or `grant=folder:PATH`. [`log`] is granted to every plugin.
//!
//! Natively, in tests, messages go to standard error and the other interfaces
//! report that they are not there; [`testing::with_sandbox`] puts one in place.
//!
//! [`testing::with_sandbox`]: crate::testing::with_sandbox

use std::fmt;
use std::rc::Rc;

use crate::bindings::host::rlhf::plugin as wit;
use crate::data_adapter::Source;
use crate::testing;
use crate::types::{Error, Outcome};

/// Messages into the run's log. The host keeps a limited number of lines.
pub mod log {
    use std::fmt::Display;

    use crate::bindings::host::rlhf::plugin::log as wit;

    /// For the plugin's author; shown with `--debug`.
    pub fn debug(message: impl Display) {
        write(wit::Level::Debug, &message);
    }

    /// Worth knowing.
    pub fn info(message: impl Display) {
        write(wit::Level::Info, &message);
    }

    /// Something is probably not as the user thinks it is.
    pub fn warning(message: impl Display) {
        write(wit::Level::Warning, &message);
    }

    /// Something went wrong that no result can carry.
    pub fn error(message: impl Display) {
        write(wit::Level::Error, &message);
    }

    fn write(level: wit::Level, message: &dyn Display) {
        if cfg!(target_arch = "wasm32") {
            wit::write(level, &message.to_string());
        } else {
            let level = match level {
                wit::Level::Debug => "debug",
                wit::Level::Info => "info",
                wit::Level::Warning => "warning",
                wit::Level::Error => "error",
            };
            eprintln!("{level}: {message}");
        }
    }
}

/// The run's encoder model.
///
/// # Errors
/// `unavailable`: this is a native build.
pub fn encoder() -> Result<Encoder, Error> {
    if cfg!(target_arch = "wasm32") {
        Ok(Encoder(()))
    } else {
        Err(Error::unavailable("encoder"))
    }
}

/// Token embeddings of the run's encoder model, from [`encoder`].
#[derive(Debug)]
pub struct Encoder(());

impl Encoder {
    /// Learns inverse document frequencies from the references of a corpus;
    /// later [`matches`](Self::matches) weight tokens with them.
    ///
    /// # Errors
    /// Those of the encoder model.
    pub fn fit(&self, references: &[String]) -> Result<(), Error> {
        Ok(wit::encoder::fit(references)?)
    }

    /// One handle a text. The vectors stay on the host's device; handles end
    /// with the call of the plugin that made them, and their number is limited.
    ///
    /// # Errors
    /// A text is too long for the model, or there are too many handles.
    pub fn encode(&self, texts: &[String]) -> Result<Vec<Embeddings>, Error> {
        Ok(wit::encoder::encode(texts)?
            .into_iter()
            .map(Embeddings)
            .collect())
    }

    /// Similarity of a candidate's and a reference's tokens.
    ///
    /// # Errors
    /// Those of the encoder model.
    pub fn matches(
        &self,
        candidate: &Embeddings,
        reference: &Embeddings,
    ) -> Result<Matching, Error> {
        let wit::encoder::Matching {
            precision,
            recall,
            f1,
        } = wit::encoder::matches(&candidate.0, &reference.0)?;
        Ok(Matching {
            precision,
            recall,
            f1,
        })
    }
}

/// A text's token embeddings on the host's device.
#[derive(Debug)]
pub struct Embeddings(wit::encoder::Embeddings);

impl Embeddings {
    /// Number of tokens, special ones included.
    pub fn tokens(&self) -> u32 {
        self.0.tokens()
    }

    /// Width of a vector.
    pub fn width(&self) -> u32 {
        self.0.width()
    }

    /// All vectors, `[tokens, width]` row by row: a copy, and not a cheap one.
    pub fn vectors(&self) -> Vec<f32> {
        self.0.vectors()
    }
}

/// Greedy matching of two texts' tokens by cosine similarity, as BERTScore has
/// it (Zhang et al. 2020, eq. 1 to 3, <https://arxiv.org/abs/1904.09675>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matching {
    /// Mean over the candidate's tokens of the best similarity.
    pub precision: f64,
    /// Mean over the reference's tokens of the best similarity.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// Execution of code in a sandbox of its own.
///
/// # Errors
/// `unavailable`: this is a native build, and not inside of
/// [`testing::with_sandbox`](crate::testing::with_sandbox).
pub fn sandbox() -> Result<Sandbox, Error> {
    if cfg!(target_arch = "wasm32") {
        return Ok(Sandbox(None));
    }
    match testing::current_sandbox() {
        Some(stand_in) => Ok(Sandbox(Some(stand_in))),
        None => Err(Error::unavailable("sandbox")),
    }
}

/// The run's code runner and its limits, from [`sandbox`].
pub struct Sandbox(Option<Rc<dyn testing::Sandbox>>);

impl fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sandbox")
    }
}

impl Sandbox {
    /// Whether a source compiles; it is not run.
    ///
    /// # Errors
    /// `syntax-error` if it doesn't compile; otherwise there is no runner for the language.
    pub fn check(&self, language: &str, source: &str) -> Result<(), Error> {
        match &self.0 {
            Some(stand_in) => stand_in.check(language, source),
            None => Ok(wit::sandbox::check(language, source)?),
        }
    }

    /// Runs a program to its end. What it did, failures included, is in the outcome.
    ///
    /// # Errors
    /// There is no runner for the language.
    pub fn execute(&self, language: &str, source: &str, stdin: &[u8]) -> Result<Outcome, Error> {
        match &self.0 {
            Some(stand_in) => stand_in.execute(language, source, stdin),
            None => Ok(wit::sandbox::execute(language, source, stdin)?.into()),
        }
    }

    /// Runs tests against a candidate. The tests run outside of the
    /// candidate's instance, so it can't forge the verdict.
    ///
    /// # Errors
    /// There is no runner for the language, or it can't judge.
    pub fn judge(
        &self,
        language: &str,
        prompt: &str,
        candidate: &str,
        tests: &[String],
    ) -> Result<Verdict, Error> {
        if let Some(stand_in) = &self.0 {
            return stand_in.judge(language, prompt, candidate, tests);
        }
        let wit::sandbox::Verdict {
            total,
            passed,
            unguarded,
            failures,
        } = wit::sandbox::judge(language, prompt, candidate, tests)?;
        Ok(Verdict {
            total,
            passed,
            unguarded,
            failures,
        })
    }
}

/// The folder that the run granted a data adapter, read-only.
///
/// # Errors
/// `unavailable`: this is a native build.
pub fn folder() -> Result<Folder, Error> {
    if cfg!(target_arch = "wasm32") {
        Ok(Folder(()))
    } else {
        Err(Error::unavailable("folder"))
    }
}

/// A granted folder, from [`folder`]. Paths have `/` between their parts and
/// start at the folder itself, which is the empty path.
#[derive(Debug)]
pub struct Folder(());

impl Folder {
    /// Entries of the folder at `path`, sorted by name.
    ///
    /// # Errors
    /// There is no such folder inside the granted one, or it can't be read.
    pub fn entries(&self, path: &str) -> Result<Vec<FolderEntry>, Error> {
        let entries = wit::folder::entries(path)?;
        Ok(entries
            .into_iter()
            .map(|wit::folder::Entry { name, is_folder }| FolderEntry { name, is_folder })
            .collect())
    }

    /// Opens the file at `path`.
    ///
    /// # Errors
    /// There is no such file inside the granted folder, or it can't be read.
    pub fn open(&self, path: &str) -> Result<Source, Error> {
        Ok(Source::from_host(wit::folder::open(path)?))
    }
}

/// What lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// The last part of its path.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_folder: bool,
}

/// How many of the tests a candidate passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many tests there are.
    pub total: u32,
    /// How many of them passed.
    pub passed: u32,
    /// Tests that ran with the candidate in one instance, where it can forge their verdict.
    pub unguarded: u32,
    /// Why each failing test failed, in order.
    pub failures: Vec<String>,
}

impl Verdict {
    /// A verdict with one reason for each test that failed.
    ///
    /// ```
    /// let verdict = rlhf_sdk::host::Verdict::new(2, vec!["3 != 4".to_owned()]);
    /// assert_eq!((verdict.total, verdict.passed), (3, 2));
    /// ```
    #[must_use]
    pub fn new(passed: u32, failures: Vec<String>) -> Self {
        let failed = u32::try_from(failures.len()).unwrap_or(u32::MAX);
        Self {
            total: passed.saturating_add(failed),
            passed,
            unguarded: 0,
            failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches a native test that ends in a panic of generated code.
    #[test]
    fn natively_the_host_is_missing_and_says_so() {
        log::info("shown with --nocapture");
        assert_eq!(encoder().unwrap_err().code, "unavailable");
        assert_eq!(sandbox().unwrap_err().code, "unavailable");
        assert_eq!(folder().unwrap_err().code, "unavailable");
    }
}
