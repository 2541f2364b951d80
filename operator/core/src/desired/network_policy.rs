//! Who may talk to whom: nobody, but for what is listed here.
//!
//! Workers answer the gateway and the controller and speak to nobody, not even to DNS. A download asks DNS and the hub, and
//! answers the controller, which wants to know how far it is.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::{
    desired::{job, service},
    identity::Identity,
    labels::{self, Component},
    name::child_name,
    settings::Settings,
    validated::ValidatedEndpoint,
};

const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The policy of an endpoint's workers.
pub fn of_workers(endpoint: &ValidatedEndpoint, settings: &Settings) -> NetworkPolicy {
    let identity = &endpoint.identity;
    let namespace = settings.gateway_namespace.as_deref();
    NetworkPolicy {
        metadata: identity.child_metadata(child_name(identity.name()), labels::of_endpoint(identity.name())),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(select(labels::worker_selector(identity.name()))),
            policy_types: Some(both_directions()),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![peer(Component::Gateway, namespace), peer(Component::Controller, namespace)]),
                ports: Some(vec![port("TCP", service::PORT)]),
            }]),
            egress: None,
        }),
    }
}

/// The policy of a cache's downloads.
pub fn of_cache(cache: &Identity, hub_endpoint: &str, settings: &Settings) -> NetworkPolicy {
    let both = |number: &u16| [port("UDP", i32::from(*number)), port("TCP", i32::from(*number))];
    let dns =
        NetworkPolicyEgressRule { ports: Some(settings.dns_ports.iter().flat_map(both).collect()), to: None };
    NetworkPolicy {
        metadata: cache.child_metadata(child_name(cache.name()), labels::of_cache(cache.name())),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(select(labels::cache_selector(cache.name()))),
            policy_types: Some(both_directions()),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![peer(Component::Controller, settings.gateway_namespace.as_deref())]),
                ports: Some(vec![port("TCP", job::PROGRESS_PORT)]),
            }]),
            egress: Some(vec![dns, to_hub(hub_endpoint)]),
        }),
    }
}

/// A policy cannot name hosts. A public hub and the stores it redirects to all answer on 443. A mirror inside the cluster
/// may be a Service whose pods listen elsewhere, and policies see the pod's port, so for it any TCP port must do.
fn to_hub(hub_endpoint: &str) -> NetworkPolicyEgressRule {
    let authority = hub_endpoint.strip_prefix("https://").map(|rest| rest.split('/').next().unwrap_or(rest));
    let port = match authority {
        Some(authority) if !authority.contains(':') => port("TCP", 443),
        Some(_) | None => NetworkPolicyPort { protocol: Some("TCP".to_owned()), port: None, end_port: None },
    };
    NetworkPolicyEgressRule { ports: Some(vec![port]), to: None }
}

fn peer(component: Component, namespace: Option<&str>) -> NetworkPolicyPeer {
    let namespaces = namespace.map_or_else(LabelSelector::default, |name| {
        select([(NAMESPACE_NAME.to_owned(), name.to_owned())].into())
    });
    NetworkPolicyPeer {
        namespace_selector: Some(namespaces),
        pod_selector: Some(select(labels::component_selector(component))),
        ip_block: None,
    }
}

fn select(labels: std::collections::BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn port(protocol: &str, port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(port)),
        end_port: None,
    }
}

fn both_directions() -> Vec<String> {
    vec!["Ingress".to_owned(), "Egress".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Too wide, and a worker turned hostile reaches anything by TCP; too narrow, and no model ever arrives.
    #[test]
    fn only_a_plain_https_hub_is_held_to_port_443() {
        for (hub, port) in [
            ("https://huggingface.co", Some(443)),
            ("https://mirror.example.com/hf", Some(443)),
            ("https://mirror.example.com:8443", None),
            ("http://hub.models.svc", None),
        ] {
            let ports = to_hub(hub).ports.unwrap();
            assert_eq!(ports[0].port, port.map(IntOrString::Int), "{hub}");
        }
    }
}
