//! The Service in front of an endpoint's workers. The gateway reads its `EndpointSlices` and chooses a worker itself.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{labels, name::child_name, validated::ValidatedEndpoint};

/// Port of the workers and of their Service.
pub(crate) const PORT: i32 = 8080;
/// Name of that port.
pub const PORT_NAME: &str = "http";

pub fn service(endpoint: &ValidatedEndpoint) -> Service {
    let identity = &endpoint.identity;
    Service {
        metadata: identity.child_metadata(child_name(identity.name()), labels::of_endpoint(identity.name())),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels::worker_selector(identity.name())),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: PORT,
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some("http".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The address that `status.url` shows.
pub(crate) fn url(endpoint: &str, namespace: &str) -> String {
    format!("http://{}.{namespace}.svc:{PORT}", child_name(endpoint))
}
