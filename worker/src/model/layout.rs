//! How a Sentence Transformers repository is put together, as its `modules.json` says: which folder holds the masked-language
//! model, how its logits are pooled, and whether queries have a table of weights in place of a model.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::model::config::MAX_CONFIG_BYTES;
use crate::model::manifest::is_safe_name;
use crate::model::saturation::{Pooling, PoolingError};

pub const MODULES_FILE: &str = "modules.json";
pub const ROUTER_FILE: &str = "router_config.json";

/// Paths below the repository, empty or with a slash at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Where the masked-language model lies.
    pub model: String,
    pub pooling: Pooling,
    /// Where the table of weights for queries lies.
    pub static_search: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
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
    #[error("{file} names the path {path:?}, which is not one of a repository")]
    Path { file: String, path: String },
    #[error(
        "{file} asks for the modules {found}; supported are a Transformer with a SpladePooling, and a Router that \
         gives these to documents and a SparseStaticEmbedding to queries"
    )]
    Unsupported { file: String, found: String },
    #[error(transparent)]
    Pooling(#[from] PoolingError),
}

#[derive(Clone, Debug)]
struct Module {
    /// Last part of the type's name.
    kind: String,
    path: String,
}

#[derive(Deserialize)]
struct RawModule {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RawRouter {
    types: BTreeMap<String, String>,
    structure: BTreeMap<String, Vec<String>>,
}

impl Layout {
    pub fn read(folder: &Path) -> Result<Self, LayoutError> {
        let Some(json) = read(folder, MODULES_FILE)? else {
            return Ok(Self { pooling: Pooling::read(folder)?, ..Self::default() });
        };
        let raw: Vec<RawModule> = parse(&json, MODULES_FILE)?;
        let modules = raw
            .into_iter()
            .map(|module| Module::new(&module.kind, &module.path, MODULES_FILE))
            .collect::<Result<Vec<_>, _>>()?;
        match modules.as_slice() {
            [router] if ["Router", "Asym"].contains(&router.kind.as_str()) => routed(folder, &router.path),
            modules => documents(folder, modules, MODULES_FILE),
        }
    }
}

impl Module {
    fn new(kind: &str, path: &str, file: &str) -> Result<Self, LayoutError> {
        let path = path.trim_end_matches('/');
        if !path.is_empty() && !is_safe_name(path) {
            return Err(LayoutError::Path { file: file.to_owned(), path: path.to_owned() });
        }
        let kind = kind.rsplit('.').next().unwrap_or_default().to_owned();
        let path = if path.is_empty() { String::new() } else { format!("{path}/") };
        Ok(Self { kind, path })
    }
}

/// Each route's modules are named by their folders below that of the router.
fn routed(folder: &Path, base: &str) -> Result<Layout, LayoutError> {
    let mut file = format!("{base}{ROUTER_FILE}");
    let json = if let Some(json) = read(folder, &file)? {
        json
    } else {
        file = format!("{base}config.json");
        read(folder, &file)?.unwrap_or_default()
    };
    let RawRouter { types, structure } = parse(&json, &file)?;
    let route = |name: &str| -> Result<Vec<Module>, LayoutError> {
        let ids = structure.get(name).map(Vec::as_slice).unwrap_or_default();
        let module = |id: &String| {
            let kind = types.get(id).map(String::as_str).unwrap_or_default();
            Module::new(kind, &format!("{base}{id}"), &file)
        };
        ids.iter().map(module).collect()
    };
    let (query, document) = (route("query")?, route("document")?);
    let layout = documents(folder, &document, &file)?;
    match query.as_slice() {
        [table] if table.kind == "SparseStaticEmbedding" => {
            Ok(Layout { static_search: Some(table.path.clone()), ..layout })
        }
        // Both sides go the same way.
        _ if structure.get("query") == structure.get("document") => Ok(layout),
        _ => Err(unsupported(&query, &file)),
    }
}

fn documents(folder: &Path, modules: &[Module], file: &str) -> Result<Layout, LayoutError> {
    let [model, pooling] = modules else {
        return Err(unsupported(modules, file));
    };
    if !["Transformer", "MLMTransformer"].contains(&model.kind.as_str()) || pooling.kind != "SpladePooling" {
        return Err(unsupported(modules, file));
    }
    let path = folder.join(&pooling.path).join("config.json");
    let pooling = Pooling::read_file(folder, &path)?;
    Ok(Layout { model: model.path.clone(), pooling, static_search: None })
}

fn unsupported(modules: &[Module], file: &str) -> LayoutError {
    let kinds: Vec<&str> = modules.iter().take(8).map(|module| module.kind.as_str()).collect();
    let found = if kinds.is_empty() { "(none)".to_owned() } else { kinds.join(", ") };
    LayoutError::Unsupported { file: file.to_owned(), found }
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8], file: &str) -> Result<T, LayoutError> {
    serde_json::from_slice(json).map_err(|source| LayoutError::Parse { file: file.to_owned(), source })
}

