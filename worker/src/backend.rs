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
    /// What one thread needs to run texts while others do.
    fn lane(&self) -> Result<Box<dyn Lane>, BackendError>;
}

/// Runs one text after the other. The vector of a text depends on nothing but the text: not on the width, not on the lane, not on
/// what ran before.
pub trait Lane: Send {
    fn run(&mut self, tokens: &Tokens, width: Width) -> Result<SparseRow, BackendError>;
}
