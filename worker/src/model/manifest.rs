//! `manifest.json` of a published model: where it came from, and each file with its size and sha256. PURE.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::saturation::Pooling;

pub const MANIFEST_FILE: &str = "manifest.json";
pub const MODEL_FILE: &str = "model.onnx";
/// The weights of a converted ONNX file.
pub const WEIGHTS_FILE: &str = "model.weights";
/// For our kernels, where the model was converted.
pub const INT8_FILE: &str = "model.int8";
/// The same; only where the machine that made it could try it out.
pub const FP32_FILE: &str = "model.fp32";
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// Changes when a reader of this version could not use the file.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub pooling: Pooling,
    pub max_tokens: u32,
    pub vocabulary_size: u32,
    /// Bytes of the ONNX file and its weights, which are nearly all parameters.
    pub parameter_bytes: u64,
    /// Present where queries need no inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_search: Option<StaticSearch>,
    /// `sha256:` over the tokens by id and the tokenizer's file: what an index depends on beside the weights. Absent in
    /// manifests of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<String>,
    /// Why there is no int8 file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_refused: Option<String>,
    /// How near the int8 vectors come to those of fp32, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<Golden>,
    pub files: Vec<ManifestFile>,
    /// `sha256:` over names, sizes and hashes of the files.
    pub digest: String,
}

/// How queries are weighted without the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticSearch {
    /// A little-endian `f32` for each token id; 0 for tokens that do not count, special ones for example.
    pub file: String,
}

/// int8 against fp32 on a built-in set of texts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Golden {
    pub mean_cosine: f64,
    pub worst_cosine: f64,
    /// Share of the strongest 100 terms of a text that are among them in both.
    pub top100_kept: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManifestFile {
    pub name: String,
    pub size: u64,
    pub sha256: String,
}

impl Manifest {
    pub fn has_int8(&self) -> bool {
        self.file_bytes(INT8_FILE).is_some()
    }

    pub fn file_bytes(&self, name: &str) -> Option<u64> {
        self.files.iter().find(|file| file.name == name).map(|file| file.size)
    }

    /// Whether a fetch of this source and revision would end in this model.
    pub fn answers(&self, source: &str, revision: &str) -> bool {
        self.format == FORMAT
            && self.source == source
            && (self.requested_revision == revision || self.revision == revision)
    }

    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// What a worker with this model in fp32 needs at its default limits. On our kernels that is as in int8. Elsewhere: ONNX
    /// Runtime and the process itself, the weights with some slack, and intermediate values. Weights beside the ONNX file are mapped
    /// once for all threads; those within it are read by each thread for itself, and two of them are reckoned with.
    pub fn memory_bytes(&self) -> u64 {
        const PROCESS: u64 = 128 * 1024 * 1024;
        const TEXTS: u64 = 128 * 1024 * 1024;
        if let Some(bytes) = self.mapped_memory_bytes(FP32_FILE) {
            return bytes;
        }
        let copies = if self.file_bytes(WEIGHTS_FILE).is_some() { 0 } else { self.parameter_bytes };
        PROCESS + TEXTS + copies + self.parameter_bytes + self.parameter_bytes / 2
    }

    /// The same for int8.
    pub fn int8_memory_bytes(&self) -> Option<u64> {
        self.mapped_memory_bytes(INT8_FILE)
    }

    /// With our kernels the file is mapped as it is, and a text needs little.
    fn mapped_memory_bytes(&self, file: &str) -> Option<u64> {
        const PROCESS: u64 = 96 * 1024 * 1024;
        self.file_bytes(file).map(|bytes| PROCESS + bytes + bytes / 8)
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
pub(crate) mod tests {
    use super::*;

    /// A manifest with or without an int8 file.
    pub(crate) fn manifest_with(int8: bool) -> Manifest {
        let file = |name: &str| ManifestFile { name: name.to_owned(), size: 1, sha256: "00".repeat(32) };
        let names = [MODEL_FILE, TOKENIZER_FILE, INT8_FILE];
        let files: Vec<_> = names[..if int8 { 3 } else { 2 }].iter().map(|name| file(name)).collect();
        Manifest {
            format: FORMAT,
            source: "hf://lexiscale/test".to_owned(),
            requested_revision: "main".to_owned(),
            revision: "0".repeat(40),
            license: None,
            converter: None,
            pooling: Pooling::default(),
            max_tokens: 512,
            vocabulary_size: 7,
            parameter_bytes: 1,
            int8_refused: None,
            static_search: None,
            vocabulary: None,
            golden: None,
            source_digest: None,
            digest: digest(&files),
            files,
        }
    }

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
