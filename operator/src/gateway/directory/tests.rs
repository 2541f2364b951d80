//! The directory from events as the watches deliver them.

use lexiscale_core::name::object_name;
use serde_json::json;

use super::*;

fn endpoint(name: &str, id: Option<&str>) -> InferenceEndpoint {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"inferenceId": id, "taskType": "sparse_embedding", "service": "elser",
                 "serviceSettings": {"numAllocations": 1, "numThreads": 1}},
    }))
    .unwrap()
}

fn slice(name: &str, service: &str, endpoints: &serde_json::Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": 9}, {"name": "http", "port": 8080}],
        "endpoints": endpoints,
    }))
    .unwrap()
}

fn key(id: &str) -> EndpointKey {
    EndpointKey::new("default", id)
}

fn addresses(directory: &Directory, id: &str) -> Vec<String> {
    directory.get(&key(id)).unwrap().pods.iter().map(|pod| pod.address().to_string()).collect()
}

fn synced() -> Builder {
    let mut builder = Builder::default();
    builder.endpoint(Event::Init);
    builder.endpoint(Event::InitDone);
    builder.slice(Event::Init);
    builder.slice(Event::InitDone);
    builder
}

#[test]
fn only_ready_pods_that_stay_are_routed_to() {
    let mut builder = synced();
    builder.endpoint(Event::Apply(endpoint("articles", None)));
    builder.slice(Event::Apply(slice(
        "articles-1",
        "articles",
        &json!([
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": true, "terminating": true}},
            {"addresses": ["10.0.0.4"]},
            {"addresses": ["pod.example"]},
        ]),
    )));
    assert_eq!(addresses(&builder.build(Instant::now()), "articles"), ["10.0.0.1:8080", "10.0.0.4:8080"]);
}

/// The kubelet may be a second late to see that a worker is ready, and is the only one to see later that it is not any more.
#[test]
fn a_starting_pod_serves_by_its_own_word_until_its_slice_has_called_it_ready() {
    enum Comes {
        Slice(bool),
        Said(bool),
    }
    use Comes::{Said, Slice};
    let mut builder = synced();
    builder.endpoint(Event::Apply(endpoint("articles", None)));
    let mut pod = None;
    for (step, (comes, serves, is_starting)) in [
        (Slice(false), false, true),
        (Said(false), false, true),
        (Said(true), true, true),
        (Slice(false), true, true),
        (Said(false), false, true),
        (Said(true), true, true),
        (Slice(true), true, false),
        (Said(false), true, false),
        (Slice(false), false, false),
        (Said(true), false, false),
        (Slice(true), true, false),
    ]
    .into_iter()
    .enumerate()
    {
        match comes {
            Slice(is_ready) => {
                let listed = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": is_ready}}]);
                builder.slice(Event::Apply(slice("articles-1", "articles", &listed)));
            }
            Said(is_ready) => drop(builder.said(pod.as_ref().unwrap(), is_ready)),
        }
        let directory = builder.build(Instant::now());
        assert_eq!(addresses(&directory, "articles").len(), usize::from(serves), "step {step}");
        assert_eq!(builder.starting().count(), usize::from(is_starting), "step {step}");
        pod = pod.or_else(|| builder.starting().next().cloned());
    }
    builder.slice(Event::Apply(slice("articles-1", "articles", &json!([]))));
    builder.build(Instant::now());
    let listed = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]);
    builder.slice(Event::Apply(slice("articles-1", "articles", &listed)));
    builder.build(Instant::now());
    assert_eq!(builder.starting().count(), 1, "another pod that got the address starts");
}

#[test]
fn what_a_pod_says_again_changes_nothing() {
    let mut builder = synced();
    let listed = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]);
    builder.slice(Event::Apply(slice("articles-1", "articles", &listed)));
    builder.build(Instant::now());
    let pod = builder.starting().next().unwrap().clone();
    for (says, change) in
        [(false, Change::None), (true, Change::Visible), (true, Change::None), (false, Change::Visible)]
    {
        assert_eq!(builder.said(&pod, says), change);
    }
}

/// Without it, every change in the cluster would forget which pods are busy.
#[test]
fn a_pod_keeps_its_count_across_snapshots() {
    let mut builder = synced();
    builder.endpoint(Event::Apply(endpoint("articles", None)));
    let ready = json!([{"addresses": ["10.0.0.1"]}]);
    builder.slice(Event::Apply(slice("articles-1", "articles", &ready)));
    let before = Arc::clone(&builder.build(Instant::now()).get(&key("articles")).unwrap().pods[0]);
    before.begin(crate::gateway::queue::Class::Ingest, 1);
    builder.slice(Event::Apply(slice("articles-2", "articles", &ready)));
    let directory = builder.build(Instant::now());
    assert_eq!(addresses(&directory, "articles").len(), 1);
    assert_eq!(directory.get(&key("articles")).unwrap().pods[0].pieces(), 1);
}

#[test]
fn ids_that_are_no_names_find_their_service() {
    let mut builder = synced();
    let name = object_name("a_b");
    builder.endpoint(Event::Apply(endpoint(&name, Some("a_b"))));
    builder.slice(Event::Apply(slice("s", &child_name(&name), &json!([{"addresses": ["10.0.0.1"]}]))));
    assert_eq!(addresses(&builder.build(Instant::now()), "a_b"), ["10.0.0.1:8080"]);
}

