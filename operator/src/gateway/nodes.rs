//! The nodes' CPUs, which bound the threads of an allocation: one that no node can hold would wait for ever.

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use lexiscale_crds::ServiceSettings;

use super::elastic::service_settings::refuse_threads_above;
use super::error::Error;
use super::{Gateway, api};

pub(crate) async fn refuse_more_threads_than_cpus(
    gateway: &Gateway,
    settings: &ServiceSettings,
) -> Result<(), Error> {
    // A single thread fits everywhere, and most endpoints have one.
    if !gateway.settings.check_node_cpus || settings.num_threads.is_none_or(|threads| threads == 1) {
        return Ok(());
    }
    match api::answer(gateway.nodes.list(&ListParams::default())).await {
        Ok(nodes) => Ok(nodes
            .iter()
            .filter_map(cpus)
            .max()
            .map_or(Ok(()), |most| refuse_threads_above(most, settings))?),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            tracing::warn!("num_threads is not checked against the nodes: listing nodes is not allowed");
            Ok(())
        }
        Err(error) => Err(Error::Kubernetes(error)),
    }
}

/// Allocatable CPUs, rounded up as Elasticsearch rounds processors: a node of two that keeps 70m for itself
/// still runs an allocation of two threads, whose CPU request may be lower than its limit.
fn cpus(node: &Node) -> Option<i32> {
    let quantity = &node.status.as_ref()?.allocatable.as_ref()?.get("cpu")?.0;
    match quantity.strip_suffix('m') {
        Some(thousandths) => thousandths
            .parse()
            .ok()
            .map(|thousandths: i32| thousandths.div_euclid(1000) + i32::from(thousandths % 1000 > 0)),
        None => quantity.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_rounded_up() {
        for (quantity, expected) in
            [("2", Some(2)), ("1930m", Some(2)), ("2000m", Some(2)), ("500m", Some(1)), ("many", None)]
        {
            let node: Node = serde_json::from_value(
                serde_json::json!({"metadata": {}, "status": {"allocatable": {"cpu": quantity}}}),
            )
            .unwrap();
            assert_eq!(cpus(&node), expected, "{quantity}");
        }
    }
}
