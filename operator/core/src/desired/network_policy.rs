//! Who may talk to whom: nobody, but for what is listed here.
//!
//! Workers answer the gateway and the controller and speak to nobody, not even to DNS, but for a collector of traces if there is one. A download asks DNS and the hub, and
//! answers the controller, which wants to know how far it is.

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::{
    desired::{job, service, tls},
    identity::Identity,
    labels::{self, Component},
    name::{cache_child_name, child_name},
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
                ports: Some(worker_ports(settings)),
            }]),
            // Spans are all that a worker ever sends by itself.
            egress: settings.otlp_endpoint.as_deref().map(|collector| outwards(collector, settings)),
        }),
    }
}

fn worker_ports(settings: &Settings) -> Vec<NetworkPolicyPort> {
    let admin = settings.worker_tls_secret.as_ref().map(|_| tls::ADMIN_PORT);
    std::iter::once(service::PORT).chain(admin).map(|number| port("TCP", number)).collect()
}

/// The policy of a cache's downloads.
pub fn of_cache(cache: &Identity, server: Option<&str>, settings: &Settings) -> NetworkPolicy {
    NetworkPolicy {
        metadata: cache.child_metadata(cache_child_name(cache.name()), labels::of_cache(cache.name())),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(select(labels::cache_selector(cache.name()))),
            policy_types: Some(both_directions()),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![peer(Component::Controller, settings.gateway_namespace.as_deref())]),
                ports: Some(vec![port("TCP", job::PROGRESS_PORT)]),
            }]),
            egress: server.map(|server| downloads(server, settings)),
        }),
    }
}

/// To a model's server, and to those that it sends downloads on to, at the ports that the worker lets them have.
fn downloads(url: &str, settings: &Settings) -> Vec<NetworkPolicyEgressRule> {
    let mut rules = outwards(url, settings);
    if !Server::new(url).surely_inside {
        let ports = std::iter::once(443).chain(settings.downloads.ports.iter().copied());
        rules.push(NetworkPolicyEgressRule {
            to: Some(public()),
            ports: Some(ports.map(|number| port("TCP", i32::from(number))).collect()),
        });
    }
    rules
}

/// To a server, and to DNS, which knows where it is.
fn outwards(url: &str, settings: &Settings) -> Vec<NetworkPolicyEgressRule> {
    let both = |number: &u16| [port("UDP", i32::from(*number)), port("TCP", i32::from(*number))];
    let dns =
        NetworkPolicyEgressRule { ports: Some(settings.dns_ports.iter().flat_map(both).collect()), to: None };
    std::iter::once(dns).chain(to_server(url)).collect()
}

/// A policy cannot name hosts. A server outside the cluster may have any address, but only the port of its URL. One inside is a
/// Service, known by its name: its pods may listen on any port, and policies see the pod's, but only in its namespace.
fn to_server(hub_endpoint: &str) -> Vec<NetworkPolicyEgressRule> {
    let hub = Server::new(hub_endpoint);
    let inside = hub.namespace.map(|namespace| NetworkPolicyEgressRule {
        to: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(select([(NAMESPACE_NAME.to_owned(), namespace.to_owned())].into())),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![NetworkPolicyPort { protocol: Some("TCP".to_owned()), port: None, end_port: None }]),
    });
    let outside = (!hub.surely_inside).then(|| NetworkPolicyEgressRule {
        to: Some(public()),
        ports: Some(vec![port("TCP", i32::from(hub.port))]),
    });
    inside.into_iter().chain(outside).collect()
}

/// Link-local addresses are where clouds answer with a machine's credentials.
fn public() -> Vec<NetworkPolicyPeer> {
    vec![anywhere("0.0.0.0/0", "169.254.0.0/16"), anywhere("::/0", "fe80::/10")]
}

fn anywhere(cidr: &str, except: &str) -> NetworkPolicyPeer {
    let block = IPBlock { cidr: cidr.to_owned(), except: Some(vec![except.to_owned()]) };
    NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
}

