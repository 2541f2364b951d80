//! The catalog: which model an id means. The chart writes it, users add to it. PURE.

use std::collections::BTreeMap;

use lexiscale_crds::Service;
use serde::Deserialize;

use crate::model::{InvalidRevision, InvalidSource, ModelRef, ModelSource, Place, Revision};

/// The model of service `elser` where the catalog names no other: the id that Elasticsearch itself would use.
const ELSER_DEFAULT: &str = ".elser_model_2_linux-x86_64";

/// Model ids and what they mean. No id twice, and the default is among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    models: BTreeMap<String, Entry>,
    default_model_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    source: ModelSource,
    revision: Revision,
    license: Option<String>,
    hub_endpoint: Option<String>,
    checksums: BTreeMap<String, String>,
    public_key: Option<String>,
    bytes: Option<u64>,
}

/// A catalog file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("failed to read the catalog as YAML")]
    Yaml(#[from] serde_norway::Error),
    #[error("failed to read the source of model {id:?}")]
    Source { id: String, source: InvalidSource },
    #[error("failed to read the revision of model {id:?}")]
    Revision { id: String, source: InvalidRevision },
    #[error("model {0:?} is listed twice")]
    Twice(String),
    #[error("entry with source {0:?} has no ids")]
    NoIds(String),
    #[error("defaultModelId {0:?} is not among the models")]
    Default(String),
}

/// An id that means no model, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "model id {id:?} is neither in the operator's catalog nor of the form organisation/name[@revision]; \
     add it to the chart's catalog, or name a repository of the hub. Known ids: {known}"
)]
pub struct UnknownModel {
    id: String,
    known: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    models: Vec<FileEntry>,
    default_model_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileEntry {
    ids: Vec<String>,
    source: String,
    revision: Option<String>,
    license: Option<String>,
    hub_endpoint: Option<String>,
    #[serde(default)]
    checksums: BTreeMap<String, String>,
    public_key: Option<String>,
    bytes: Option<u64>,
}

impl Catalog {
    /// Reads a catalog file.
    pub fn parse(yaml: &str) -> Result<Self, CatalogError> {
        let File { models, default_model_id } = serde_norway::from_str(yaml)?;
        let mut catalog = Self { models: BTreeMap::new(), default_model_id };
        for entry in models {
            catalog.add(entry)?;
        }
        match &catalog.default_model_id {
            Some(id) if !catalog.models.contains_key(id) => Err(CatalogError::Default(id.clone())),
            Some(_) | None => Ok(catalog),
        }
    }

    fn add(&mut self, entry: FileEntry) -> Result<(), CatalogError> {
        let FileEntry { ids, source, revision, license, hub_endpoint, checksums, public_key, bytes } = entry;
        let Some(first) = ids.first() else {
            return Err(CatalogError::NoIds(source));
        };
        let entry = Entry {
            source: source.parse().map_err(|source| CatalogError::Source { id: first.clone(), source })?,
            revision: revision
                .map_or(Ok(Revision::default()), |revision| revision.parse())
                .map_err(|source| CatalogError::Revision { id: first.clone(), source })?,
            license,
            hub_endpoint,
            checksums,
            public_key,
            bytes,
        };
        for id in ids {
            if self.models.insert(id.clone(), entry.clone()).is_some() {
                return Err(CatalogError::Twice(id));
            }
        }
        Ok(())
    }

    /// The model that an endpoint asks for.
    pub fn resolve(&self, service: Service, model_id: Option<&str>) -> Result<ModelRef, UnknownModel> {
        let id = match (model_id, service) {
            (Some(id), Service::Elasticsearch | Service::Elser) => id,
            // The API server refuses `elasticsearch` without a model id; an empty id is unknown like any other.
            (None, Service::Elasticsearch) => "",
            (None, Service::Elser) => self.default_model_id.as_deref().unwrap_or(ELSER_DEFAULT),
        };
        self.lookup(id).or_else(|| direct(id)).ok_or_else(|| self.unknown(id))
    }

    fn lookup(&self, id: &str) -> Option<ModelRef> {
        let Entry { source, revision, license, hub_endpoint, checksums, public_key, bytes } =
            self.models.get(id)?.clone();
        Some(ModelRef {
            id: id.to_owned(),
            source,
            revision,
            license,
            hub_endpoint,
            checksums,
            public_key,
            bytes,
        })
    }

