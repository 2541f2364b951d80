//! How a model turns its strongest logit for a word into a weight, as the `SpladePooling` folder of a Sentence
//! Transformers repository says; `log(1 + relu(x))` where there is none. PURE but for reading that file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::config::MAX_CONFIG_BYTES;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Saturation {
    /// `log(1 + relu(x))`.
    #[default]
    Log,
    /// `log(1 + log(1 + relu(x)))`, as newer inference-free models have it.
    DoubleLog,
}

#[derive(Debug, thiserror::Error)]
pub enum PoolingError {
    #[error("failed to parse {file}")]
    Parse {
        file: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("failed to read {file}")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{field} = {found} in {file} is not supported; supported is {supported}")]
    Unsupported { file: String, field: &'static str, found: String, supported: &'static str },
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    pooling_strategy: Option<String>,
    #[serde(default)]
    activation_function: Option<String>,
}

/// What becomes of the weights of a text's tokens for one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    #[default]
    Max,
    Sum,
}

/// From logits to weights. Written as one word, which has been that of the saturation since before there were sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pooling {
    pub reduction: Reduction,
    pub saturation: Saturation,
}

const WORDS: [(&str, Pooling); 4] = [
    ("log", Pooling { reduction: Reduction::Max, saturation: Saturation::Log }),
    ("double-log", Pooling { reduction: Reduction::Max, saturation: Saturation::DoubleLog }),
    ("sum-log", Pooling { reduction: Reduction::Sum, saturation: Saturation::Log }),
    ("sum-double-log", Pooling { reduction: Reduction::Sum, saturation: Saturation::DoubleLog }),
];

impl From<Pooling> for String {
    fn from(pooling: Pooling) -> Self {
        let word = WORDS.iter().find(|(_, known)| *known == pooling);
        word.map_or_else(Self::new, |(word, _)| (*word).to_owned())
    }
}

impl TryFrom<String> for Pooling {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let known = WORDS.iter().find(|(known, _)| *known == word);
        known.map(|(_, pooling)| *pooling).ok_or_else(|| format!("pooling {word:?} is not known"))
    }
}

impl Saturation {
    pub fn apply(self, logit: f32) -> f32 {
        let once = logit.max(0.0).ln_1p();
        match self {
            Self::Log => once,
            Self::DoubleLog => once.ln_1p(),
        }
    }
}

impl Pooling {
    /// Whether this is the name of a pooling module's settings in a repository.
    pub fn is_config_file(name: &str) -> bool {
        name.split_once('/')
            .is_some_and(|(folder, file)| folder.ends_with("SpladePooling") && file == "config.json")
    }

    /// Of a folder whose modules are not listed: the first pooling module's settings, if there are some.
    pub fn read(folder: &Path) -> Result<Self, PoolingError> {
        match find(folder) {
            Some(path) => Self::read_file(folder, &path),
            None => Ok(Self::default()),
        }
    }

    /// `path` is below the folder.
    pub fn read_file(folder: &Path, path: &Path) -> Result<Self, PoolingError> {
        let file = path.strip_prefix(folder).unwrap_or(path).display().to_string();
        let read = |source| PoolingError::Read { file: file.clone(), source };
        if fs_err::metadata(path).map_err(read)?.len() > MAX_CONFIG_BYTES {
            return Err(read(std::io::Error::other(format!("larger than {MAX_CONFIG_BYTES} bytes"))));
        }
        Self::parse(&fs_err::read(path).map_err(read)?, &file)
    }

    fn parse(json: &[u8], file: &str) -> Result<Self, PoolingError> {
        let config: Config = serde_json::from_slice(json)
            .map_err(|source| PoolingError::Parse { file: file.to_owned(), source })?;
        let refuse = |field, found: &str, supported| {
            let (file, found) = (file.to_owned(), found.to_owned());
            Err(PoolingError::Unsupported { file, field, found, supported })
        };
        let reduction = match config.pooling_strategy.as_deref() {
            None | Some("max") => Reduction::Max,
            Some("sum") => Reduction::Sum,
            Some(found) => return refuse("pooling_strategy", found, "max or sum"),
        };
        let saturation = match config.activation_function.as_deref() {
            None | Some("relu") => Saturation::Log,
            Some("log1p_relu") => Saturation::DoubleLog,
            Some(found) => return refuse("activation_function", found, "relu or log1p_relu"),
        };
        Ok(Self { reduction, saturation })
    }
}

fn find(folder: &Path) -> Option<PathBuf> {
    let entries = fs_err::read_dir(folder).ok()?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().ends_with("SpladePooling"))
        .map(|entry| entry.path().join("config.json"))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_the_doubled_logarithm_are_read_from_the_pooling_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Pooling::read(folder.path()).unwrap(), Pooling::default());
        fs_err::create_dir(folder.path().join("1_SpladePooling")).unwrap();
        let config = r#"{"pooling_strategy":"sum","activation_function":"log1p_relu"}"#;
        fs_err::write(folder.path().join("1_SpladePooling/config.json"), config).unwrap();
        let expected = Pooling { reduction: Reduction::Sum, saturation: Saturation::DoubleLog };
        assert_eq!(Pooling::read(folder.path()).unwrap(), expected);
    }

    /// Served with another pooling, such a model would return plausible and wrong weights.
    #[test]
    fn other_poolings_are_refused_by_name() {
        for (json, message) in [
            (r#"{"pooling_strategy":"mean"}"#, "pooling_strategy = mean"),
            (r#"{"activation_function":"sigmoid"}"#, "activation_function = sigmoid"),
        ] {
            let error = Pooling::parse(json.as_bytes(), "1_SpladePooling/config.json").unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    /// Manifests of models that were cached before there were sums say `log`.
    #[test]
    fn a_pooling_is_written_as_one_word() {
        for (word, pooling) in WORDS {
            let json = format!("\"{word}\"");
            assert_eq!(serde_json::to_string(&pooling).unwrap(), json);
            assert_eq!(serde_json::from_str::<Pooling>(&json).unwrap(), pooling);
        }
        assert!(serde_json::from_str::<Pooling>("\"mean\"").is_err());
    }

    #[test]
    fn negative_logits_weigh_nothing() {
        for saturation in [Saturation::Log, Saturation::DoubleLog] {
            assert!(saturation.apply(-3.0).abs() < f32::EPSILON);
        }
        assert!((Saturation::Log.apply(1.0) - 2.0_f32.ln()).abs() < 1e-7);
    }
}
