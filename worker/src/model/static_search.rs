//! Queries without inference: a weight for each token of the vocabulary, which is all that a query's words weigh. Intake
//! brings the table into one form, whatever the repository keeps it in.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::model::weights::{Weights, WeightsError};

/// The published table: an f32 for each token id, least significant byte first.
pub const QUERY_WEIGHTS_FILE: &str = "query_weights.bin";
/// The table as a JSON object of weights by token.
pub const IDF_FILE: &str = "idf.json";

const TENSOR: &str = "weight";
/// A million tokens take some 30 MB.
const MAX_IDF_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum StaticSearchError {
    #[error("the table of weights for queries cannot be used")]
    Weights(#[from] WeightsError),
    #[error("failed to read {file}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to parse {file}")]
    Parse {
        file: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{file} names the token {token:?}, which the vocabulary does not have")]
    Token { file: String, token: String },
    #[error("the weight for queries of token {token} is {weight}, which is not a number from zero")]
    Weight { token: usize, weight: f32 },
    #[error("the table of weights for queries has {found} entries, but the vocabulary has {expected}")]
    Length { found: usize, expected: usize },
    #[error("the folder for queries has another tokenizer than the model, which is not supported")]
    Tokenizer,
}

/// Reads the table in `folder`, or in the repository's root where it is a JSON file there. `ids` are those of the tokens.
pub(crate) fn read(
    repository: &Path,
    folder: &Path,
    vocabulary_size: usize,
    ids: &HashMap<String, usize>,
) -> Result<Vec<f32>, StaticSearchError> {
    let json = [folder.join(IDF_FILE), repository.join(IDF_FILE)];
    let weights = if folder.join(crate::model::weights::SINGLE_FILE).exists() {
        let weights = Weights::open(folder)?;
        // The tokenizer may know fewer tokens than the model has rows.
        let found = weights.length(TENSOR)?;
        if found > vocabulary_size {
            return Err(StaticSearchError::Length { found, expected: vocabulary_size });
        }
        let mut values = weights.read(TENSOR, &[found])?;
        values.resize(vocabulary_size, 0.0);
        values
    } else {
        let path = json.iter().find(|path| path.exists()).unwrap_or(&json[0]);
        from_json(path, vocabulary_size, ids)?
    };
    match weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        Some(token) => Err(StaticSearchError::Weight { token, weight: weights[token] }),
        None => Ok(weights),
    }
}

fn from_json(
    path: &Path,
    vocabulary_size: usize,
    ids: &HashMap<String, usize>,
) -> Result<Vec<f32>, StaticSearchError> {
    let file = || path.display().to_string();
    let fail = |source| StaticSearchError::Read { file: file(), source };
    if fs_err::metadata(path).map_err(fail)?.len() > MAX_IDF_BYTES {
        return Err(fail(io::Error::other(format!("larger than {MAX_IDF_BYTES} bytes"))));
    }
    let bytes = fs_err::read(path).map_err(fail)?;
    let table: HashMap<String, f32> =
        serde_json::from_slice(&bytes).map_err(|source| StaticSearchError::Parse { file: file(), source })?;
    let mut weights = vec![0.0; vocabulary_size];
    for (token, weight) in table {
        match ids.get(&token).and_then(|id| weights.get_mut(*id)) {
            Some(place) => *place = weight,
            None => return Err(StaticSearchError::Token { file: file(), token }),
        }
    }
    Ok(weights)
}

pub fn to_bytes(weights: &[f32]) -> Vec<u8> {
    weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use lexiscale_fuzz::{Inputs, fuzz};

    use super::*;

    #[test]
    fn any_table_gets_a_verdict() {
        let (folder, ids) = (tempfile::tempdir().unwrap(), ids());
        let words = ["\"a\":", "1e39", "-1", "null", "\\u0000", ","];
        fuzz(&Inputs::of_texts("table", &[r#"{"a": 1.5, "b": 2}"#], &words), |input| {
            fs_err::write(folder.path().join(IDF_FILE), input).unwrap();
            if let Ok(weights) = read(folder.path(), folder.path(), 3, &ids) {
                assert!(
                    weights.len() == 3 && weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
                );
            }
        });
    }

    fn ids() -> HashMap<String, usize> {
        HashMap::from([("a".to_owned(), 0), ("b".to_owned(), 2)])
    }

    #[test]
    fn a_json_table_is_read_by_token() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(IDF_FILE), r#"{"b":1.5,"a":0.5}"#).unwrap();
        let elsewhere = folder.path().join("query_0_SparseStaticEmbedding");
        assert_eq!(read(folder.path(), &elsewhere, 3, &ids()).unwrap(), [0.5, 0.0, 1.5]);
        assert_eq!(to_bytes(&[1.0]), [0, 0, 128, 63]);
    }

    /// A weight that is no number would take every query that has its token out of the index.
    #[test]
    fn tables_that_are_not_weights_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (json, message) in [
            (r#"{"c":1.0}"#, "the token \"c\""),
            (r#"{"a":-1.0}"#, "token 0 is -1"),
            (r#"{"a":1e300}"#, "failed to parse"),
            ("[]", "failed to parse"),
        ] {
            fs_err::write(folder.path().join(IDF_FILE), json).unwrap();
            let error = read(folder.path(), folder.path(), 3, &ids()).unwrap_err().to_string();
            assert!(error.contains(message), "{json}: {error}");
        }
        fs_err::remove_file(folder.path().join(IDF_FILE)).unwrap();
        let error = read(folder.path(), folder.path(), 3, &ids()).unwrap_err();
        assert!(matches!(error, StaticSearchError::Read { .. }), "{error}");
    }
}
