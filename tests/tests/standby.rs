//! A burst on the installed chart, with real workers on a real kubelet: the standby answers, and its request is resized in place and
//! back, without a restart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, Namespace, eventually, with_namespace};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{ListParams, PostParams},
};
use lexiscale_crds::InferenceEndpoint;
use serde_json::json;

const NAME: &str = "bursty";
const PATIENCE: Duration = Duration::from_mins(3);
/// More than one allocation is given at a time.
const AT_ONCE: usize = 16;

/// The standby's pod, if there is one that is ready.
async fn standby(namespace: &Namespace) -> Result<Option<Pod>> {
    let labelled = ListParams::default().labels(&format!("inference.lexiscale.io/standby-of={NAME}"));
    let pods = namespace.api::<Pod>().list(&labelled).await?;
    Ok(pods.into_iter().find(|pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|found| found.type_ == "Ready" && found.status == "True")
    }))
}

/// The CPU request that the kubelet has given its container.
fn granted(pod: &Pod) -> Option<&str> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    Some(&container.resources.as_ref()?.requests.as_ref()?.get("cpu")?.0)
}

/// The texts that a worker has embedded.
async fn texts(namespace: &Namespace, pod: &Pod) -> Result<u64> {
    let path = format!("/api/v1/namespaces/{}/pods/{}:8080/proxy/metrics", namespace.name, pod.name_any());
    let metrics = namespace.client.request_text(http::Request::get(path).body(Vec::new())?).await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("lexiscale_worker_texts_total "));
    line.context("the worker counts no texts")?.parse().context("not a count")
}

async fn until_granted(namespace: &Namespace, cpu: &str) -> Result<Pod> {
    eventually(&format!("the standby reserves {cpu}"), PATIENCE, async || {
        Ok(standby(namespace).await?.is_some_and(|pod| granted(&pod) == Some(cpu)))
    })
    .await?;
    standby(namespace).await?.context("the standby is gone")
}

#[tokio::test]
async fn a_burst_is_served_by_the_standby_which_reserves_its_cpu_for_as_long() -> Result<()> {
    with_namespace("standby", async |namespace| {
        let mut endpoint: InferenceEndpoint = e2e::example("minimal.yaml")?;
        endpoint.metadata.name = Some(NAME.to_owned());
        endpoint.spec.service_settings.num_allocations = None;
        endpoint.spec.service_settings.adaptive_allocations = serde_json::from_value(
            json!({"enabled": true, "minNumberOfAllocations": 1, "maxNumberOfAllocations": 1}),
        )?;
        endpoint.spec.deployment =
            serde_json::from_value(json!({"cpuRequest": "100m", "scaling": {"standby": 1}}))?;
        namespace.api::<InferenceEndpoint>().create(&PostParams::default(), &endpoint).await?;
        namespace.ready_endpoint(NAME).await?;
        let before = until_granted(&namespace, "10m").await?;
        ensure!(texts(&namespace, &before).await? == 0, "it is not for everyday use");

        let gateway = Gateway::open().await?;
        let path = format!("/namespaces/{}/_inference/sparse_embedding/{NAME}?timeout=60s", namespace.name);
        let body = json!({"input": "a burst of requests is more than one allocation can take at a time"})
            .to_string();
        let load = async || -> Result<()> {
            loop {
                let requests = (0..AT_ONCE).map(|_| gateway.call("POST", &path, Some(&body)));
                futures::future::try_join_all(requests).await?;
            }
        };
        let raised = tokio::select! {
            ended = load() => ended.map(|()| None),
            raised = until_granted(&namespace, "100m") => raised.map(Some),
        };
        let raised = raised?.context("the load ended")?;
        ensure!(texts(&namespace, &raised).await? > 0, "the standby did not help");
        let idle = until_granted(&namespace, "10m").await?;
        let identity = |pod: &Pod| {
            let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
            Some((pod.uid()?, container.restart_count))
        };
        ensure!(identity(&before) == identity(&idle), "it was resized in place");
        Ok(())
    })
    .await
}
