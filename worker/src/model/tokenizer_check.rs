//! Looks into `tokenizer.json` before a worker uses it. Its parts are counted and measured first, because the library takes
//! whatever it is given; then it is tried on texts that strain tokenizers, on a thread of its own and not for ever.

mod parts;
mod table;

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::tokenize::{MAX_TOKENIZER_BYTES, Tokenizer, TokenizerError};

pub use parts::PartsError;

/// The largest vocabularies load within a second or two, and the texts take milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum TokenizerCheckError {
    #[error("failed to read {file}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("tokenizer.json cannot be used: {0}")]
    Parts(#[from] PartsError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("tokenizer.json makes the tokenizer panic")]
    Panic,
    #[error("tokenizer.json needs more than {} s for texts that take others milliseconds", PATIENCE.as_secs())]
    Endless,
}

impl TokenizerCheckError {
    /// Whether the file was made to do harm, and is not only wrong.
    pub fn is_hostile(&self) -> bool {
        match self {
            Self::Panic | Self::Endless => true,
            Self::Parts(error) => error.is_hostile(),
            Self::Read { .. } | Self::Tokenizer(_) => false,
        }
    }
}

/// A tokenizer that passed.
#[derive(Clone, Debug)]
pub struct Checked {
    pub json: String,
    /// Ids that it puts around each text.
    pub around: Vec<u32>,
}

/// Texts on which careless patterns take very long, and those that some tokenizers do not survive.
fn trials() -> Vec<String> {
    let mut trials = vec![
        String::new(),
        " ".to_owned(),
        "The tokenizer must survive an ordinary sentence.".to_owned(),
        "na\u{ef}ve \u{6771}\u{4eac} \u{1f680} e\u{301} \u{200b}\u{fffd}\u{10ffff}\0".to_owned(),
        "[CLS] <s> [PAD] <pad> [MASK] <mask> </s> [SEP]".to_owned(),
    ];
    for unit in ["a", " ", "1", "!", "aA", "a ", "\n", "'s", "\u{e9}", "_-", "a\u{301}"] {
        trials.push(format!("{}!", unit.repeat(4000)));
        trials.push(unit.repeat(40));
    }
    trials
}

pub fn check_tokenizer(path: &Path, max_tokens: u32) -> Result<Checked, TokenizerCheckError> {
    let json = read_tokenizer(path)?;
    parts::check(&json)?;
    let window = usize::try_from(max_tokens).unwrap_or(usize::MAX);
    let (answer, answered) = mpsc::channel();
    let copy = json.clone();
    // A thread that never ends cannot be stopped; the process ends under it.
    std::thread::spawn(move || {
        let outcome = std::panic::catch_unwind(move || try_out(&copy, window));
        let _ = answer.send(outcome);
    });
    let around = match answered.recv_timeout(PATIENCE) {
        Ok(Ok(outcome)) => outcome?,
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err(TokenizerCheckError::Panic),
        Err(RecvTimeoutError::Timeout) => return Err(TokenizerCheckError::Endless),
    };
    Ok(Checked { json, around })
}

fn try_out(json: &str, window: usize) -> Result<Vec<u32>, TokenizerError> {
    let invalid = |reason: String| TokenizerError::Invalid { reason };
    let tokenizer = Tokenizer::parse(json, window)?;
    for text in trials() {
        tokenizer.encode(&text).map_err(|error| invalid(error.to_string()))?;
    }
    let around = tokenizer.encode("").map_err(|error| invalid(error.to_string()))?;
    Ok(around.ids)
}

pub(crate) fn read_tokenizer(path: &Path) -> Result<String, TokenizerCheckError> {
    let read = |source| TokenizerCheckError::Read { file: path.display().to_string(), source };
    let metadata = fs_err::symlink_metadata(path).map_err(read)?;
    if !metadata.is_file() {
        return Err(read(io::Error::other("not a regular file")));
    }
    if metadata.len() > MAX_TOKENIZER_BYTES {
        return Err(PartsError::Bytes { found: metadata.len(), limit: MAX_TOKENIZER_BYTES }.into());
    }
    fs_err::read_to_string(path).map_err(read)
}
