//! `helm upgrade` over older definitions: Helm itself never touches what lies in a chart's `crds/`, so the chart's hook must.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, eventually, helm, kubectl, repository, with_namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt, api::PostParams};
use lexiscale_crds::InferenceEndpoint;

const DEFINITION: &str = "inferenceendpoints.inference.lexiscale.io";

/// A controller that meets older definitions loses every field that they do not know, and nobody is told.
#[tokio::test]
async fn an_upgrade_brings_the_definitions_and_leaves_the_endpoints() -> Result<()> {
    with_namespace("upgrade", async |namespace| {
        let endpoint: InferenceEndpoint = e2e::example("minimal.yaml")?;
        namespace.api().create(&PostParams::default(), &endpoint).await?;
        let before = namespace.ready_endpoint(&endpoint.name_any()).await?;

        let definitions: Api<CustomResourceDefinition> = Api::all(namespace.client.clone());
        let columns = columns_of(&definitions).await?;
        make_older().await?;
        let older = columns_of(&definitions).await?;
        ensure!(older.len() < columns.len(), "the definition is no older: {older:?}");

        upgrade().await?;
        let newer = columns_of(&definitions).await?;
        ensure!(newer == columns, "{newer:?} instead of {columns:?}");

        let after = namespace.ready_endpoint(&endpoint.name_any()).await?;
        ensure!(after.uid() == before.uid(), "the endpoint was made anew");
        ensure!(after.spec == before.spec, "{:?} instead of {:?}", after.spec, before.spec);
        namespace.embed(&after, &["still here"]).await?;
        eventually("the gateway answers", Duration::from_mins(1), async || {
            let Ok(gateway) = Gateway::open().await else { return Ok(false) };
            Ok(gateway.send("GET", "/_inference/_all", None).await.is_ok_and(|answer| answer.status == 200))
        })
        .await?;
        let jobs = kubectl(&["get", "jobs", "--namespace", "lexiscale-system", "--output", "name"]).await?;
        ensure!(!jobs.contains("lexiscale-crds"), "the hook's Job is still there: {jobs}");
        Ok(())
    })
    .await
}

/// Takes a column away, as the definition of an earlier release lacks it.
async fn make_older() -> Result<()> {
    let patch = r#"[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]"#;
    kubectl(&["patch", "customresourcedefinition", DEFINITION, "--type", "json", "--patch", patch]).await?;
    Ok(())
}

async fn columns_of(definitions: &Api<CustomResourceDefinition>) -> Result<Vec<String>> {
    let mut versions = definitions.get(DEFINITION).await?.spec.versions;
    let columns = versions.remove(0).additional_printer_columns.unwrap_or_default();
    Ok(columns.into_iter().map(|column| column.name).collect())
}

/// What `tests/demo/demo install` does for a release that is there.
async fn upgrade() -> Result<()> {
    let root = repository();
    let chart = root.join("charts/lexiscale");
    let chart = chart.to_str().context("a path that is no text")?;
    let upgrade =
        ["upgrade", "lexiscale", chart, "--namespace", "lexiscale-system", "--wait", "--timeout", "3m"];
    helm(&upgrade, &[&root.join("tests/demo/values.yaml"), &root.join("target/images/values.yaml")]).await
}
