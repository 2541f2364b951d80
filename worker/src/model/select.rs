//! Which files of a repository a worker needs. PURE.

use crate::model::manifest::is_safe_name;
use crate::model::saturation::Saturation;
use crate::model::weights::{INDEX_FILE, SINGLE_FILE};

/// Taken when they are there.
const OPTIONAL: [&str; 5] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// In the order in which they are preferred.
const ONNX: [&str; 2] = ["onnx/model.onnx", "model.onnx"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelFiles {
    /// Shipped by the repository under this name, and used as it is.
    Onnx(String),
    /// To be converted.
    Safetensors(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub model: ModelFiles,
    /// Settings and tokenizer.
    pub small: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("the repository has no {name}, which is needed")]
    Missing { name: &'static str },
    #[error(
        "the repository has neither {SINGLE_FILE} nor an ONNX model without external data; what it has is {found}"
    )]
    NoModel { found: String },
}

impl Selection {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let model: &[String] = match &self.model {
            ModelFiles::Onnx(name) => std::slice::from_ref(name),
            ModelFiles::Safetensors(names) => names,
        };
        self.small.iter().chain(model).map(String::as_str)
    }
}

pub fn select(names: &[String]) -> Result<Selection, SelectError> {
    let has = |name: &str| names.iter().any(|known| known == name);
    if let Some(name) = REQUIRED.into_iter().find(|name| !has(name)) {
        return Err(SelectError::Missing { name });
    }
    let mut small: Vec<String> =
        REQUIRED.into_iter().chain(OPTIONAL).filter(|name| has(name)).map(str::to_owned).collect();
    small.extend(names.iter().filter(|name| is_safe_name(name) && Saturation::is_config_file(name)).cloned());

    // A model with external data is more files than the one that ONNX Runtime is given.
    let is_whole = |name: &&str| has(name) && !has(&format!("{name}_data")) && !has(&format!("{name}.data"));
    if let Some(name) = ONNX.iter().find(|name| is_whole(name)) {
        return Ok(Selection { model: ModelFiles::Onnx((*name).to_owned()), small });
    }
    let mut weights: Vec<String> = names.iter().filter(|name| is_shard(name)).cloned().collect();
    if has(SINGLE_FILE) {
        weights = vec![SINGLE_FILE.to_owned()];
    } else if has(INDEX_FILE) && !weights.is_empty() {
        small.push(INDEX_FILE.to_owned());
    } else {
        return Err(SelectError::NoModel { found: weight_files(names) });
    }
    Ok(Selection { model: ModelFiles::Safetensors(weights), small })
}

fn is_shard(name: &str) -> bool {
    is_safe_name(name)
        && name.starts_with("model-")
        && name.ends_with(".safetensors")
        && name.contains("-of-")
}

fn weight_files(names: &[String]) -> String {
    let endings = [".bin", ".safetensors", ".onnx", ".onnx_data", ".data", ".h5", ".msgpack", ".gguf", ".pt"];
    let found: Vec<&str> = names
        .iter()
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .take(5)
        .map(String::as_str)
        .collect();
    if found.is_empty() { "no weights at all".to_owned() } else { found.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        ["config.json", "tokenizer.json"].iter().chain(names).map(|name| (*name).to_owned()).collect()
    }

    fn selected(given: &[&str]) -> Vec<String> {
        select(&names(given)).unwrap().names().map(str::to_owned).collect()
    }

    #[test]
    fn onnx_is_preferred_and_then_no_weights_are_downloaded() {
        assert_eq!(
            selected(&["model.safetensors", "onnx/model.onnx", "model.onnx", "README.md"]),
            ["config.json", "tokenizer.json", "onnx/model.onnx"]
        );
    }

    #[test]
    fn onnx_with_external_data_is_passed_over() {
        assert_eq!(
            selected(&["model.safetensors", "onnx/model.onnx", "onnx/model.onnx_data"]),
            ["config.json", "tokenizer.json", "model.safetensors"]
        );
    }

    #[test]
    fn shards_come_with_their_index() {
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", INDEX_FILE];
        let expected = ["config.json", "tokenizer.json", INDEX_FILE, shards[0], shards[1]];
        assert_eq!(selected(&shards), expected);
    }

    #[test]
    fn settings_of_sentence_transformers_are_taken_along() {
        let given = [
            "model.safetensors",
            "modules.json",
            "1_SpladePooling/config.json",
            "a/../xSpladePooling/config.json",
        ];
        let expected = [
            "config.json",
            "tokenizer.json",
            "modules.json",
            "1_SpladePooling/config.json",
            "model.safetensors",
        ];
        assert_eq!(selected(&given), expected);
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let error = select(&names(&["pytorch_model.bin"])).unwrap_err().to_string();
        assert!(error.contains("what it has is pytorch_model.bin"), "{error}");
        let error = select(&["config.json".to_owned()]).unwrap_err();
        assert_eq!(error, SelectError::Missing { name: "tokenizer.json" });
    }
}
