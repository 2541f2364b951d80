//! Killed at any write, the operator goes on from what is in the cluster.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    cluster::{World, with_world},
    fixtures::succeeded,
    operator::Process,
    proxy::{Moment, Trap},
};

/// The writes of a create: the cache, four children, a status, the cache's three children, its status, the Job, ... Two
/// before the end of the first pass, two in the middle, two at the Deployment or a status late.
const POINTS: [usize; 3] = [1, 5, 11];

#[tokio::test]
async fn killed_before_a_write_arrives_it_converges_to_the_same() {
    compare(Moment::BeforeItArrives).await;
}

#[tokio::test]
async fn killed_after_a_write_arrived_it_converges_to_the_same() {
    compare(Moment::AfterItArrived).await;
}

async fn compare(moment: Moment) {
    let expected = create(None).await;
    assert!(expected.len() > 8, "{:#?}", expected.keys());
    for write in POINTS {
        let found = create(Some(Trap { write, moment })).await;
        let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "killed at write {write}, {moment:?}");
        for (name, object) in &found {
            assert_eq!(object, &expected[name], "{name}, killed at write {write}, {moment:?}");
        }
    }
}

/// Creates an endpoint, with the operator killed on the way, and returns what is there in the end.
async fn create(trap: Option<Trap>) -> BTreeMap<String, Value> {
    let mut end_state = BTreeMap::new();
    with_world(async |world| {
        if let Some(trap) = trap {
            world.proxy.set_trap(trap);
        }
        let mut operator = Process::start(&world, &[]);
        world.create_endpoint("search", |_| {}).await;
        if trap.is_some() {
            world.proxy.sprung().await;
            operator.kill().await;
            operator = Process::start(&world, &[]);
        }
        world.end_download(&succeeded("first")).await;
        world.start_workers(2).await;
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
        world.until_quiet(Duration::from_secs(1)).await;
        end_state = dump(&world).await;
        drop(operator);
    })
    .await;
    end_state
}

async fn dump(world: &World) -> BTreeMap<String, Value> {
    let mut objects = Objects { claims: Vec::new(), found: BTreeMap::new() };
    for claim in world.list::<PersistentVolumeClaim>().await {
        objects.claims.push(claim.name_any());
    }
    add::<InferenceEndpoint>(world, &mut objects).await;
    add::<ModelCache>(world, &mut objects).await;
    add::<Deployment>(world, &mut objects).await;
    add::<Job>(world, &mut objects).await;
    add::<PersistentVolumeClaim>(world, &mut objects).await;
    add::<Service>(world, &mut objects).await;
    add::<ServiceAccount>(world, &mut objects).await;
    add::<NetworkPolicy>(world, &mut objects).await;
    add::<PodDisruptionBudget>(world, &mut objects).await;
    objects.found
}

struct Objects {
    /// Names of the claims: they depend on the uids of their caches.
    claims: Vec<String>,
    found: BTreeMap<String, Value>,
}

/// Without what differs between any two runs: names of namespaces, uids, versions, times, addresses.
async fn add<K>(world: &World, objects: &mut Objects)
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + serde::Serialize,
{
    let api: Api<K> = world.api();
    for object in api.list(&ListParams::default()).await.unwrap() {
        let name = format!("{} {}", K::kind(&()), object.name_any());
        let mut value = serde_json::to_value(&object).unwrap();
        // Of the children, what the operator wants of them; what others report about them is theirs.
        if K::group(&()) != lexiscale_crds::GROUP {
            value.as_object_mut().unwrap().remove("status");
        }
        normalise(&mut value, &world.namespace, &objects.claims);
        objects.found.insert(without_claims(&name, &objects.claims), value);
    }
}

fn without_claims(text: &str, claims: &[String]) -> String {
    claims.iter().fold(text.to_owned(), |text, claim| text.replace(claim, "CLAIM"))
}

fn normalise(value: &mut Value, namespace: &str, claims: &[String]) {
    match value {
        Value::Object(map) => {
            for varying in [
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "managedFields",
                "generation",
                "observedGeneration",
                "lastTransitionTime",
                "time",
                "coldStartSeconds",
                "durations",
                "clusterIP",
                "clusterIPs",
                "batch.kubernetes.io/controller-uid",
                "controller-uid",
                "inference.lexiscale.io/claim",
                // Contains the claim's uid.
                "inference.lexiscale.io/applied",
                // Hashes of pods that name the claim.
                "inference.lexiscale.io/inputs",
                "inference.lexiscale.io/revision",
            ] {
                map.remove(varying);
            }
            map.values_mut().for_each(|value| normalise(value, namespace, claims));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| normalise(value, namespace, claims)),
        Value::String(text) => {
            *text = without_claims(&text.replace(namespace, "NAMESPACE"), claims);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
