//! What the controller has to know of the nodes. The CPUs of the largest: allocations with more threads than that fit nowhere, however
//! long they wait. And of each, whether it takes image volumes.

use std::pin::pin;

use futures::{StreamExt, channel::mpsc};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, reflector, watcher},
};
use tokio::sync::watch;

/// Keeps `largest` at what the nodes have, and says when that has changed. Where nodes may not be watched nothing is known, and
/// nothing is said. What `writer` belongs to has the nodes themselves.
pub(super) async fn follow(
    client: Client,
    writer: reflector::store::Writer<Node>,
    largest: watch::Sender<Option<u32>>,
    mut changed: Vec<mpsc::Sender<()>>,
) {
    let store = writer.as_reader();
    let nodes = watcher::watcher(Api::<Node>::all(client), watcher::Config::default());
    let mut events = pin!(reflector(writer, nodes.default_backoff().modify(slim)));
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => {}
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => continue,
            Err(error) => {
                tracing::warn!(%error, "it is not known what nodes can: failed to watch them, trying again");
                continue;
            }
        }
        let now = store.state().iter().filter_map(|node| cpus(node)).max();
        if largest.send_replace(now) != now {
            tracing::info!(cpus = now, "the largest node has changed");
            for changed in &mut changed {
                // One that is full is about to be heard.
                let _ = changed.try_send(());
            }
        }
    }
}

fn slim(node: &mut Node) {
    node.managed_fields_mut().clear();
    node.annotations_mut().clear();
    let NodeStatus { allocatable, node_info, .. } = node.status.take().unwrap_or_default();
    node.status = Some(NodeStatus { allocatable, node_info, ..NodeStatus::default() });
    let unschedulable = node.spec.take().and_then(|spec| spec.unschedulable);
    node.spec = Some(NodeSpec { unschedulable, ..NodeSpec::default() });
}

/// Allocatable CPUs, rounded up as the gateway does: a node of two that keeps 70m for itself still runs an allocation of two
/// threads, whose CPU request may be lower than its limit.
fn cpus(node: &Node) -> Option<u32> {
    let quantity = &node.status.as_ref()?.allocatable.as_ref()?.get("cpu")?.0;
    match quantity.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<u32>().ok().map(|thousandths| thousandths.div_ceil(1000)),
        None => quantity.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cpus_are_rounded_up() {
        for (quantity, expected) in [("2", Some(2)), ("1930m", Some(2)), ("500m", Some(1)), ("many", None)] {
            let node = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"podCIDR": "x"}, "status": {"allocatable": {"cpu": quantity}}});
            let mut node: Node = serde_json::from_value(node).unwrap();
            slim(&mut node);
            assert_eq!(cpus(&node), expected, "{quantity}");
        }
    }
}
