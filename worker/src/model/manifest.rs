//! `manifest.json` of a published model: where it came from, and each file with its size and sha256. PURE.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::saturation::Saturation;

pub const MANIFEST_FILE: &str = "manifest.json";
pub const MODEL_FILE: &str = "model.onnx";
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// Changes when a reader of this version could not use the file.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub format: u32,
    /// As it was asked for, such as `hf://organisation/name`.
    pub source: String,
    /// As it was asked for: a branch, a tag or a commit.
    pub requested_revision: String,
    /// The commit, or what else names one state of the source.
    pub revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// `sha256:` over the files as the source had them, before anything was made of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// Version of the converter; none when the repository shipped the ONNX file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converter: Option<u32>,
    pub pooling: Saturation,
    pub max_tokens: u32,
    pub vocabulary_size: u32,
    /// Bytes of the model file, which is nearly all parameters.
    pub parameter_bytes: u64,
    pub files: Vec<ManifestFile>,
    /// `sha256:` over names, sizes and hashes of the files.
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManifestFile {
    pub name: String,
    pub size: u64,
    pub sha256: String,
}

impl Manifest {
    /// Whether a fetch of this source and revision would end in this model.
    pub fn answers(&self, source: &str, revision: &str) -> bool {
        self.format == FORMAT
            && self.source == source
            && (self.requested_revision == revision || self.revision == revision)
    }

    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// What a worker with this model needs at its default limits: ONNX Runtime and the process itself, the weights with
    /// some slack, and one batch of intermediate values. Measured peaks under full load are 0.3 to 0.9 of it.
    pub fn memory_bytes(&self) -> u64 {
        const PROCESS: u64 = 128 * 1024 * 1024;
        const BATCH: u64 = 128 * 1024 * 1024;
        PROCESS + BATCH + self.parameter_bytes + self.parameter_bytes / 2
    }
}

pub fn digest(files: &[ManifestFile]) -> String {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort();
    let mut hash = Sha256::new();
    for ManifestFile { name, size, sha256 } in sorted {
        hash.update(format!("{sha256} {size} {name}\n"));
    }
    format!("sha256:{}", hexadecimal(&hash.finalize()))
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// Whether a name from a repository or a manifest may become a path below the model's folder.
pub fn is_safe_name(name: &str) -> bool {
    let is_safe_part = |part: &str| {
        (1..=128).contains(&part.len())
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    name.split('/').count() <= 3 && name.split('/').all(is_safe_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_files() {
        let file = |name: &str, size| ManifestFile { name: name.to_owned(), size, sha256: "00".repeat(32) };
        let (a, b) = (file("a", 1), file("b", 2));
        assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b, a.clone()]));
        assert_ne!(digest(&[a]), digest(&[file("a", 3)]));
        assert_eq!(digest(&[]), format!("sha256:{}", hexadecimal(&Sha256::digest(b""))));
    }

    /// A name from the hub that leaves the folder would let a repository write anywhere on the volume.
    #[test]
    fn names_stay_below_the_folder() {
        for name in [
            "config.json",
            "onnx/model.onnx",
            "1_SpladePooling/config.json",
            "model-00001-of-00002.safetensors",
        ] {
            assert!(is_safe_name(name), "{name}");
        }
        for name in
            ["", "..", "../x", "/x", "a//b", "a/../b", ".hidden", "a/.git/b", "a\\b", "a b", "a/b/c/d", "é"]
        {
            assert!(!is_safe_name(name), "{name}");
        }
    }
}
