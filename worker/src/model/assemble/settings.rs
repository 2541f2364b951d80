//! What a repository's settings say about its window.

use std::io;
use std::path::Path;

use serde::Deserialize;

use super::AssembleError;
use crate::model::config::{MAX_CONFIG_BYTES, Window};

/// For repositories that do not say.
const DEFAULT_WINDOW: u64 = 512;

/// The smallest of what positions, tokenizer and settings allow.
pub(super) fn max_tokens(folder: &Path, window: &Window) -> Result<u32, AssembleError> {
    #[derive(Deserialize)]
    struct TokenizerConfig {
        /// Some repositories write 10^30 for "no limit", which no integer holds.
        #[serde(default)]
        model_max_length: Option<f64>,
    }
    #[derive(Deserialize)]
    struct TransformerConfig {
        #[serde(default)]
        max_seq_length: Option<u64>,
    }
    let tokenizer: Option<TokenizerConfig> = parse(folder, "tokenizer_config.json")?;
    let transformer: Option<TransformerConfig> = parse(folder, "sentence_bert_config.json")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked before"
    )]
    let by_tokenizer = tokenizer
        .and_then(|config| config.model_max_length)
        .filter(|length| (1.0..1e9).contains(length))
        .map(|length| length as u64);
    let by_transformer = transformer.and_then(|config| config.max_seq_length).filter(|length| *length > 0);
    let limits = [window.positions(), by_tokenizer, by_transformer];
    let smallest = limits.into_iter().flatten().min().unwrap_or(DEFAULT_WINDOW);
    u32::try_from(smallest).map_err(|_| AssembleError::Setting {
        file: "config.json",
        reason: format!("a window of {smallest} tokens is not possible"),
    })
}

fn parse<T: serde::de::DeserializeOwned>(
    folder: &Path,
    file: &'static str,
) -> Result<Option<T>, AssembleError> {
    let Some(bytes) = read(folder, file)? else {
        return Ok(None);
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| AssembleError::Setting { file, reason: error.to_string() })
}

pub(super) fn read(folder: &Path, file: &'static str) -> Result<Option<Vec<u8>>, AssembleError> {
    let path = folder.join(file);
    let fail = |source| AssembleError::File { file: file.to_owned(), source };
    match fs_err::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
        Ok(metadata) if metadata.len() > MAX_CONFIG_BYTES => {
            Err(AssembleError::Setting { file, reason: format!("larger than {MAX_CONFIG_BYTES} bytes") })
        }
        Ok(_) => Ok(Some(fs_err::read(&path).map_err(fail)?)),
    }
}
