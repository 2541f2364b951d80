//! Names under which a model's files may lie, for places that list nothing. PURE. What is named otherwise needs a `SHA256SUMS`.

use serde::Deserialize;

/// Shards and their index come from the index itself.
pub(super) const NAMES: [&str; 16] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_SpladePooling/config.json",
    "router_config.json",
    "idf.json",
    "onnx/model.onnx",
    "onnx/model.onnx_data",
    "model.onnx",
    "model.onnx_data",
    "model.safetensors",
    INDEX,
];

pub(super) const INDEX: &str = "model.safetensors.index.json";
pub(super) const MAX_INDEX_BYTES: u64 = 16 * 1024 * 1024;

/// Whether a file of this name belongs to a model.
pub(super) fn is_of_models(name: &str) -> bool {
    NAMES.contains(&name) || name.ends_with(".safetensors")
}

/// The files that an index of shards names.
pub(super) fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    const MOST: usize = 256;
    let Index { weight_map } = serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if names.len() > MOST { Err(format!("it names {} shards", names.len())) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    use lexiscale_fuzz::{Inputs, fuzz};

    use super::*;

    #[test]
    fn any_index_gets_a_verdict() {
        let seed = r#"{"metadata":{"total_size":9},"weight_map":{"a.weight":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
        let words = ["\"weight_map\":{", "\"x\":\"y\",", "null", "../"];
        fuzz(&Inputs::of_texts("index", &[seed], &words), |input| {
            if let Ok(names) = shards(input) {
                assert!(names.is_sorted() && names.len() <= 256, "{names:?}");
            }
        });
    }
}
