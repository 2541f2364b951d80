//! Makes the folder that will be published out of the files that were downloaded: converts, checks that the tokenizer
//! can be used, finds the window, and writes the manifest last.

mod queries;
mod settings;

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::backend::native::kernel_speed;
use crate::model::config::Window;
use crate::model::convert::{
    CONVERTER_VERSION, ConvertError, Packed, Placement, Precision, convert_pooled, pack,
};
use crate::model::golden::GoldenError;
use crate::model::inspect::{InspectError, inspect};
use crate::model::layout::{Layout, LayoutError};
use crate::model::manifest::{
    FORMAT, FP32_FILE, INT8_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, ManifestFile, StaticSearch,
    TOKENIZER_FILE, WEIGHTS_FILE, digest,
};
use crate::model::select::{ModelFiles, Selection};
use crate::model::static_search::{self, QUERY_WEIGHTS_FILE, StaticSearchError};
use crate::model::tokenizer_check::{TokenizerCheckError, check_tokenizer};
use crate::model::verify::sha256_of;
use crate::model::weights::INDEX_FILE;
use crate::precision::KernelSpeed;
use crate::vocabulary::{Vocabulary, VocabularyError};

/// The largest vocabulary in use has about a million entries.
const MAX_VOCABULARY: u32 = 4_194_304;

#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerCheckError),
    #[error(transparent)]
    Tokens(#[from] VocabularyError),
    #[error(transparent)]
    StaticSearch(#[from] StaticSearchError),
    #[error(transparent)]
    Golden(#[from] GoldenError),
    #[error("modules.json has the model in {asked:?}, but its files were found in {found:?}")]
    Root { asked: String, found: String },
    #[error("config.json lacks vocab_size")]
    Vocabulary,
    #[error("config.json has vocab_size = {found}, more than the {MAX_VOCABULARY} that are served")]
    VocabularySize { found: u32 },
    #[error("{file} is not a regular file")]
    Kind { file: String },
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub source: String,
    pub requested_revision: String,
    pub revision: String,
    pub license: Option<String>,
    /// Over the files as they came.
    pub source_digest: String,
}

pub fn assemble(
    folder: &Path,
    selection: &Selection,
    origin: Origin,
    staging: &Path,
) -> Result<Manifest, AssembleError> {
    fs_err::create_dir_all(staging).map_err(file_error("the staging folder"))?;
    selection.names().try_for_each(|name| check_kind(folder, name))?;
    let layout = Layout::read(folder)?;
    if layout.model != selection.root {
        return Err(AssembleError::Root { asked: layout.model, found: selection.root.clone() });
    }
    let root = folder.join(&selection.root);
    let window = Window::parse(&settings::read(&root, "config.json")?.unwrap_or_default())
        .map_err(|error| AssembleError::Convert(error.into()))?;
    let vocabulary_size = window
        .vocabulary_size()
        .and_then(|size| u32::try_from(size).ok())
        .ok_or(AssembleError::Vocabulary)?;
    if vocabulary_size > MAX_VOCABULARY {
        return Err(AssembleError::VocabularySize { found: vocabulary_size });
    }
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
            convert_pooled(&root, layout.pooling, &model, Placement::Beside(WEIGHTS_FILE))?;
            names.push(WEIGHTS_FILE.to_owned());
            let pack = |precision, file: &str| pack(&root, precision, &staging.join(file));
            match pack(Precision::Int8, INT8_FILE)? {
                Packed::Written { bytes: _ } => names.push(INT8_FILE.to_owned()),
                Packed::Refused { reason } => int8_refused = Some(reason),
            }
            // Where the kernels are slow, trying it out would take an hour; ONNX Runtime then serves fp32.
            if kernel_speed() == KernelSpeed::Fast
                && let Packed::Written { bytes: _ } = pack(Precision::Fp32, FP32_FILE)?
            {
                names.push(FP32_FILE.to_owned());
            }
            Some(CONVERTER_VERSION)
        }
    };
    for name in selection.small.iter().filter(|name| !name.ends_with(INDEX_FILE)) {
        let is_tokenizer = name.strip_prefix(&selection.root) == Some(TOKENIZER_FILE);
        let published = if is_tokenizer { TOKENIZER_FILE } else { name };
        copy(&folder.join(name), &staging.join(published)).map_err(file_error(name))?;
        names.push(published.to_owned());
    }
    let max_tokens = settings::max_tokens(&root, &window)?;
    let checked = check_tokenizer(&staging.join(TOKENIZER_FILE), max_tokens)?;
    let size = usize::try_from(vocabulary_size).unwrap_or(usize::MAX);
    let vocabulary = Vocabulary::parse(&checked.json, size)?;
    let static_search = match &layout.static_search {
        Some(table) => {
            let table = queries::Table { repository: folder, folder: &folder.join(table) };
            let weights = table.read(&vocabulary, &checked)?;
            let file = QUERY_WEIGHTS_FILE;
            fs_err::write(staging.join(file), static_search::to_bytes(&weights)).map_err(file_error(file))?;
            names.push(file.to_owned());
            Some(StaticSearch { file: file.to_owned() })
        }
        None => None,
    };
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
        source_digest: Some(origin.source_digest),
        converter,
        pooling: layout.pooling,
        max_tokens,
        vocabulary_size,
        int8_refused,
        parameter_bytes: files
            .iter()
            .filter(|file| [MODEL_FILE, WEIGHTS_FILE].contains(&file.name.as_str()))
            .map(|file| file.size)
            .sum(),
        static_search,
        vocabulary: Some(vocabulary.digest(&checked.json)),
        golden: None,
        digest: digest(&files),
        files,
    };
    write_manifest(staging, &manifest)?;
    Ok(manifest)
}

/// Replaces the manifest of a folder that is not published yet.
pub fn write_manifest(staging: &Path, manifest: &Manifest) -> Result<(), AssembleError> {
    let json = serde_json::to_vec_pretty(manifest)
        .map_err(|error| file_error(MANIFEST_FILE)(io::Error::other(error)))?;
    fs_err::write(staging.join(MANIFEST_FILE), json).map_err(file_error(MANIFEST_FILE))
}

fn file_error(file: &str) -> impl FnOnce(io::Error) -> AssembleError {
    let file = file.to_owned();
    move |source| AssembleError::File { file, source }
}

/// A link would be read, or published, as whatever it leads to. What is not there is missed where it is read.
fn check_kind(folder: &Path, name: &str) -> Result<(), AssembleError> {
    match fs_err::symlink_metadata(folder.join(name)) {
        Ok(metadata) if !metadata.is_file() => Err(AssembleError::Kind { file: name.to_owned() }),
        _ => Ok(()),
    }
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
