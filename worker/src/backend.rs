//! What runs a model. The trait is synchronous and small, so that tests put a fake behind the real engine and server.

pub mod onnx;

use crate::pooling::SparseRow;
use crate::tokenize::Tokens;

/// Token ids of several texts, padded to one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBatch {
    texts: usize,
    length: usize,
    ids: Vec<i64>,
    mask: Vec<i64>,
    tokens: Vec<usize>,
}

impl TokenBatch {
    /// No text may be longer than `length`.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a Tokens>, length: usize) -> Self {
        let mut batch = Self { texts: 0, length, ids: Vec::new(), mask: Vec::new(), tokens: Vec::new() };
        for text in texts {
            let tokens = text.ids.len().min(length);
            batch.ids.extend(text.ids.iter().take(length).map(|id| i64::from(*id)));
            batch.mask.extend(std::iter::repeat_n(1, tokens));
            batch.texts += 1;
            batch.ids.resize(batch.texts * length, 0);
            batch.mask.resize(batch.texts * length, 0);
            batch.tokens.push(tokens);
        }
        batch
    }

    pub fn texts(&self) -> usize {
        self.texts
    }

    /// Tokens of each text after padding.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Tokens of each text before padding.
    pub fn tokens(&self) -> &[usize] {
        &self.tokens
    }

    pub fn ids(&self) -> &[i64] {
        &self.ids
    }

    pub fn mask(&self) -> &[i64] {
        &self.mask
    }
}

#[derive(Debug, thiserror::Error)]
#[error("failed to run the model: {reason}")]
pub struct BackendError {
    pub reason: String,
}

pub trait Backend: Send {
    /// One row for each text, in order.
    fn run(&mut self, batch: &TokenBatch) -> Result<Vec<SparseRow>, BackendError>;
}