    /// The servers that entries name.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.models.values().flat_map(|entry| {
            let named = match entry.source.place() {
                Place::Web { server } | Place::Registry { server } => Some(server.as_str()),
                Place::Hub | Place::Bucket | Place::Claim { .. } => None,
            };
            named.into_iter().chain(entry.hub_endpoint.as_deref())
        })
    }

    fn unknown(&self, id: &str) -> UnknownModel {
        const SHOWN: usize = 8;
        let mut known = self.models.keys().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if known.is_empty() {
            "none".clone_into(&mut known);
        } else if self.models.len() > SHOWN {
            known.push_str(", ...");
        }
        UnknownModel { id: id.to_owned(), known }
    }
}

/// `organisation/name`, `hf://organisation/name`, each optionally with `@revision`; or another source as it is.
fn direct(id: &str) -> Option<ModelRef> {
    if id.contains("://") && !id.starts_with("hf://") {
        return Some(named(id, id.parse().ok()?, Revision::default()));
    }
    let (repository, revision) = id.split_once('@').map_or((id, None), |(id, revision)| (id, Some(revision)));
    let repository = repository.strip_prefix("hf://").unwrap_or(repository);
    let revision = revision.map_or(Ok(Revision::default()), str::parse).ok()?;
    Some(named(id, format!("hf://{repository}").parse().ok()?, revision))
}

fn named(id: &str, source: ModelSource, revision: Revision) -> ModelRef {
    ModelRef {
        id: id.to_owned(),
        source,
        revision,
        license: None,
        hub_endpoint: None,
        checksums: BTreeMap::new(),
        public_key: None,
        bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOG: &str = "
models:
  - ids: [.elser_model_2, .elser_model_2_linux-x86_64]
    source: hf://opensearch-project/sparse
    revision: abc123
    license: Apache-2.0
  - ids: [mirror-only]
    source: hf://org/internal
    hubEndpoint: http://hub.models
defaultModelId: .elser_model_2
";

    fn resolve(service: Service, id: Option<&str>) -> Result<ModelRef, UnknownModel> {
        Catalog::parse(CATALOG).unwrap().resolve(service, id)
    }

    #[test]
    fn an_id_means_what_the_catalog_says() {
        let model = resolve(Service::Elasticsearch, Some(".elser_model_2")).unwrap();
        assert_eq!(model.source.as_str(), "hf://opensearch-project/sparse");
        assert_eq!(model.revision.as_str(), "abc123");
        assert_eq!(model.license.as_deref(), Some("Apache-2.0"));
        assert_eq!(
            resolve(Service::Elser, Some("mirror-only")).unwrap().hub_endpoint.as_deref(),
            Some("http://hub.models")
        );
    }

    #[test]
    fn elser_without_a_model_id_gets_the_default() {
        assert_eq!(resolve(Service::Elser, None).unwrap().id, ".elser_model_2");
        let without_default = Catalog::parse(&CATALOG.replace("defaultModelId: .elser_model_2", "")).unwrap();
        assert_eq!(without_default.resolve(Service::Elser, None).unwrap().id, ELSER_DEFAULT);
    }

    #[test]
    fn a_repository_needs_no_entry() {
        for (id, source, revision) in [
            ("org/name", "hf://org/name", "main"),
            ("hf://org/name", "hf://org/name", "main"),
            ("org/name@v1.0", "hf://org/name", "v1.0"),
            ("s3://bucket/model", "s3://bucket/model", "main"),
            ("pvc://claim/model", "pvc://claim/model", "main"),
        ] {
            let model = resolve(Service::Elasticsearch, Some(id)).unwrap();
            assert_eq!((model.source.as_str(), model.revision.as_str()), (source, revision), "{id}");
            assert_eq!(model.id, id);
        }
    }

    #[test]
    fn an_unknown_id_is_named_together_with_what_to_do() {
        let message = resolve(Service::Elasticsearch, Some("my_model")).unwrap_err().to_string();
        assert!(message.contains("\"my_model\"") && message.contains("catalog"), "{message}");
        assert!(message.contains(".elser_model_2, .elser_model_2_linux-x86_64, mirror-only"), "{message}");
        assert!(resolve(Service::Elasticsearch, Some("org/name@")).is_err());
    }

    #[test]
    fn refuses_a_catalog_that_contradicts_itself() {
        let table = [
            ("models: [{ids: [a, a], source: hf://o/n}]", "model \"a\" is listed twice"),
            ("models: [{ids: [], source: hf://o/n}]", "entry with source \"hf://o/n\" has no ids"),
            ("models: [{ids: [a], source: o/n}]", "failed to read the source of model \"a\""),
            ("models: []\ndefaultModelId: b", "defaultModelId \"b\" is not among the models"),
            ("modles: []", "failed to read the catalog as YAML"),
        ];
        for (yaml, message) in table {
            assert_eq!(Catalog::parse(yaml).unwrap_err().to_string(), message, "{yaml}");
        }
    }
}
