//! The Service in front of an endpoint's workers. The gateway reads its `EndpointSlices` and chooses a worker itself.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{labels, name::child_name, settings::Settings, validated::ValidatedEndpoint};

/// Port of the workers and of their Service.
pub(crate) const PORT: i32 = 8080;
/// Name of that port where it speaks plain HTTP.
pub const PORT_NAME: &str = "http";
/// Port of the Service where workers speak TLS; theirs stays the same.
const TLS_PORT: i32 = 8443;
/// Name of the workers' port where it speaks TLS. A port is known by its name, so that whoever speaks one language never meets a
/// pod that speaks the other, while pods are replaced.
pub const TLS_PORT_NAME: &str = "https";

pub fn service(endpoint: &ValidatedEndpoint, settings: &Settings) -> Service {
    let identity = &endpoint.identity;
    Service {
        metadata: identity.child_metadata(child_name(identity.name()), labels::of_endpoint(identity.name())),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels::worker_selector(identity.name())),
            ports: Some(ports(settings)),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// With TLS the plain port stays too: gateways from before serve by the pods from before until both are replaced.
fn ports(settings: &Settings) -> Vec<ServicePort> {
    let port = |name: &str, number| ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some(name.to_owned()),
        ..ServicePort::default()
    };
    let secured = settings.worker_tls_secret.as_ref().map(|_| port(TLS_PORT_NAME, TLS_PORT));
    std::iter::once(port(PORT_NAME, PORT)).chain(secured).collect()
}

/// The address that `status.url` shows.
pub(crate) fn url(endpoint: &str, namespace: &str, settings: &Settings) -> String {
    let (scheme, port) = match settings.worker_tls_secret {
        Some(_) => (TLS_PORT_NAME, TLS_PORT),
        None => (PORT_NAME, PORT),
    };
    format!("{scheme}://{}.{namespace}.svc:{port}", child_name(endpoint))
}
