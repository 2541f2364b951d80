//! Checks a published folder against its manifest. A [`VerifiedModel`] is the only thing that the backend loads, so a
//! half-written, truncated or swapped file cannot be served.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err::File;
use lexiscale_wire::Precision;
use sha2::{Digest, Sha256};

use crate::model::manifest::{
    FORMAT, FP32_FILE, INT8_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, ManifestFile, TOKENIZER_FILE, digest,
    hexadecimal, is_safe_name,
};
use crate::precision::Arithmetic;

const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("no published model in {folder}: {MANIFEST_FILE} is missing")]
    Unpublished { folder: String },
    #[error("failed to read {file}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to parse {MANIFEST_FILE}")]
    Manifest(#[source] serde_json::Error),
    #[error("{MANIFEST_FILE} has format {found}; this worker reads {FORMAT}")]
    Format { found: u32 },
    #[error("{MANIFEST_FILE} does not list {name}")]
    Unlisted { name: &'static str },
    #[error("{MANIFEST_FILE} lists {name:?}, which is not a plain file name")]
    Name { name: String },
    #[error("{name} is not a regular file")]
    Kind { name: String },
    #[error("{name} has {found} bytes, but {MANIFEST_FILE} says {expected}")]
    Size { name: String, found: u64, expected: u64 },
    #[error("{name} does not have the sha256 that {MANIFEST_FILE} says")]
    Checksum { name: String },
    #[error("the digest in {MANIFEST_FILE} is not that of its files")]
    Digest,
}

/// A folder whose files, those that were asked for, are exactly those of its manifest.
#[derive(Clone, Debug)]
pub struct VerifiedModel {
    folder: PathBuf,
    manifest: Manifest,
}

impl VerifiedModel {
    /// Checks everything.
    pub fn open(folder: &Path) -> Result<Self, VerifyError> {
        let manifest = read_manifest(folder)?;
        Self::check(folder, manifest, |_| true)
    }

    /// Checks what is needed to serve so. Reading the weights of another would take most of a start.
    pub fn for_arithmetic(
        folder: &Path,
        manifest: Manifest,
        arithmetic: Arithmetic,
    ) -> Result<Self, VerifyError> {
        let unused = arithmetic.unused_files();
        Self::check(folder, manifest, |name| !unused.contains(&name))
    }

    fn check(
        folder: &Path,
        manifest: Manifest,
        is_needed: impl Fn(&str) -> bool,
    ) -> Result<Self, VerifyError> {
        for file in manifest.files.iter().filter(|file| is_needed(&file.name)) {
            check(folder, file)?;
        }
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn model_file(&self) -> PathBuf {
        self.folder.join(MODEL_FILE)
    }

    /// What our kernels map.
    pub fn packed_file(&self, precision: Precision) -> PathBuf {
        self.folder.join(match precision {
            Precision::Int8 => INT8_FILE,
            Precision::Fp32 => FP32_FILE,
        })
    }

    pub fn tokenizer_file(&self) -> PathBuf {
        self.folder.join(TOKENIZER_FILE)
    }

    /// Another file of the model, where its manifest lists it.
    pub fn listed_file(&self, name: &str) -> Option<PathBuf> {
        self.manifest.files.iter().any(|file| file.name == name).then(|| self.folder.join(name))
    }
}

/// The manifest of a folder, with its own consistency checked but not its files.
pub fn read_manifest(folder: &Path) -> Result<Manifest, VerifyError> {
    let path = folder.join(MANIFEST_FILE);
    let read = |source| VerifyError::Read { file: path.display().to_string(), source };
    let metadata = match fs_err::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(VerifyError::Unpublished { folder: folder.display().to_string() });
        }
        other => other.map_err(read)?,
    };
    if !metadata.is_file() || metadata.len() > MAX_MANIFEST_BYTES {
        return Err(VerifyError::Kind { name: MANIFEST_FILE.to_owned() });
    }
    let manifest: Manifest =
        serde_json::from_slice(&fs_err::read(&path).map_err(read)?).map_err(VerifyError::Manifest)?;
    if manifest.format != FORMAT {
        return Err(VerifyError::Format { found: manifest.format });
    }
    for name in [MODEL_FILE, TOKENIZER_FILE] {
        if !manifest.files.iter().any(|file| file.name == name) {
            return Err(VerifyError::Unlisted { name });
        }
    }
    if digest(&manifest.files) != manifest.digest {
        return Err(VerifyError::Digest);
    }
    Ok(manifest)
}

fn check(folder: &Path, file: &ManifestFile) -> Result<(), VerifyError> {
    let name = || file.name.clone();
    if !is_safe_name(&file.name) {
        return Err(VerifyError::Name { name: name() });
    }
    let path = folder.join(&file.name);
    let read = |source| VerifyError::Read { file: path.display().to_string(), source };
    let metadata = fs_err::symlink_metadata(&path).map_err(read)?;
    if !metadata.is_file() {
        return Err(VerifyError::Kind { name: name() });
    }
    if metadata.len() != file.size {
        return Err(VerifyError::Size { name: name(), found: metadata.len(), expected: file.size });
    }
    if sha256_of(&path).map_err(read)? != file.sha256 {
        return Err(VerifyError::Checksum { name: name() });
    }
    Ok(())
}

/// Hashes a file without holding it in memory.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    for_each_chunk(path, |chunk| hash.update(chunk))?;
    Ok(hexadecimal(&hash.finalize()))
}

pub fn for_each_chunk(path: &Path, mut consume: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => consume(&buffer[..count]),
        }
    }
}
