//! Makes the folder that will be published out of the files that were downloaded: converts, checks that the tokenizer
//! can be used, finds the window, and writes the manifest last.

use std::io;
use std::panic::catch_unwind;
use std::path::Path;

use serde::Deserialize;

use crate::model::config::{MAX_CONFIG_BYTES, Window};
use crate::model::convert::{CONVERTER_VERSION, ConvertError, Packed, convert, pack};
use crate::model::inspect::{InspectError, inspect};
use crate::model::manifest::{
    FORMAT, INT8_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, ManifestFile, TOKENIZER_FILE, digest,
};
use crate::model::saturation::Saturation;
use crate::model::select::{ModelFiles, Selection};
use crate::model::verify::sha256_of;
use crate::model::weights::INDEX_FILE;
use crate::tokenize::{Tokenizer, TokenizerError};

/// For repositories that do not say.
const DEFAULT_WINDOW: u64 = 512;

#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("tokenizer.json makes the tokenizer panic")]
    TokenizerPanic,
    #[error("config.json lacks vocab_size")]
    Vocabulary,
    #[error("{file} cannot be used: {reason}")]
    Setting { file: &'static str, reason: String },
    #[error("failed to copy {file}")]
    File {
        file: String,
        #[source]
        source: io::Error,
    },
}

/// Where the files came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub source: String,
    pub requested_revision: String,
    pub revision: String,
    pub license: Option<String>,
}

pub fn assemble(
    folder: &Path,
    selection: &Selection,
    origin: Origin,
    staging: &Path,
) -> Result<Manifest, AssembleError> {
    let file_error = |file: &str| {
        let file = file.to_owned();
        move |source| AssembleError::File { file, source }
    };
    fs_err::create_dir_all(staging).map_err(file_error("the staging folder"))?;
    let window = Window::parse(&read_setting(folder, "config.json")?.unwrap_or_default())
        .map_err(|error| AssembleError::Convert(error.into()))?;
    let vocabulary_size = window
        .vocabulary_size()
        .and_then(|size| u32::try_from(size).ok())
        .ok_or(AssembleError::Vocabulary)?;
    let mut names = vec![MODEL_FILE.to_owned()];
    let model = staging.join(MODEL_FILE);
    let mut int8_refused = None;
    let converter = match &selection.model {
        ModelFiles::Onnx(name) => {
            inspect(&folder.join(name), vocabulary_size)?;
            link(&folder.join(name), &model).map_err(file_error(name))?;
            int8_refused =
                Some("the repository ships an ONNX file, and only safetensors are packed".to_owned());
            None
        }
        ModelFiles::Safetensors(_) => {
            convert(folder, &model)?;
            match pack(folder, &staging.join(INT8_FILE))? {
                Packed::Written { bytes: _ } => names.push(INT8_FILE.to_owned()),
                Packed::Refused { reason } => int8_refused = Some(reason),
            }
            Some(CONVERTER_VERSION)
        }
    };
    for name in selection.small.iter().filter(|name| *name != INDEX_FILE) {
        copy(&folder.join(name), &staging.join(name)).map_err(file_error(name))?;
        names.push(name.clone());
    }
    let max_tokens = max_tokens(folder, &window)?;
    check_tokenizer(&staging.join(TOKENIZER_FILE), max_tokens)?;
    let files = names
        .into_iter()
        .map(|name| describe(staging, name.clone()).map_err(file_error(&name)))
        .collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest {
        format: FORMAT,
        source: origin.source,
        requested_revision: origin.requested_revision,
        revision: origin.revision,
        license: origin.license,
        converter,
        pooling: Saturation::read(folder).map_err(|error| AssembleError::Convert(error.into()))?,
        max_tokens,
        vocabulary_size,
        int8_refused,
        golden: None,
        parameter_bytes: files.iter().find(|file| file.name == MODEL_FILE).map_or(0, |file| file.size),
        digest: digest(&files),
        files,
    };
    let json = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| file_error(MANIFEST_FILE)(io::Error::other(error)))?;
    fs_err::write(staging.join(MANIFEST_FILE), json).map_err(file_error(MANIFEST_FILE))?;
    Ok(manifest)
}

fn describe(folder: &Path, name: String) -> io::Result<ManifestFile> {
    let path = folder.join(&name);
    Ok(ManifestFile { size: fs_err::metadata(&path)?.len(), sha256: sha256_of(&path)?, name })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs_err::create_dir_all(parent)?;
    }
    fs_err::copy(from, to).map(|_| ())
}

/// A large file need not lie on the volume twice; where the file system has no links it does for a moment.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs_err::hard_link(from, to).or_else(|_| copy(from, to))
}

/// The smallest of what positions, tokenizer and settings allow.
fn max_tokens(folder: &Path, window: &Window) -> Result<u32, AssembleError> {
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
    let tokenizer: Option<TokenizerConfig> = parse_setting(folder, "tokenizer_config.json")?;
    let transformer: Option<TransformerConfig> = parse_setting(folder, "sentence_bert_config.json")?;
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

fn parse_setting<T: serde::de::DeserializeOwned>(
    folder: &Path,
    file: &'static str,
) -> Result<Option<T>, AssembleError> {
    let Some(bytes) = read_setting(folder, file)? else {
        return Ok(None);
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| AssembleError::Setting { file, reason: error.to_string() })
}

fn read_setting(folder: &Path, file: &'static str) -> Result<Option<Vec<u8>>, AssembleError> {
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

/// Some tokenizer files make the library panic; better here than in a worker.
fn check_tokenizer(path: &Path, max_tokens: u32) -> Result<(), AssembleError> {
    let path = path.to_owned();
    let window = usize::try_from(max_tokens).unwrap_or(usize::MAX);
    let outcome = catch_unwind(move || {
        let tokenizer = Tokenizer::load(&path, window)?;
        tokenizer
            .encode("The tokenizer must survive an ordinary sentence.")
            .map_err(|error| TokenizerError::Invalid { reason: error.to_string() })
    });
    outcome.map_err(|_| AssembleError::TokenizerPanic)?.map(|_| ()).map_err(AssembleError::Tokenizer)
}
