//! The CPUs of the largest node: allocations with more threads than that fit nowhere, however long they wait.

use std::pin::pin;

use futures::{StreamExt, channel::mpsc};
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, reflector, watcher},
};
use tokio::sync::watch;

/// Keeps `largest` at what the nodes have, and says when that has changed. Where nodes may not be watched nothing is known, and
/// nothing is said.
pub(super) async fn follow(
    client: Client,
    largest: watch::Sender<Option<u32>>,
    mut changed: Vec<mpsc::Sender<()>>,
) {
    let (store, writer) = reflector::store();
    let nodes = watcher::watcher(Api::<Node>::all(client), watcher::Config::default());
    let mut events = pin!(reflector(writer, nodes.default_backoff().modify(slim)));
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => {}
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => continue,
            Err(error) => {
                tracing::warn!(%error, "threads are not checked against nodes: failed to watch them, trying again");
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
    let allocatable = node.status.take().and_then(|status| status.allocatable);
    node.status = Some(NodeStatus { allocatable, ..NodeStatus::default() });
    node.spec = None;
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