/// Where a hub or a collector may be, by its address.
#[derive(Debug, PartialEq)]
struct Server<'a> {
    /// The namespace, where the host reads as the name of a Service.
    namespace: Option<&'a str>,
    /// False for `SERVICE.NAMESPACE.svc.DOMAIN` with a domain that need not be this cluster's.
    surely_inside: bool,
    port: u16,
}

impl<'a> Server<'a> {
    fn new(endpoint: &'a str) -> Self {
        let (rest, default_port) = match endpoint.split_once("://") {
            Some(("http", rest)) => (rest, 80),
            Some((_, rest)) => (rest, 443),
            None => (endpoint, 443),
        };
        let authority = rest.split('/').next().unwrap_or(rest);
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of an IPv6 address in brackets is no port's.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(default_port)),
            Some(_) | None => (authority, default_port),
        };
        let (service, domain) = match host.split_once(".svc.") {
            Some((service, domain)) => (Some(service), domain.trim_end_matches('.')),
            None => (host.strip_suffix(".svc"), ""),
        };
        let namespace = service.and_then(|service| service.rsplit_once('.')).map(|(_, namespace)| namespace);
        let surely_inside = namespace.is_some() && matches!(domain, "" | "cluster.local");
        Self { namespace, surely_inside, port }
    }
}

fn peer(component: Component, namespace: Option<&str>) -> NetworkPolicyPeer {
    let namespaces = namespace.map_or_else(LabelSelector::default, |name| {
        select([(NAMESPACE_NAME.to_owned(), name.to_owned())].into())
    });
    NetworkPolicyPeer {
        namespace_selector: Some(namespaces),
        pod_selector: Some(select(labels::installed_selector(component))),
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

    /// Too wide, and a download turned hostile reaches the cluster; too narrow, and no model ever arrives.
    #[test]
    fn a_hub_is_held_to_its_port_or_its_namespace() {
        for (address, namespace, surely_inside, port) in [
            ("https://huggingface.co", None, false, 443),
            ("https://mirror.example.com/hf", None, false, 443),
            ("https://mirror.example.com:8443/hf", None, false, 8443),
            ("http://192.0.2.7", None, false, 80),
            ("http://[2001:db8::7]", None, false, 80),
            ("http://[2001:db8::7]:8080", None, false, 8080),
            ("http://hub.models.svc", Some("models"), true, 80),
            ("http://pod-0.hub.models.svc:8080/hf", Some("models"), true, 8080),
            ("http://hub.models.svc.cluster.local", Some("models"), true, 80),
            ("http://hub.models.svc.cluster.example", Some("models"), false, 80),
        ] {
            assert_eq!(Server::new(address), Server { namespace, surely_inside, port }, "{address}");
        }
    }

    #[test]
    fn a_hub_in_the_cluster_opens_nothing_but_its_namespace() {
        let rules = to_server("http://hub.models.svc");
        let peers: Vec<_> = rules.iter().flat_map(|rule| rule.to.iter().flatten()).collect();
        assert_eq!(peers.len(), 1);
        assert_eq!(peers[0].ip_block, None);
        let namespaces = peers[0].namespace_selector.as_ref().unwrap().match_labels.as_ref().unwrap();
        assert_eq!(namespaces[NAMESPACE_NAME], "models");
    }

    #[test]
    fn a_hub_outside_opens_its_port_but_no_link_local_address() {
        let rules = to_server("https://mirror.example.com:8443");
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].ports, Some(vec![port("TCP", 8443)]));
        let blocks = rules[0].to.iter().flatten().filter_map(|peer| peer.ip_block.as_ref());
        let excepted: Vec<_> = blocks.flat_map(|block| block.except.iter().flatten()).collect();
        assert_eq!(excepted, ["169.254.0.0/16", "fe80::/10"]);
    }

    /// `nameOverride` of the chart changes `app.kubernetes.io/name`, and then nobody could reach a worker.
    #[test]
    fn the_gateway_is_known_by_what_the_chart_cannot_rename() {
        let selector = peer(Component::Gateway, None).pod_selector.unwrap().match_labels.unwrap();
        assert!(!selector.contains_key(labels::NAME));
        assert_eq!(selector[labels::PART_OF], "lexiscale");
        assert_eq!(selector[labels::COMPONENT], "gateway");
    }
}
