//! The interfaces the host offers to plugins, and what a run puts behind them.

pub mod candidate;
pub mod encoder;
pub mod folder;
pub mod log;
pub mod sandbox;
pub mod source;

use std::sync::Arc;

use cap_std::fs::Dir;

pub use candidate::Candidate;
pub use encoder::Encoder;
pub use sandbox::Sandbox;

/// Makes a run's sandbox when the first plugin that was granted it is loaded: interpreters are
/// large, and most runs need none. `None`: the run has no code runner.
pub type SandboxSource =
    Arc<dyn Fn() -> Result<Option<Arc<dyn Sandbox>>, super::Error> + Send + Sync>;

/// Loads a run's encoder when the first plugin that was granted it is loaded. `None`: the run
/// has no encoder model.
pub type EncoderSource =
    Arc<dyn Fn() -> Result<Option<Arc<dyn Encoder>>, super::Error> + Send + Sync>;

/// What a run has to offer; plugins get of it what they are granted.
#[derive(Clone, Default)]
pub struct Services {
    encoder: Option<EncoderSource>,
    sandbox: Option<SandboxSource>,
    /// Whatever a plugin asks for is linked, granted or not, and refuses.
    refusing: bool,
}

impl Services {
    /// What a run has to offer.
    pub fn new(encoder: Option<Arc<dyn Encoder>>, sandbox: Option<Arc<dyn Sandbox>>) -> Self {
        Self::made_when_needed(
            Arc::new(move || Ok(encoder.clone())),
            Arc::new(move || Ok(sandbox.clone())),
        )
    }

    /// The same, of which each is made when it is needed.
    pub fn made_when_needed(encoder: EncoderSource, sandbox: SandboxSource) -> Self {
        Self {
            encoder: Some(encoder),
            sandbox: Some(sandbox),
            refusing: false,
        }
    }

    /// For looking at a plugin: it loads whatever it asks for, and gets nothing.
    pub fn refusing() -> Self {
        Self {
            refusing: true,
            ..Self::default()
        }
    }

    /// For testing a plugin: as [`Services::refusing`], but a plugin that asks
    /// for an encoder or a sandbox gets these, granted or not.
    pub fn refusing_with(encoder: Arc<dyn Encoder>, sandbox: Arc<dyn Sandbox>) -> Self {
        Self {
            refusing: true,
            ..Self::new(Some(encoder), Some(sandbox))
        }
    }

    pub(super) fn refuses(&self) -> bool {
        self.refusing
    }

    /// The run's encoder, loaded now if it is the first time.
    ///
    /// # Errors
    /// Its model can't be used.
    pub(super) fn encoder(&self) -> Result<Option<Arc<dyn Encoder>>, super::Error> {
        self.encoder.as_ref().map_or(Ok(None), |source| source())
    }

    /// The run's sandbox, made now if it is the first time.
    ///
    /// # Errors
    /// Its code runner can't be used.
    pub(super) fn sandbox(&self) -> Result<Option<Arc<dyn Sandbox>>, super::Error> {
        self.sandbox.as_ref().map_or(Ok(None), |source| source())
    }
}

/// What one instance was granted.
#[derive(Clone, Default)]
pub struct Granted {
    pub(super) encoder: Option<Arc<dyn Encoder>>,
    pub(super) sandbox: Option<Arc<dyn Sandbox>>,
    pub(super) folder: Option<Arc<Dir>>,
    /// Weights learned by `encoder.fit`; they last as long as the instance.
    pub(super) frequencies: Option<Arc<encoder::Frequencies>>,
    /// Those that the host learned from the set in work, for metrics that say they want them.
    pub(super) of_corpus: Option<Arc<encoder::Frequencies>>,
    /// Embeddings that the call in progress holds.
    pub(super) embeddings: usize,
    /// Whether a call ended with embeddings: they would stay on the device as
    /// long as the instance.
    pub(super) leaked: bool,
}

impl Granted {
    /// Forgets what lasts only as long as a call.
    pub(super) fn end_call(&mut self) {
        self.leaked |= self.embeddings > 0;
        self.embeddings = 0;
    }
}
