//! Text to token ids, cut at the model's window.

use std::io;
use std::path::Path;

use lexiscale_wire::TruncationDirection;
use serde::Deserialize;
use tokenizers::pipeline::{EncodeOptions, Override, PipelineToken, PipelineTokenizer};

/// Larger files are not tokenizers.
pub const MAX_TOKENIZER_BYTES: u64 = 64 * 1024 * 1024;

/// A text of this many bytes for each token of the window is read in pieces, until the window is full.
const BYTES_PER_TOKEN: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("failed to read {file}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("tokenizer.json cannot be used: {reason}")]
    Invalid { reason: String },
    #[error("the window of {window} tokens has no room beside {special} special tokens")]
    Window { window: usize, special: usize },
}

#[derive(Debug, thiserror::Error)]
#[error("failed to tokenise: {reason}")]
pub struct TokenizeError {
    reason: String,
}

/// The ids that the model sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    pub is_truncated: bool,
}

#[derive(Clone)]
pub struct Tokenizer {
    pipeline: PipelineTokenizer,
    /// Ids of the text itself, without special tokens.
    room: usize,
    locality: Locality,
}

/// Whether a prefix that ends before a blank has the same tokens as it has inside the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Locality {
    Words,
    Unknown,
}

impl Tokenizer {
    /// `window` counts special tokens.
    pub fn load(path: &Path, window: usize) -> Result<Self, TokenizerError> {
        let read = |source| TokenizerError::Read { file: path.display().to_string(), source };
        if fs_err::metadata(path).map_err(read)?.len() > MAX_TOKENIZER_BYTES {
            return Err(TokenizerError::Invalid {
                reason: format!("larger than {MAX_TOKENIZER_BYTES} bytes"),
            });
        }
        Self::parse(&fs_err::read_to_string(path).map_err(read)?, window)
    }

    pub fn parse(json: &str, window: usize) -> Result<Self, TokenizerError> {
        let canonical = tokenizers::canonicalize_str(json)
            .map_err(|error| TokenizerError::Invalid { reason: error.to_string() })?;
        let pipeline = tokenizers::from_json(&canonical)
            .map_err(|error| TokenizerError::Invalid { reason: error.to_string() })?;
        let special = pipeline.get_post_processor().single.n_special();
        if window <= special {
            return Err(TokenizerError::Window { window, special });
        }
        Ok(Self { pipeline, room: window - special, locality: Locality::of(json) })
    }

    /// What the model is given: cut at its end to the window, with special tokens.
    pub fn encode(&self, text: &str) -> Result<Tokens, TokenizeError> {
        self.encode_cut(text, TruncationDirection::Right)
    }

    /// As [`Self::encode`], but with a choice of the end that is cut.
    pub fn encode_cut(&self, text: &str, direction: TruncationDirection) -> Result<Tokens, TokenizeError> {
        let (ids, is_truncated) = self.cut(text, direction)?;
        let encoding = self.pipeline.get_post_processor().single.post_process::<true>(ids, None);
        Ok(Tokens { ids: encoding.ids().iter().map(|token| token.id()).collect(), is_truncated })
    }

    /// The tokens of the text alone, without special ones.
    pub fn encode_plain(&self, text: &str, direction: TruncationDirection) -> Result<Tokens, TokenizeError> {
        let (ids, is_truncated) = self.cut(text, direction)?;
        Ok(Tokens { ids: ids.iter().map(|token| token.id()).collect(), is_truncated })
    }

    /// As many tokens of the text as there is room for.
    fn cut(
        &self,
        text: &str,
        direction: TruncationDirection,
    ) -> Result<(Vec<PipelineToken>, bool), TokenizeError> {
        let mut ids = self.window(text, direction)?;
        let excess = ids.len().saturating_sub(self.room);
        match direction {
            TruncationDirection::Right => ids.truncate(self.room),
            TruncationDirection::Left => drop(ids.drain(..excess)),
        }
        Ok((ids, excess > 0))
    }

    /// At least the ids that fit and, if there are more, at least one more.
    fn window(
        &self,
        text: &str,
        direction: TruncationDirection,
    ) -> Result<Vec<PipelineToken>, TokenizeError> {
        let mut bytes = self.room.saturating_mul(BYTES_PER_TOKEN);
        while self.locality == Locality::Words && bytes < text.len() {
            // Words of the part are whole words of the text, so its ids are the text's first ids, or its last.
            let Some(part) = part(text, bytes, direction) else { break };
            let ids = self.ids(part)?;
            if ids.len() > self.room {
                return Ok(ids);
            }
            bytes = bytes.saturating_mul(4);
        }
        self.ids(text)
    }

    fn ids(&self, text: &str) -> Result<Vec<PipelineToken>, TokenizeError> {
        let options = EncodeOptions {
            add_special_tokens: false,
            encode_special_tokens: false,
            padding: Override::Off,
            truncation: Override::Off,
        };
        let mut ids = Vec::new();
        self.pipeline
            .encode_into(text, &options, &mut ids)
            .map_err(|error| TokenizeError { reason: error.to_string() })?;
        Ok(ids)
    }
}

/// About so many bytes of a text that is longer, up to a blank.
fn part(text: &str, bytes: usize, direction: TruncationDirection) -> Option<&str> {
    match direction {
        TruncationDirection::Right => {
            let end = text.as_bytes()[..bytes].iter().rposition(u8::is_ascii_whitespace)?;
            Some(&text[..end])
        }
        TruncationDirection::Left => {
            let start = text.len() - bytes;
            let blank = text.as_bytes()[start..].iter().position(u8::is_ascii_whitespace)?;
            Some(&text[start + blank..])
        }
    }
}

impl Locality {
    fn of(json: &str) -> Self {
        // What is not named there, the vocabulary above all, is skipped without being built: a start waits for this.
        let Ok(Outline { normalizer, pre_tokenizer, model, added_tokens }) = serde_json::from_str(json)
        else {
            return Self::Unknown;
        };
        let is = |part: &Option<Part>, kind: &str| {
            part.as_ref().and_then(|part| part.kind.as_deref()).is_some_and(|found| found == kind)
        };
        let is_named = model.as_ref().is_some_and(|model| model.kind.is_some());
        let is_bert = is(&normalizer, "BertNormalizer")
            && is(&pre_tokenizer, "BertPreTokenizer")
            && (!is_named || is(&model, "WordPiece"));
        let added_are_words = added_tokens.iter().flatten().all(|token| {
            token.content.as_deref().is_some_and(|content| !content.contains(char::is_whitespace))
        });
        if is_bert && added_are_words { Self::Words } else { Self::Unknown }
    }
}

/// As much of `tokenizer.json` as [`Locality`] follows from.
#[derive(Deserialize)]
struct Outline {
    normalizer: Option<Part>,
    pre_tokenizer: Option<Part>,
    model: Option<Part>,
    added_tokens: Option<Vec<AddedToken>>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct AddedToken {
    content: Option<String>,
}
