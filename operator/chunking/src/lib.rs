//! Where long texts are cut, offset for offset as Elasticsearch's inference API cuts them: PURE. A text and settings in, ranges
//! out; no I/O, no clock, no async.
//!
//! Four strategies ([`Chunker`]): by words, by sentences, at separators, never. Inside, positions are bytes; a [`Chunk`] also
//! says them in UTF-16 code units, which is what the API counts. [`fit`] joins chunks where there are more than are stored.

mod chunk;
mod chunker;
mod fit;
mod recursive;
mod sentence;
mod separator;
mod settings;
mod word;
mod words;

pub use chunk::Chunk;
pub use chunker::{Chunker, ChunkingFailed, InvalidSettings};
pub use fit::{EmbeddedChunk, MOST_STORED, fit, strongest};
pub use separator::{InvalidSeparator, Separator};
pub use settings::{Effective, separators_of};
