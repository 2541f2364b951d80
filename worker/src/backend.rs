//! What runs a model. The traits are synchronous and small, so that tests put a fake behind the real engine and server.

pub mod native;
pub mod onnx;

pub use crate::lanes::Width;
use crate::pooling::SparseRow;
use crate::tokenize::Tokens;

#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct BackendError {
    pub reason: String,
}

/// A loaded model, which lanes share.
pub trait Backend: Send + Sync {
    /// Tokens of short texts that are worth running together, because the weights are read once for all of them; 0 where they
    /// are not.
    fn tokens_together(&self) -> usize {
        0
    }

    /// Whether a text that runs alone is done sooner with all threads. Where it is not, nobody has to wait for it.
    fn is_faster_wide(&self) -> bool {
        true
    }

    /// What one thread needs to run texts while others do.
    fn lane(&self) -> Result<Box<dyn Lane>, BackendError>;
}

/// Runs texts. The vector of a text depends on nothing but the text: not on the width, not on the lane, not on what runs with it or
/// ran before.
pub trait Lane: Send {
    /// One row for each text, in order.
    fn run(&mut self, texts: &[&Tokens], width: Width) -> Result<Vec<SparseRow>, BackendError>;
}