fn read(folder: &Path, file: &str) -> Result<Option<Vec<u8>>, LayoutError> {
    let fail = |source| LayoutError::Read { file: file.to_owned(), source };
    let path = folder.join(file);
    match fs_err::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
        Ok(metadata) if metadata.len() > MAX_CONFIG_BYTES => {
            Err(fail(io::Error::other(format!("larger than {MAX_CONFIG_BYTES} bytes"))))
        }
        Ok(_) => fs_err::read(&path).map(Some).map_err(fail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::saturation::{Reduction, Saturation};

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        folder
    }

    const SUM: &str = r#"{"pooling_strategy":"sum","activation_function":"log1p_relu"}"#;
    const PLAIN: &str = r#"[{"path":"","type":"sentence_transformers.sparse_encoder.models.MLMTransformer"},
        {"path":"1_SpladePooling","type":"sentence_transformers.sparse_encoder.models.SpladePooling"}]"#;
    const ROUTER: &str = r#"[{"path":"","type":"sentence_transformers.models.Router"}]"#;

    fn router(query: &str) -> String {
        format!(
            r#"{{"types":{{"q":"a.SparseStaticEmbedding","d":"b.Transformer","p":"c.SpladePooling"}},
                "structure":{{"query":[{query}],"document":["d","p"]}},"parameters":{{}}}}"#
        )
    }

    #[test]
    fn a_transformer_and_its_pooling_are_found() {
        let folder = folder(&[(MODULES_FILE, PLAIN), ("1_SpladePooling/config.json", SUM)]);
        let pooling = Pooling { reduction: Reduction::Sum, saturation: Saturation::DoubleLog };
        let expected = Layout { pooling, ..Layout::default() };
        assert_eq!(Layout::read(folder.path()).unwrap(), expected);
    }

    /// Each side goes its own way: documents through the model, queries through a table.
    #[test]
    fn a_router_has_a_side_for_queries() {
        for file in [ROUTER_FILE, "config.json"] {
            let router = router(r#""q""#);
            let folder = folder(&[(MODULES_FILE, ROUTER), (file, &router), ("p/config.json", SUM)]);
            let layout = Layout::read(folder.path()).unwrap();
            assert_eq!((layout.model.as_str(), layout.static_search.as_deref()), ("d/", Some("q/")));
        }
        let router = router(r#""d","p""#);
        let folder = folder(&[(MODULES_FILE, ROUTER), (ROUTER_FILE, &router), ("p/config.json", SUM)]);
        assert_eq!(Layout::read(folder.path()).unwrap().static_search, None);
    }

    /// Left out without a word, a module would be missing in every vector.
    #[test]
    fn other_modules_are_refused_by_name() {
        let dense = PLAIN.replace("SpladePooling\"}", "Dense\"}");
        let outside = PLAIN.replace("1_SpladePooling\"", "../SpladePooling\"");
        for (modules, router, message) in [
            ("[]", "", "the modules (none)"),
            ("{}", "", "failed to parse modules.json"),
            (dense.as_str(), "", "MLMTransformer, Dense"),
            (outside.as_str(), "", "names the path \"../SpladePooling\""),
            (ROUTER, "{}", "failed to parse router_config.json"),
            (ROUTER, &router(r#""d""#), "asks for the modules Transformer;"),
            (ROUTER, &router(""), "asks for the modules (none)"),
        ] {
            let files = [(MODULES_FILE, modules), (ROUTER_FILE, router), ("p/config.json", SUM)];
            let error = Layout::read(folder(&files).path()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
