//! What the tests ask of a `ModelCache`.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::Api;
use lexiscale_crds::{InferenceEndpoint, ModelCache};

use crate::{Namespace, until};

/// Long enough for a dozen downloads on two busy cores.
const PATIENCE: Duration = Duration::from_mins(3);

impl Namespace {
    /// Waits until a cache satisfies a predicate; a failure shows its last status.
    pub async fn cache(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&ModelCache) -> bool,
    ) -> Result<ModelCache> {
        let api: Api<ModelCache> = self.api();
        until(&format!("cache {name} {what}"), PATIENCE, async || {
            let cache = api.get(name).await?;
            Ok(if holds(&cache) { Ok(cache) } else { Err(cache.status) })
        })
        .await
    }

    /// The cache that an endpoint serves from.
    pub async fn cache_of(&self, endpoint: &InferenceEndpoint) -> Result<ModelCache> {
        let model = endpoint.status.as_ref().and_then(|status| status.model.as_ref()).context("no model")?;
        Ok(self.api::<ModelCache>().get(&model.cache).await?)
    }
}
