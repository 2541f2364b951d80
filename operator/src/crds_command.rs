//! `crds`: creates or upgrades the custom resource definitions that this binary carries. Helm never upgrades what lies in a
//! chart's `crds/`, so the chart's hook runs this instead.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use lexiscale_core::labels::MANAGER;

/// Settings of `crds`.
#[derive(clap::Args, Clone, Debug)]
pub struct Settings {
    /// Longest wait, in seconds, until the API server serves each definition.
    #[arg(long, env = "LEXISCALE_TIMEOUT_SECONDS", default_value_t = 60)]
    pub timeout_seconds: u64,
}

/// Applies every definition and waits until it is served.
pub async fn run(settings: Settings, client: Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let patience = Duration::from_secs(settings.timeout_seconds);
    for definition in lexiscale_crds::manifests::all() {
        let name = definition.name_any();
        api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&definition))
            .await
            .with_context(|| format!("failed to apply {name}"))?;
        tokio::time::timeout(patience, await_condition(api.clone(), &name, is_crd_established()))
            .await
            .with_context(|| format!("{name} is not established after {} s", patience.as_secs()))?
            .with_context(|| format!("failed to watch {name}"))?;
        tracing::info!(name, "established");
    }
    Ok(())
}
