//! What the nodes of the cluster say that they can do. PURE.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

/// From this version on a kubelet takes image volumes unless it is told not to; from the next one it cannot be told.
const KUBELET: (u32, u32) = (1, 35);
/// Container runtimes that mount them, each from a version on.
const RUNTIMES: [(&str, (u32, u32)); 2] = [("containerd", (2, 1)), ("cri-o", (1, 31))];

/// One node, as far as image volumes depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    name: String,
    labels: BTreeMap<String, String>,
    kubelet: String,
    /// As in `containerd://2.4.2`.
    runtime: String,
    /// Whether a download could ever be put there: Linux, and not cordoned.
    is_candidate: bool,
}

impl NodeFacts {
    pub fn of(node: &Node) -> Self {
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        let is_linux = info.is_some_and(|info| info.operating_system == "linux");
        let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        Self {
            name: node.name_any(),
            labels: node.labels().clone(),
            kubelet: info.map(|info| info.kubelet_version.clone()).unwrap_or_default(),
            runtime: info.map(|info| info.container_runtime_version.clone()).unwrap_or_default(),
            is_candidate: is_linux && !is_cordoned,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it lacks for image volumes.
    fn lacks(&self) -> Option<String> {
        let Self { name, kubelet, runtime, labels: _, is_candidate: _ } = self;
        if version(kubelet).is_none_or(|found| found < KUBELET) {
            return Some(format!("node {name} has kubelet {kubelet:?}, and image volumes need 1.35"));
        }
        let mounts = runtime.split_once("://").is_some_and(|(program, found)| {
            let known = RUNTIMES.iter().find(|(known, _)| *known == program);
            known.zip(version(found)).is_some_and(|((_, needed), found)| found >= *needed)
        });
        (!mounts).then(|| {
            format!("node {name} has {runtime:?}, and image volumes need containerd 2.1 or CRI-O 1.31")
        })
    }
}

/// Why a pod with an image volume cannot be put on every node with these labels; nothing where it can. Taints are not looked at: a
/// node too many that is asked costs no more than the way that the files come by.
pub fn hinder_image_volumes(nodes: &[NodeFacts], selector: &BTreeMap<String, String>) -> Option<String> {
    let matches = |node: &&NodeFacts| {
        node.is_candidate && selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
    };
    let mut candidates = nodes.iter().filter(matches).peekable();
    if candidates.peek().is_none() {
        return Some("it is not known of any node whether it takes image volumes".to_owned());
    }
    candidates.find_map(NodeFacts::lacks)
}

/// Major and minor number of `v1.37.2+k3s1`, `2.1.0-rc.1` and the like.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix('v').unwrap_or(text).split('.');
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(kubelet: &str, runtime: &str) -> NodeFacts {
        let node = json!({
            "metadata": {"name": "n", "labels": {"pool": "models"}},
            "status": {"nodeInfo": {
                "operatingSystem": "linux", "kubeletVersion": kubelet, "containerRuntimeVersion": runtime,
                "architecture": "", "bootID": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
                "osImage": "", "systemUUID": "",
            }},
        });
        NodeFacts::of(&serde_json::from_value(node).unwrap())
    }

    fn hindered(nodes: &[NodeFacts]) -> bool {
        hinder_image_volumes(nodes, &BTreeMap::new()).is_some()
    }

    /// A pod on a node that knows no image volumes waits for ever, and says nothing.
    #[test]
    fn every_node_must_know_image_volumes() {
        for (kubelet, runtime, expected) in [
            ("v1.37.2", "containerd://2.4.2", true),
            ("v1.35.0-rc.1+k3s1", "containerd://2.1.0", true),
            ("v2.0.0", "containerd://3.0.0-beta", true),
            ("v1.35.4", "cri-o://1.31.0", true),
            ("v1.34.9", "containerd://2.4.2", false),
            ("v1.36.0", "containerd://2.0.7", false),
            ("v1.36.0", "containerd://1.7.30", false),
            ("v1.36.0", "cri-o://1.30.9", false),
            ("v1.36.0", "docker://28.0.0", false),
            ("v1.36.0", "", false),
            ("", "containerd://2.4.2", false),
        ] {
            assert_eq!(!hindered(&[node(kubelet, runtime)]), expected, "{kubelet} {runtime}");
        }
        let (new, old) = (node("v1.37.2", "containerd://2.4.2"), node("v1.30.0", "containerd://1.7.2"));
        assert!(hindered(&[new.clone(), old.clone()]) && !hindered(std::slice::from_ref(&new)));
        assert!(hindered(&[]), "nothing is known");
        let cordoned = NodeFacts { is_candidate: false, ..old.clone() };
        assert!(!hindered(&[new.clone(), cordoned]));
        let elsewhere = NodeFacts { labels: BTreeMap::new(), ..old };
        let selector = BTreeMap::from([("pool".to_owned(), "models".to_owned())]);
        assert_eq!(hinder_image_volumes(&[new, elsewhere], &selector), None);
    }
}
