use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn endpoint(memory: Option<&str>, status: &Value) -> InferenceEndpoint {
    let mut endpoint = json!({
        "metadata": {"name": "articles", "namespace": "default"},
        "spec": {"taskType": "sparse_embedding", "service": "elser", "serviceSettings": {"numAllocations": 1, "numThreads": 1}},
        "status": status,
    });
    if let Some(memory) = memory {
        endpoint["spec"]["deployment"] = json!({"memory": memory});
    }
    serde_json::from_value(endpoint).unwrap()
}

fn deployment() -> Deployment {
    serde_json::from_value(json!({"spec": {
        "selector": {},
        "template": {"metadata": {"annotations": {(labels::REVISION): "new"}}},
    }}))
    .unwrap()
}

fn pod(revision: &str, ready_since: Option<i64>, ports: &Value) -> Pod {
    let status = if ready_since.is_some() { "True" } else { "False" };
    let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": at(ready_since.unwrap_or(0)).to_string()});
    serde_json::from_value(json!({
        "metadata": {"name": "p", "annotations": {(labels::REVISION): revision}},
        "spec": {"containers": [{"name": "worker", "ports": ports}]},
        "status": {"podIP": "10.0.0.7", "conditions": [condition]},
    }))
    .unwrap()
}

fn told(revision: &str) -> Told {
    let sizing = Sizing {
        tokens_per_second: 5760.0,
        documents_per_second_128: 45.0,
        resident_bytes: (280 << 20) - 5,
        recommended_memory_bytes: 352 << 20,
    };
    Told { revision: revision.to_owned(), sizing }
}

fn known(revision: &str) -> Value {
    json!({"sizing": status(None, Some(&told(revision)))})
}

/// Steady state is one look at the status: no worker is asked again, whatever happens to its pods.
#[test]
fn a_revision_is_asked_about_until_it_is_known() {
    let plain = json!([{"name": "http", "containerPort": 8080}]);
    let tls = json!([{"name": "http", "containerPort": 8443}, {"name": "admin", "containerPort": 8081}]);
    let ask = |status: &Value, pods: &[Pod], now| {
        let asked = to_ask(&endpoint(None, status), Some(&deployment()), pods, at(now));
        asked.map(|asked| (asked.port, asked.revision, asked.again.map(|again| again.as_secs())))
    };
    let new = || "new".to_owned();
    assert_eq!(ask(&json!({}), &[pod("new", Some(100), &plain)], 101), Some((8080, new(), Some(4))));
    assert_eq!(ask(&known("old"), &[pod("new", Some(100), &tls)], 130), Some((8081, new(), Some(30))));
    assert_eq!(ask(&json!({}), &[pod("new", Some(100), &plain)], 9_000), Some((8080, new(), None)));
    assert_eq!(ask(&known("new"), &[pod("new", Some(100), &plain)], 101), None);
    assert_eq!(ask(&json!({}), &[pod("old", Some(100), &plain), pod("new", None, &plain)], 101), None);
    assert_eq!(to_ask(&endpoint(None, &json!({})), None, &[], at(1)), None);
}

#[test]
fn figures_stay_until_there_are_new_ones() {
    let first = status(None, Some(&told("old"))).unwrap();
    assert_eq!((first.resident_memory.0.as_str(), first.recommended_memory.0.as_str()), ("280Mi", "352Mi"));
    assert_eq!(status(Some(&first), None), Some(first.clone()));
    assert_eq!(status(Some(&first), Some(&told("new"))).unwrap().revision, "new");
    assert_eq!(status(None, None), None);
}

#[test]
fn too_little_memory_is_told_once() {
    let after = InferenceEndpointStatus { sizing: status(None, Some(&told("new"))), ..Default::default() };
    let notice = |memory, before: Option<&InferenceEndpointStatus>| {
        too_little_memory(&endpoint(memory, &json!({})), before, &after).map(|notice| notice.message)
    };
    let warning = notice(Some("300Mi"), None).unwrap();
    assert!(warning.contains("is 300Mi, but the workers recommend 352Mi"), "{warning}");
    assert_eq!(notice(Some("300Mi"), Some(&after)), None);
    assert_eq!(notice(Some("352Mi"), None), None);
    assert_eq!(notice(None, None), None, "the operator's own estimate");
}
