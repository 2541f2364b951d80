//! Workers that give out less of each vector.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use crate::{
    fixtures::{endpoint, settings},
    world::World,
};

fn arguments(output: &Value) -> Vec<String> {
    let mut endpoint = endpoint("articles");
    endpoint.spec.deployment = Some(serde_json::from_value(json!({"output": output})).unwrap());
    let mut world = World::new(settings()).with(endpoint);
    world.settle();
    world.succeed_download();
    world.settle();
    let deployments: Vec<Deployment> = world.get();
    deployments[0].spec.template.spec.as_ref().unwrap().containers[0].args.clone().unwrap()
}

#[test]
fn workers_are_told_what_is_set_and_nothing_else() {
    let all = arguments(&json!({"topK": 256, "maxRatio": 0.02, "minWeight": 0.5}));
    assert!(
        all.ends_with(&["--top-k=256", "--max-ratio=0.02", "--min-weight=0.5"].map(str::to_owned)),
        "{all:?}"
    );
    // A flag more would replace the pods of every endpoint at an upgrade.
    assert_eq!(arguments(&json!({})), arguments(&Value::Null));
    assert_eq!(arguments(&json!({"topK": 256})).len(), arguments(&json!({})).len() + 1);
}
