//! Which files of a repository a worker needs. PURE.

use serde::{Deserialize, Serialize};

use crate::model::layout::{MODULES_FILE, ROUTER_FILE};
use crate::model::manifest::is_safe_name;
use crate::model::saturation::Pooling;
use crate::model::static_search::IDF_FILE;
use crate::model::weights::{INDEX_FILE, SINGLE_FILE};
use crate::prompts::PROMPTS_FILE;

/// Taken from the model's folder when they are there.
const OPTIONAL: [&str; 3] = ["tokenizer_config.json", "special_tokens_map.json", "sentence_bert_config.json"];
/// Taken from the folder of a table of weights for queries.
const TABLE: [&str; 4] = ["config.json", SINGLE_FILE, IDF_FILE, "tokenizer.json"];
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// In the order in which they are preferred.
const ONNX: [&str; 2] = ["onnx/model.onnx", "model.onnx"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelFiles {
    /// Shipped by the repository under this name, and used as it is.
    Onnx(String),
    /// To be converted.
    Safetensors(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Path of the masked-language model's folder below the repository: empty, or with a slash at the end.
    pub root: String,
    pub model: ModelFiles,
    /// Settings and tokenizer.
    pub small: Vec<String>,
    /// What queries need in place of a model. Read by the fetch and not published.
    pub table: Vec<String>,
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
        self.small.iter().chain(&self.table).chain(model).map(String::as_str)
    }

    /// Name of the model's settings.
    pub fn config(&self) -> String {
        format!("{}config.json", self.root)
    }
}

pub fn select(names: &[String]) -> Result<Selection, SelectError> {
    let root = root(names);
    let has_at_top = |name: &str| names.iter().any(|known| known == name);
    let has = |name: &str| has_at_top(&format!("{root}{name}"));
    let below_root = |name: &str| format!("{root}{name}");
    if let Some(name) = REQUIRED.into_iter().find(|name| !has(name)) {
        return Err(SelectError::Missing { name });
    }
    let mut small: Vec<String> =
        REQUIRED.into_iter().chain(OPTIONAL).filter(|name| has(name)).map(below_root).collect();
    let at_top = [MODULES_FILE, ROUTER_FILE, PROMPTS_FILE];
    small.extend(at_top.into_iter().filter(|name| has_at_top(name)).map(str::to_owned));
    small.extend(names.iter().filter(|name| is_safe_name(name) && Pooling::is_config_file(name)).cloned());
    let table = table(names);

    // A model with external data is more files than the one that ONNX Runtime is given.
    let is_whole = |name: &&str| has(name) && !has(&format!("{name}_data")) && !has(&format!("{name}.data"));
    if let Some(name) = ONNX.iter().find(|name| is_whole(name)) {
        return Ok(Selection { model: ModelFiles::Onnx(below_root(name)), root, small, table });
    }
    let mut weights: Vec<String> =
        names.iter().filter(|name| name.strip_prefix(&root).is_some_and(is_shard)).cloned().collect();
    if has(SINGLE_FILE) {
        weights = vec![below_root(SINGLE_FILE)];
    } else if has(INDEX_FILE) && !weights.is_empty() {
        small.push(below_root(INDEX_FILE));
    } else {
        return Err(SelectError::NoModel { found: weight_files(names) });
    }
    Ok(Selection { model: ModelFiles::Safetensors(weights), root, small, table })
}

/// A repository whose modules lie in folders of their own has the model in one of these; [`Layout::read`] says later
/// whether it is the right one.
///
/// [`Layout::read`]: crate::model::layout::Layout::read
fn root(names: &[String]) -> String {
    let is_modular = names.iter().any(|name| name == MODULES_FILE);
    let folder = names.iter().filter(|name| is_safe_name(name)).find_map(|name| {
        let (folder, file) = name.split_once('/')?;
        (file == "config.json" && folder.ends_with("Transformer")).then(|| format!("{folder}/"))
    });
    folder.filter(|_| is_modular).unwrap_or_default()
}

/// The table of weights for queries, wherever it is.
fn table(names: &[String]) -> Vec<String> {
    let is_of_table = |name: &&String| {
        is_safe_name(name)
            && name.split_once('/').is_some_and(|(folder, file)| {
                folder.ends_with("SparseStaticEmbedding") && TABLE.contains(&file)
            })
    };
    let mut table: Vec<String> = names.iter().filter(is_of_table).cloned().collect();
    if !table.is_empty() && names.iter().any(|name| name == IDF_FILE) {
        table.push(IDF_FILE.to_owned());
    }
    table
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

    /// Such a repository has no model in its root, or an outdated one.
    #[test]
    fn a_routed_model_lies_in_a_folder_with_its_table_beside_it() {
        let given = [
            MODULES_FILE,
            ROUTER_FILE,
            "document_0_Transformer/config.json",
            "document_0_Transformer/tokenizer.json",
            "document_0_Transformer/model.safetensors",
            "document_1_SpladePooling/config.json",
            "query_0_SparseStaticEmbedding/config.json",
            "query_0_SparseStaticEmbedding/model.safetensors",
            "query_0_SparseStaticEmbedding/vocab.txt",
        ];
        let names: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
        let selection = select(&names).unwrap();
        assert_eq!(selection.config(), "document_0_Transformer/config.json");
        let weights = "document_0_Transformer/model.safetensors".to_owned();
        assert_eq!(selection.model, ModelFiles::Safetensors(vec![weights]));
        assert_eq!(selection.table, given[6..8]);
        let small = [given[2], given[3], MODULES_FILE, ROUTER_FILE, given[5]];
        assert_eq!(selection.small, small);
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let error = select(&names(&["pytorch_model.bin"])).unwrap_err().to_string();
        assert!(error.contains("what it has is pytorch_model.bin"), "{error}");
        let error = select(&["config.json".to_owned()]).unwrap_err();
        assert_eq!(error, SelectError::Missing { name: "tokenizer.json" });
    }
}