#[test]
fn an_attached_endpoint_is_served_by_the_pods_of_the_other() {
    let attached = |name: &str, deployment: &str| {
        let mut endpoint = endpoint(name, None);
        endpoint.spec.service_settings = serde_json::from_value(json!({"deploymentId": deployment})).unwrap();
        endpoint
    };
    let mut builder = synced();
    builder.endpoint(Event::Apply(endpoint("articles", None)));
    builder.endpoint(Event::Apply(attached("a", "articles")));
    builder.endpoint(Event::Apply(attached("chained", "a")));
    builder.endpoint(Event::Apply(attached("lost", "nobody")));
    builder.slice(Event::Apply(slice("s", "articles", &json!([{"addresses": ["10.0.0.1"]}]))));
    let directory = builder.build(Instant::now());
    assert_eq!(addresses(&directory, "a"), ["10.0.0.1:8080"]);
    assert_eq!(directory.get(&key("a")).unwrap().deployment().name_any(), "articles");
    for id in ["chained", "lost"] {
        assert_eq!(addresses(&directory, id), Vec::<String>::new());
        assert_eq!(directory.get(&key(id)).unwrap().deployment().name_any(), id);
    }
    assert_eq!(directory.attached_to(&key("articles")).count(), 1);
    let [line, others] = ["a", "articles"].map(|id| Arc::clone(&directory.get(&key(id)).unwrap().line));
    assert!(Arc::ptr_eq(&line, &others), "requests to both wait in one line");
}

/// As the operator decides it; the other object has no pods.
#[test]
fn the_older_object_wins_an_id_claimed_twice() {
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
    let table = [
        ("a-other", late, early, "articles"),
        ("z-other", late, early, "articles"),
        ("a-other", early, late, "a-other"),
        ("z-other", early, late, "z-other"),
        ("a-other", early, early, "a-other"),
        ("z-other", early, early, "articles"),
    ];
    for (other, others_age, age, winner) in table {
        let mut builder = synced();
        for (name, id, created) in [("articles", None, age), (other, Some("articles"), others_age)] {
            let mut object = endpoint(name, id);
            object.metadata.creation_timestamp = serde_json::from_value(json!(created)).unwrap();
            builder.endpoint(Event::Apply(object));
        }
        let directory = builder.build(Instant::now());
        assert_eq!(directory.get(&key("articles")).unwrap().endpoint.name_any(), winner, "{other}");
    }
}

/// The same name and id in two namespaces are two endpoints, each with its own pods.
#[test]
fn namespaces_are_kept_apart() {
    let mut builder = synced();
    for (namespace, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        let mut object = endpoint("articles", None);
        object.metadata.namespace = Some(namespace.to_owned());
        builder.endpoint(Event::Apply(object));
        let mut slice = slice("articles-1", "articles", &json!([{"addresses": [address]}]));
        slice.metadata.namespace = Some(namespace.to_owned());
        builder.slice(Event::Apply(slice));
    }
    let directory = builder.build(Instant::now());
    for (namespace, address) in [("a", "10.0.0.1:8080"), ("b", "10.0.0.2:8080")] {
        let pods = &directory.get(&EndpointKey::new(namespace, "articles")).unwrap().pods;
        assert_eq!(pods.iter().map(|pod| pod.address().to_string()).collect::<Vec<_>>(), [address]);
        assert_eq!(directory.entries(namespace).count(), 1);
    }
    assert_eq!(directory.entries("c").count(), 0);
}

/// What waits for an endpoint must not lose its place with every change in the cluster, and must not wait
/// for an endpoint that was deleted, even if there is a new one under its id.
#[test]
fn a_line_lives_as_long_as_its_object() {
    let mut builder = synced();
    let made = |uid: &str| {
        let mut object = endpoint("articles", None);
        object.metadata.uid = Some(uid.to_owned());
        Event::Apply(object)
    };
    let line = |builder: &mut Builder| {
        let directory = builder.build(Instant::now());
        Arc::clone(&directory.get(&key("articles")).unwrap().line)
    };
    builder.endpoint(made("1"));
    let first = line(&mut builder);
    builder.endpoint(made("1"));
    assert!(Arc::ptr_eq(&first, &line(&mut builder)));
    builder.endpoint(made("2"));
    assert!(!Arc::ptr_eq(&first, &line(&mut builder)));
    assert_eq!(builder.lines.len(), 1);
    builder.endpoint(Event::Delete(endpoint("articles", None)));
    builder.build(Instant::now());
    assert!(builder.lines.is_empty());
}

/// A relist after a broken watch must not answer 404 for endpoints that are merely not listed yet.
#[test]
fn nothing_vanishes_while_a_watch_restarts() {
    let mut builder = Builder::default();
    assert_eq!(builder.endpoint(Event::Init), Change::None);
    assert_eq!(builder.endpoint(Event::InitApply(endpoint("articles", None))), Change::None);
    assert_eq!(builder.endpoint(Event::InitDone), Change::Visible);
    assert!(!builder.build(Instant::now()).is_complete, "the slices are still missing");
    builder.slice(Event::InitDone);
    assert!(builder.build(Instant::now()).is_complete);
    builder.endpoint(Event::Init);
    assert!(builder.build(Instant::now()).get(&key("articles")).is_some());
    builder.endpoint(Event::InitDone);
    assert!(builder.build(Instant::now()).get(&key("articles")).is_none());
}
