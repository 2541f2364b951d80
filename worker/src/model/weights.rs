//! Tensors of a model folder: one safetensors file or several with an index. Only headers are kept in memory; a tensor
//! is read from the file when it is asked for, and always comes as f32.
//!
//! Headers are written by strangers, so their size, the number of tensors and every offset are checked first.

mod header;

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err::File;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

pub const SINGLE_FILE: &str = "model.safetensors";
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// A header names each tensor with some 100 bytes; the largest models have a few thousand.
const MAX_HEADER_BYTES: u64 = 16 * 1024 * 1024;
/// An index names each tensor and its file; the largest models have some hundred files.
const MAX_SHARDS: usize = 1000;
/// A file of this size or more that is nearly all holes was made to look large.
const MAX_HOLE_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("failed to read the model's weights")]
    Read(#[from] io::Error),
    #[error("{file} is not a safetensors file: {reason}")]
    Header { file: String, reason: String },
    #[error("{INDEX_FILE} is not valid: {reason}")]
    Index { reason: String },
    #[error("tensor {name} is missing")]
    Missing { name: String },
    #[error("tensor {name} has shape {found:?}, but config.json asks for {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor {name} has type {found}; supported are F32, F16 and BF16")]
    Type { name: String, found: String },
}

#[derive(Clone, Debug)]
struct Tensor {
    file: PathBuf,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    bytes: usize,
}

/// The tensors by name. Old names of layer norms (`gamma`, `beta`) are known under the new ones.
#[derive(Debug)]
pub struct Weights {
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    pub fn open(folder: &Path) -> Result<Self, WeightsError> {
        let mut tensors = HashMap::new();
        for file in files(folder)? {
            read_header(&folder.join(&file), &file, &mut tensors)?;
        }
        Ok(Self { tensors })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Fails unless the tensor is there with this shape and a type that can be read.
    pub fn check(&self, name: &str, expected: &[usize]) -> Result<(), WeightsError> {
        self.checked(name, expected).map(|_| ())
    }

    /// Entries of a tensor that is a list.
    pub fn length(&self, name: &str) -> Result<usize, WeightsError> {
        let tensor = self.find(name).ok_or_else(|| WeightsError::Missing { name: name.to_owned() })?;
        match tensor.shape.as_slice() {
            [length] => Ok(*length),
            found => {
                let (name, found) = (name.to_owned(), found.to_vec());
                Err(WeightsError::Shape { name, found, expected: vec![0] })
            }
        }
    }

    pub fn read(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.checked(name, expected)?;
        let mut file = File::open(&tensor.file)?;
        file.seek(SeekFrom::Start(tensor.start))?;
        let mut bytes = vec![0; tensor.bytes];
        file.read_exact(&mut bytes)?;
        Ok(to_f32(tensor.dtype, &bytes))
    }

    fn checked(&self, name: &str, expected: &[usize]) -> Result<&Tensor, WeightsError> {
        let tensor = self.find(name).ok_or_else(|| WeightsError::Missing { name: name.to_owned() })?;
        if tensor.shape != expected {
            let (found, expected) = (tensor.shape.clone(), expected.to_vec());
            return Err(WeightsError::Shape { name: name.to_owned(), found, expected });
        }
        match tensor.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(tensor),
            other => Err(WeightsError::Type { name: name.to_owned(), found: format!("{other:?}") }),
        }
    }

    /// Some checkpoints hold the encoder without the model's prefix.
    fn find(&self, name: &str) -> Option<&Tensor> {
        const PREFIXES: [&str; 4] = ["bert.", "distilbert.", "roberta.", "model."];
        let bare = || PREFIXES.into_iter().find_map(|prefix| name.strip_prefix(prefix));
        self.tensors.get(name).or_else(|| self.tensors.get(bare()?))
    }
}

