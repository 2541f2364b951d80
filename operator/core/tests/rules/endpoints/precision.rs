//! Rules about the arithmetic of an endpoint's workers.

use k8s_openapi::api::apps::v1::Deployment;
use lexiscale_crds::{Int8Status, PrecisionSetting, ServedPrecision};

use super::{conditions, running, said, status_of};
use crate::world::World;

/// What the download found out about int8.
fn found(world: &mut World, available: bool, automatic: bool) {
    let message = if available { "keeps enough" } else { "a shipped ONNX file has no int8" };
    let int8 = Int8Status {
        available,
        automatic,
        message: message.to_owned(),
        memory_bytes: available.then_some(250_000_000),
    };
    let mut fetched = crate::fixtures::fetched_model();
    fetched.int8 = Some(lexiscale_wire::FetchedInt8 {
        available,
        automatic,
        message: int8.message.clone(),
        memory_bytes: available.then_some(250_000_000),
    });
    world.caches[0].status.as_mut().unwrap().int8 = Some(int8);
    let claim = world.children.iter_mut().find(|(kind, _)| kind.as_str() == "PersistentVolumeClaim").unwrap();
    let annotations = claim.1["metadata"]["annotations"].as_object_mut().unwrap();
    let (_, model) =
        annotations.iter_mut().find(|(_, value)| value.as_str().unwrap().contains("maxTokens")).unwrap();
    *model = serde_json::to_string(&fetched).unwrap().into();
}

fn ask(world: &mut World, precision: PrecisionSetting) {
    world.edit("search", |endpoint| {
        endpoint.spec.deployment.get_or_insert_default().precision = Some(precision);
    });
    world.settle();
}

fn arguments(world: &World) -> String {
    let deployment = world.get::<Deployment>().remove(0);
    deployment.spec.template.spec.unwrap().containers[0].args.clone().unwrap().join(" ")
}

fn served(world: &World) -> Option<ServedPrecision> {
    status_of(world, "search").model.unwrap().precision
}

/// Each worker that decided for itself would decide by its own CPU, and one endpoint would give two vectors for a text.
#[test]
fn workers_are_told_what_auto_comes_to() {
    let mut world = running("search");
    assert!(arguments(&world).contains("--precision fp32"));
    found(&mut world, true, true);
    world.settle();
    assert!(arguments(&world).contains("--precision int8"), "{}", arguments(&world));
    assert_eq!(served(&world), Some(ServedPrecision::Int8));
    let deployment = world.get::<Deployment>().remove(0);
    let resources = deployment.spec.template.spec.unwrap().containers[0].resources.clone().unwrap();
    assert_eq!(resources.limits.unwrap()["memory"].0, "304Mi", "what int8 needs, and 64 MiB for its thread");
    ask(&mut world, PrecisionSetting::Fp32);
    assert!(arguments(&world).contains("--precision fp32"));
}

/// As long as old workers serve, the status tells what they compute with.
#[test]
fn a_change_of_precision_is_pending_until_the_workers_have_it() {
    let mut world = running("search");
    found(&mut world, true, false);
    ask(&mut world, PrecisionSetting::Int8);
    world.edit("search", |_| {});
    let mut pod = k8s_openapi::api::core::v1::Pod {
        metadata: world.get::<Deployment>().remove(0).spec.template.metadata.unwrap(),
        ..Default::default()
    };
    let annotations = pod.metadata.annotations.as_mut().unwrap();
    annotations.insert("inference.lexiscale.io/revision".to_owned(), "old".to_owned());
    annotations.insert("inference.lexiscale.io/precision".to_owned(), "fp32".to_owned());
    pod.status =
        serde_json::from_value(serde_json::json!({"conditions": [{"type": "Ready", "status": "True"}]}))
            .unwrap();
    world.pods.push(pod);
    world.settle();
    let status = status_of(&world, "search");
    assert_eq!(status.model.unwrap().precision, Some(ServedPrecision::Fp32));
    assert_eq!(status.pending_model.unwrap().precision, Some(ServedPrecision::Int8));
    world.pods.pop();
    world.complete_rollouts();
    world.settle();
    assert_eq!(served(&world), Some(ServedPrecision::Int8));
    assert_eq!(status_of(&world, "search").pending_model, None);
}

#[test]
fn int8_that_is_not_there_stalls_with_the_reason_and_the_workers_serve_on() {
    let mut world = running("search");
    let before = arguments(&world);
    found(&mut world, false, false);
    ask(&mut world, PrecisionSetting::Int8);
    let status = status_of(&world, "search");
    assert_eq!(
        conditions(&status),
        [said("Ready", "True", "Serving"), said("Stalled", "True", "PrecisionUnavailable")]
    );
    insta::assert_snapshot!(
        status.conditions[1].message,
        @"deployment.precision int8 is not possible: a shipped ONNX file has no int8; set it to fp32 or auto"
    );
    assert_eq!(arguments(&world), before);
    assert_eq!(served(&world), Some(ServedPrecision::Fp32));
    ask(&mut world, PrecisionSetting::Auto);
    assert_eq!(conditions(&status_of(&world, "search")), [said("Ready", "True", "Serving")]);
}
