//! Settings that were checked once, and the chunks of any text under them. PURE.

use std::sync::Arc;

use lexiscale_crds::ChunkingSettings;

use crate::chunk::{Chunk, measured};
use crate::recursive;
use crate::sentence::{self, Overlap, Sentences};
use crate::separator::{InvalidSeparator, Separator};
use crate::settings::Effective;
use crate::word::{self, Window};
use crate::words::Words;

/// Settings that no text can be cut by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    #[error("invalid value [{0}]: [max_chunk_size] must be at least [1]")]
    Size(i32),
    #[error("invalid value [{value}]: [overlap] must be from [0] to half of [max_chunk_size], [{most}]")]
    Overlap { value: i32, most: usize },
    #[error("invalid value [{0}]: [sentence_overlap] must be 0 or 1")]
    SentenceOverlap(i32),
    #[error("[separators] must hold at least one pattern")]
    NoSeparators,
    #[error(transparent)]
    Separator(#[from] InvalidSeparator),
}

/// A text that was not cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkingFailed {
    /// The pattern tries too many ways to match. Another text may go well.
    #[error(
        "separator [{0}] takes too many steps on this text; write it without nested or adjoining repetitions"
    )]
    TooManySteps(String),
    /// The caller said so.
    #[error("chunking was stopped before its end")]
    Stopped,
}

/// Cuts texts by settings that were checked. Cheap to clone; compiled separators are shared.
#[derive(Clone, Debug)]
pub struct Chunker(Strategy);

#[derive(Clone, Debug)]
enum Strategy {
    Word(Window),
    Sentence(Sentences),
    Recursive { max_words: usize, separators: Arc<[Separator]> },
    None,
}

impl Chunker {
    /// Fills in defaults and compiles separators. Which sizes the API accepts is for whoever accepts settings to say; here stands
    /// what the cutting itself needs.
    pub fn new(settings: &ChunkingSettings) -> Result<Self, InvalidSettings> {
        let separators = match Effective::of(settings) {
            Effective::Recursive { separators, .. } => {
                separators.into_iter().map(Separator::compile).collect::<Result<_, _>>()?
            }
            Effective::Word { .. } | Effective::Sentence { .. } | Effective::None => Vec::new(),
        };
        Self::with_separators(settings, separators)
    }

    /// As [`new`](Self::new), for whoever has compiled the separators that `settings` ask for.
    pub fn with_separators(
        settings: &ChunkingSettings,
        separators: Vec<Separator>,
    ) -> Result<Self, InvalidSettings> {
        Ok(Self(match Effective::of(settings) {
            Effective::Word { max_chunk_size, overlap } => {
                let size = size(max_chunk_size)?;
                let most = size / 2;
                let overlap = usize::try_from(overlap)
                    .ok()
                    .filter(|overlap| *overlap <= most)
                    .ok_or(InvalidSettings::Overlap { value: overlap, most })?;
                Strategy::Word(Window { size, overlap })
            }
            Effective::Sentence { max_chunk_size, sentence_overlap } => {
                let overlap = match sentence_overlap {
                    0 => Overlap::Nothing,
                    1 => Overlap::OneSentence,
                    other => return Err(InvalidSettings::SentenceOverlap(other)),
                };
                Strategy::Sentence(Sentences { max_words: size(max_chunk_size)?, overlap })
            }
            Effective::Recursive { max_chunk_size, separators: _ } => {
                if separators.is_empty() {
                    return Err(InvalidSettings::NoSeparators);
                }
                Strategy::Recursive { max_words: size(max_chunk_size)?, separators: separators.into() }
            }
            Effective::None => Strategy::None,
        }))
    }

    /// At least one chunk, also of an empty text.
    pub fn chunks(&self, text: &str) -> Result<Vec<Chunk>, ChunkingFailed> {
        self.chunks_while(text, &|| true)
    }

    /// As [`chunks`](Self::chunks), but asks `go_on` before each search for a separator, which takes a bounded time, so that a
    /// caller with a deadline is never held up by a pattern: the searches of one text can be many. Other strategies
    /// take time in proportion to the text and do not ask.
    pub fn chunks_while(&self, text: &str, go_on: &dyn Fn() -> bool) -> Result<Vec<Chunk>, ChunkingFailed> {
        let pieces = match &self.0 {
            Strategy::Word(window) => word::cut(&Words::of(text), *window).into_all(),
            Strategy::Sentence(sentences) => sentence::cut(text, &Words::of(text), *sentences),
            Strategy::Recursive { max_words, separators } => {
                recursive::cut(text, *max_words, separators, go_on)?
            }
            Strategy::None => std::iter::once(0..text.len()).collect(),
        };
        Ok(measured(text, pieces))
    }
}

fn size(value: i32) -> Result<usize, InvalidSettings> {
    usize::try_from(value).ok().filter(|size| *size > 0).ok_or(InvalidSettings::Size(value))
}