fn files(folder: &Path) -> Result<Vec<String>, WeightsError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let index = folder.join(INDEX_FILE);
    if folder.join(SINGLE_FILE).exists() || !index.exists() {
        return Ok(vec![SINGLE_FILE.to_owned()]);
    }
    let invalid = |reason: String| WeightsError::Index { reason };
    if fs_err::metadata(&index)?.len() > MAX_HEADER_BYTES {
        return Err(invalid(format!("larger than {MAX_HEADER_BYTES} bytes")));
    }
    let index: Index =
        serde_json::from_slice(&fs_err::read(&index)?).map_err(|error| invalid(error.to_string()))?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort_unstable();
    files.dedup();
    if files.len() > MAX_SHARDS {
        return Err(invalid(format!("names {} files, at most {MAX_SHARDS} are read", files.len())));
    }
    match files.iter().find(|file| file.contains(['/', '\\']) || !file.ends_with(".safetensors")) {
        Some(file) => Err(invalid(format!("{file:?} is not the name of a safetensors file"))),
        None => Ok(files),
    }
}

fn read_header(path: &Path, file: &str, tensors: &mut HashMap<String, Tensor>) -> Result<(), WeightsError> {
    let invalid = |reason: String| WeightsError::Header { file: file.to_owned(), reason };
    if !fs_err::symlink_metadata(path)?.is_file() {
        return Err(invalid("not a regular file".to_owned()));
    }
    let mut reader = File::open(path)?;
    let metadata = reader.metadata()?;
    let size = metadata.len();
    if size >= MAX_HOLE_BYTES && metadata.blocks().saturating_mul(512) < size / 16 {
        return Err(invalid(format!("claims {size} bytes, nearly all of which are holes")));
    }
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(|_| invalid("shorter than 8 bytes".to_owned()))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length.saturating_add(8) > size {
        return Err(invalid(format!("announces a header of {length} bytes in a file of {size}")));
    }
    let mut header = Vec::new();
    (&mut reader).take(length).read_to_end(&mut header)?;
    header::check(&header).map_err(|error| invalid(error.to_string()))?;
    // Checks that offsets follow each other without gap or overlap and that each length is the product of its shape.
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| invalid(error.to_string()))?;
    let data_start = length + 8;
    if u64::try_from(metadata.data_len()).ok().and_then(|data| data.checked_add(data_start)) != Some(size) {
        return Err(invalid(format!("holds {size} bytes, but its header describes another length")));
    }
    let described = metadata.tensors();
    if described.len().saturating_add(tensors.len()) > header::MAX_TENSORS {
        return Err(invalid(format!("more than {} tensors", header::MAX_TENSORS)));
    }
    for (name, info) in described {
        let (start, end) = info.data_offsets;
        let tensor = Tensor {
            file: path.to_owned(),
            dtype: info.dtype,
            shape: info.shape.clone(),
            start: data_start + u64::try_from(start).map_err(|error| invalid(error.to_string()))?,
            bytes: end - start,
        };
        if let Some(other) = tensors.insert(modern_name(&name), tensor) {
            return Err(invalid(format!("tensor {name} is in {} as well", file_name(&other.file))));
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Checkpoints that began in TensorFlow call a layer norm's parameters by other names.
fn modern_name(name: &str) -> String {
    if let Some(stem) = name.strip_suffix("LayerNorm.gamma") {
        return format!("{stem}LayerNorm.weight");
    }
    if let Some(stem) = name.strip_suffix("LayerNorm.beta") {
        return format!("{stem}LayerNorm.bias");
    }
    name.to_owned()
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let halves = || bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match dtype {
        Dtype::F16 => {
            let values: Vec<f16> = halves().map(f16::from_bits).collect();
            let mut floats = vec![0.0; values.len()];
            values.convert_to_f32_slice(&mut floats);
            floats
        }
        Dtype::BF16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        // `checked` lets nothing else through.
        _ => bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(folder: &tempfile::TempDir, header: &str, data: usize) -> Result<Weights, WeightsError> {
        let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 0);
        fs_err::write(folder.path().join(SINGLE_FILE), file).unwrap();
        Weights::open(folder.path())
    }

    fn tensor(shape: &str, start: usize, end: usize) -> String {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
    }

    #[test]
    fn a_tensor_must_be_there_with_the_asked_shape() {
        let folder = tempfile::tempdir().unwrap();
        let weights = open(&folder, &tensor("[2,1]", 0, 8), 8).unwrap();
        assert_eq!(weights.read("a", &[2, 1]).unwrap(), [0.0, 0.0]);
        assert_eq!(
            weights.read("a", &[1, 2]).unwrap_err().to_string(),
            "tensor a has shape [2, 1], but config.json asks for [1, 2]"
        );
        assert_eq!(weights.read("b", &[1]).unwrap_err().to_string(), "tensor b is missing");
    }

    /// A header that lies about sizes must not make the converter allocate or read beyond the file.
    #[test]
    fn headers_that_lie_are_refused() {
        for (header, data) in [
            (tensor("[2,1]", 0, 8), 4),
            (tensor("[2,1]", 0, 8), 12),
            (tensor("[2,2]", 0, 8), 8),
            (tensor("[2,1]", 4, 12), 12),
            (tensor("[18446744073709551615,2]", 0, 8), 8),
            (tensor("[-1]", 0, 8), 8),
            ("{".to_owned(), 0),
            ("[]".to_owned(), 0),
        ] {
            let error = open(&tempfile::tempdir().unwrap(), &header, data).unwrap_err();
            assert!(matches!(error, WeightsError::Header { .. }), "{header}: {error}");
        }
    }

    #[test]
    fn a_header_longer_than_the_file_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for length in [9_u64, u64::MAX, u64::MAX - 7] {
            fs_err::write(folder.path().join(SINGLE_FILE), length.to_le_bytes()).unwrap();
            assert!(matches!(Weights::open(folder.path()), Err(WeightsError::Header { .. })), "{length}");
        }
        fs_err::write(folder.path().join(SINGLE_FILE), [0; 3]).unwrap();
        assert!(matches!(Weights::open(folder.path()), Err(WeightsError::Header { .. })));
    }

    #[test]
    fn an_index_cannot_point_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["../other.safetensors", "/etc/passwd", "a\\\\b.safetensors", "config.json"] {
            let index = format!(r#"{{"weight_map":{{"a":"{file}"}}}}"#);
            fs_err::write(folder.path().join(INDEX_FILE), index).unwrap();
            assert!(matches!(Weights::open(folder.path()), Err(WeightsError::Index { .. })), "{file}");
        }
    }

    #[test]
    fn old_names_of_layer_norms_are_known() {
        assert_eq!(modern_name("bert.embeddings.LayerNorm.gamma"), "bert.embeddings.LayerNorm.weight");
        assert_eq!(modern_name("bert.embeddings.LayerNorm.beta"), "bert.embeddings.LayerNorm.bias");
        assert_eq!(modern_name("cls.predictions.bias"), "cls.predictions.bias");
    }

    #[test]
    fn half_precision_is_widened_exactly() {
        let f16_bytes: Vec<u8> =
            [1.5_f32, -0.25].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        assert_eq!(to_f32(Dtype::F16, &f16_bytes), [1.5, -0.25]);
        let bf16_bytes: Vec<u8> =
            [1.5_f32, -0.25].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        assert_eq!(to_f32(Dtype::BF16, &bf16_bytes), [1.5, -0.25]);
    }

    proptest! {
        #[test]
        fn any_header_gets_a_verdict(
            junk in ".{0,120}",
            shape in proptest::collection::vec(any::<u64>(), 0..5),
            (start, end) in any::<(u64, u64)>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let _ = open(&folder, &junk, 16);
            let header = format!(r#"{{"a":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}}}"#);
            if let Ok(weights) = open(&folder, &header, 16) {
                let shape: Vec<usize> = shape.iter().map(|size| usize::try_from(*size).unwrap()).collect();
                prop_assert_eq!(weights.read("a", &shape).unwrap().len(), 4);
            }
        }
    }
}
