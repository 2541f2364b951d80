//! Workers that serve mutual TLS.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service, networking::v1::NetworkPolicy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lexiscale_core::settings::Settings;

use crate::{
    fixtures::{endpoint, settings},
    world::World,
};

fn secured() -> World {
    let settings = Settings { worker_tls_secret: Some("worker-tls".to_owned()), ..settings() };
    let mut world = World::new(settings).with(endpoint("articles"));
    world.settle();
    world.succeed_download();
    world.settle();
    world
}

#[test]
fn workers_serve_by_the_secret_and_are_probed_where_no_certificate_is_asked_for() {
    let deployments: Vec<Deployment> = secured().get();
    let pod = deployments[0].spec.template.spec.as_ref().unwrap();
    let worker = &pod.containers[0];
    insta::assert_yaml_snapshot!((&worker.args, &worker.ports, &worker.volume_mounts, &pod.volumes));
    for probe in [&worker.readiness_probe, &worker.liveness_probe] {
        let asked = probe.as_ref().unwrap().http_get.as_ref().unwrap();
        assert_eq!(asked.port, IntOrString::String("admin".to_owned()));
    }
}

/// Who speaks TLS looks for the one name, who does not for the other: while pods are replaced, neither meets the wrong kind.
#[test]
fn the_service_names_ports_by_what_is_spoken_there() {
    let world = secured();
    let services: Vec<Service> = world.get();
    let ports = services[0].spec.as_ref().unwrap().ports.as_ref().unwrap();
    let named: Vec<_> = ports.iter().map(|port| (port.name.as_deref().unwrap(), port.port)).collect();
    assert_eq!(named, [("http", 8080), ("https", 8443)]);
    for port in ports {
        assert_eq!(port.target_port, port.name.clone().map(IntOrString::String));
    }
    let status = world.endpoint("articles").status.as_ref().unwrap();
    assert_eq!(status.url.as_deref(), Some("https://articles.team-a.svc:8443"));
}

#[test]
fn the_policy_lets_metrics_be_read() {
    let policies: Vec<NetworkPolicy> = secured().get();
    let of_workers = policies.iter().find(|policy| policy.metadata.name.as_deref() == Some("articles"));
    let ingress = of_workers.unwrap().spec.as_ref().unwrap().ingress.as_ref().unwrap();
    let ports: Vec<_> = ingress[0].ports.iter().flatten().filter_map(|port| port.port.clone()).collect();
    assert_eq!(ports, [IntOrString::Int(8080), IntOrString::Int(8081)]);
}
