//! Endpoints that are attached to the deployment of another one, as far as nothing is written.

use super::*;

/// `holder` has two allocations of one thread, and `pool` as many of four as it needs; `guest` and `visitor` are attached to
/// them, and `orphan` to an endpoint that is gone.
fn harness() -> Harness {
    let endpoint = |name: &str, settings: Value| -> InferenceEndpoint {
        serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": name, "uid": name},
            "spec": {"taskType": "sparse_embedding", "service": "elasticsearch", "serviceSettings": settings},
            "status": {
                "model": {"id": ".elser_model_2", "source": "hf://organisation/name", "revision": "abc", "cache": "c", "maxTokens": 512},
                "allocations": {"desired": 2, "current": 2, "ready": 2},
                "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "",
                                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        }))
        .unwrap()
    };
    let endpoints = [
        endpoint("holder", json!({"modelId": ".elser_model_2", "numAllocations": 2, "numThreads": 1})),
        endpoint(
            "pool",
            json!({"modelId": ".elser_model_2", "numThreads": 4, "adaptiveAllocations":
            {"enabled": true, "minNumberOfAllocations": 1, "maxNumberOfAllocations": 3}}),
        ),
        endpoint("visitor", json!({"deploymentId": "pool"})),
        endpoint("guest", json!({"deploymentId": "holder"})),
        endpoint("orphan", json!({"deploymentId": "gone"})),
    ];
    Harness::over(&[], |mut builder| {
        builder.endpoint(Event::Init);
        for endpoint in endpoints {
            builder.endpoint(Event::InitApply(endpoint));
        }
        builder.endpoint(Event::InitDone);
        builder.slice(Event::InitDone);
        builder.build(Instant::now())
    })
}

async fn send(harness: &Harness, method: &str, path: &str, body: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let (status, _, body) = harness.send(request.body(body.to_owned()).unwrap()).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused_before_anything_is_stored() {
    let harness = harness();
    let table = [
        ("new", r#"{"deployment_id":"nobody"}"#, 404, "resource_not_found_exception", "[nobody]"),
        // B7: the way out.
        (
            "new",
            r#"{"deployment_id":"nobody"}"#,
            404,
            "resource_not_found_exception",
            "for example [holder, pool]",
        ),
        ("new", r#"{"deployment_id":"guest"}"#, 404, "resource_not_found_exception", "[guest]"),
        ("new", r#"{"deployment_id":"new"}"#, 404, "resource_not_found_exception", "[new]"),
        (
            "new",
            r#"{"deployment_id":"holder","model_id":"a/b"}"#,
            400,
            "status_exception",
            "serves model [.elser_model_2]",
        ),
        ("new", r#"{"deployment_id":"holder","num_thread":1}"#, 400, "status_exception", "num_thread"),
        ("new", r#"{"deployment_id":""}"#, 400, "validation_exception", "[deployment_id]"),
        (
            "gone",
            r#"{"model_id":".elser_model_2","num_allocations":1,"num_threads":1}"#,
            400,
            "status_exception",
            "[orphan]",
        ),
    ];
    for (id, settings, status, kind, part) in table {
        let body = format!(r#"{{"service":"elasticsearch","service_settings":{settings}}}"#);
        let (answered, error) =
            send(&harness, "PUT", &format!("/_inference/sparse_embedding/{id}"), &body).await;
        assert_eq!(
            (answered, error["error"]["type"].as_str().unwrap()),
            (status, kind),
            "{settings}: {error}"
        );
        assert!(error["error"]["reason"].as_str().unwrap().contains(part), "{settings}: {error}");
    }
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_attached_endpoint_shows_the_numbers_of_the_deployment() {
    let (_, body) = harness().get("/_inference/guest?filter_path=**.service_settings").await;
    assert_eq!(
        body,
        r#"{"endpoints":[{"service_settings":{"num_allocations":2,"num_threads":1,"model_id":".elser_model_2","deployment_id":"holder"}}]}"#
    );
}

#[tokio::test]
async fn the_page_and_the_info_show_what_the_deployment_has() {
    let harness = harness();
    let (_, body) = harness.get("/_page/endpoints").await;
    let page: Value = serde_json::from_str(&body).unwrap();
    let of = |id: &str| {
        let shown = page["endpoints"].as_array().unwrap().iter().find(|shown| shown["id"] == id).unwrap();
        (shown["threads"].clone(), shown["adaptive"].clone())
    };
    assert_eq!(of("guest"), (json!(1), Value::Null));
    assert_eq!(of("visitor"), (json!(4), json!({"min": 1, "max": 3})));
    assert_eq!(of("orphan"), (Value::Null, Value::Null), "there is none");
    let (_, body) = harness.get("/tei/visitor/info").await;
    let info: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(info["tokenization_workers"], 4);
}

/// Both the endpoint that it is attached to and the number that GET shows must survive what a client writes to it.
#[tokio::test]
async fn allocations_are_updated_through_the_endpoint_that_has_them() {
    let harness = harness();
    let path = "/_inference/sparse_embedding/guest/_update";
    let (status, error) = send(&harness, "PUT", path, r#"{"service_settings":{"num_allocations":3}}"#).await;
    assert_eq!((status, &error["error"]["type"]), (409, &json!("status_exception")));
    assert!(error["error"]["reason"].as_str().unwrap().contains("_inference/holder/_update"), "{error}");
    let (status, endpoint) =
        send(&harness, "PUT", path, r#"{"service_settings":{"num_allocations":2}}"#).await;
    assert_eq!(
        (status, &endpoint["service_settings"]["deployment_id"]),
        (200, &json!("holder")),
        "no change"
    );
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_endpoint_that_others_are_attached_to_goes_only_by_force() {
    let harness = harness();
    let (status, error) = send(&harness, "DELETE", "/_inference/holder", "").await;
    assert_eq!(status, 409);
    assert!(error["error"]["reason"].as_str().unwrap().contains("[guest]"), "{error}");
    let (status, dry) = send(&harness, "DELETE", "/_inference/holder?dry_run&force", "").await;
    assert_eq!(status, 200);
    assert!(dry["error_message"].as_str().unwrap().contains("[guest]"), "{dry}");
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
    // Nobody is attached to the guest, and nothing answers here.
    assert_eq!(send(&harness, "DELETE", "/_inference/guest", "").await.0, 503);
    assert_eq!(send(&harness, "DELETE", "/_inference/holder?force", "").await.0, 503);
}
