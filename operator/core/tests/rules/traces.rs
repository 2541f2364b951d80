//! Workers that take part in traces.

use k8s_openapi::api::{apps::v1::Deployment, networking::v1::NetworkPolicy};
use lexiscale_core::settings::Settings;

use crate::{
    fixtures::{endpoint, settings},
    world::World,
};

/// Without the policy's leave, spans would be dropped in silence.
#[test]
fn workers_are_told_the_collector_and_may_reach_it_and_nobody_else() {
    let collector = "http://collector.observability.svc:4318";
    let settings = Settings { otlp_endpoint: Some(collector.to_owned()), ..settings() };
    let mut world = World::new(settings).with(endpoint("articles"));
    world.settle();
    world.succeed_download();
    world.settle();
    let deployments: Vec<Deployment> = world.get();
    let worker = &deployments[0].spec.template.spec.as_ref().unwrap().containers[0];
    assert!(worker.args.as_ref().unwrap().contains(&format!("--otlp-endpoint={collector}")));
    let policies: Vec<NetworkPolicy> = world.get();
    let of_workers = policies.iter().find(|policy| policy.metadata.name.as_deref() == Some("articles"));
    insta::assert_yaml_snapshot!(of_workers.unwrap().spec.as_ref().unwrap().egress);
}
