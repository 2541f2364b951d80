//! What holds for every route: methods, parameters, and the ids that look like something else.

use super::*;

const ROUTES: [(&str, &str); 12] = [
    ("/", "GET,HEAD"),
    ("/_inference", "GET,HEAD"),
    ("/_inference/_services", "GET,HEAD"),
    ("/_inference/_services/sparse_embedding", "GET,HEAD"),
    ("/_inference/_all", "GET,HEAD,PUT,DELETE,POST"),
    ("/_inference/articles", "GET,HEAD,PUT,DELETE,POST"),
    ("/_inference/sparse_embedding/articles", "GET,HEAD,PUT,DELETE,POST"),
    ("/_inference/articles/_stream", "POST"),
    ("/_inference/sparse_embedding/articles/_stream", "POST"),
    ("/_inference/articles/_update", "PUT"),
    ("/_inference/sparse_embedding/articles/_update", "PUT"),
    ("/_inference/sparse_embedding/articles/_chunk", "POST"),
];

async fn ask(harness: &Harness, method: &str, path: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
    harness.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_route_tells_its_methods() {
    let harness = Harness::new(&[]);
    for (path, methods) in ROUTES {
        let (status, headers, body) = ask(&harness, "OPTIONS", path).await;
        assert_eq!((status, &headers["allow"]), (StatusCode::OK, &methods.parse().unwrap()), "{path}");
        assert!(body.is_empty() && headers["x-elastic-product"] == "Elasticsearch", "{path}");
        let (status, headers, _) = ask(&harness, "PATCH", path).await;
        let expected = (StatusCode::METHOD_NOT_ALLOWED, &methods.parse().unwrap());
        assert_eq!((status, &headers["allow"]), expected, "{path}");
    }
}

#[tokio::test]
async fn head_answers_as_get_does_without_the_body() {
    let harness = Harness::new(&[]);
    for path in [
        "/",
        "/_inference",
        "/_inference/_services",
        "/_inference/articles",
        "/_inference/nobody",
        "/_search",
    ] {
        let (status, headers, _) = ask(&harness, "GET", path).await;
        let (head_status, head_headers, body) = ask(&harness, "HEAD", path).await;
        assert_eq!((head_status, body.len()), (status, 0), "{path}");
        assert_eq!(head_headers.get("content-type"), headers.get("content-type"), "{path}");
    }
}

#[tokio::test]
async fn a_parameter_that_nobody_knows_is_refused_on_every_route() {
    let harness = Harness::new(&[]);
    for (path, methods) in ROUTES {
        for method in methods.split(',').filter(|method| *method != "HEAD") {
            let path = format!("{path}?timout=3s");
            let (status, _, body) = ask(&harness, method, &path).await;
            let body = String::from_utf8(body).unwrap();
            // What is not served yet, and what only says that there is nothing to stream, has no parameters.
            if path.contains("_chunk") {
                continue;
            }
            assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path}: {body}");
            assert!(
                body.contains("illegal_argument_exception") && body.contains("[timout]"),
                "{method} {path}: {body}"
            );
        }
    }
}

/// Elasticsearch answers about its own nodes there. We have none, and say so as of any id that does not exist.
#[tokio::test]
async fn diagnostics_are_not_there() {
    let harness = Harness::new(&[]);
    let (status, _, body) = ask(&harness, "GET", "/_inference/.diagnostics").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8(body).unwrap().contains("[.diagnostics]"));
}

#[tokio::test]
async fn the_services_are_what_forms_are_drawn_from() {
    let harness = Harness::new(&[]);
    let (_, all) = harness.get("/_inference/_services").await;
    let services: Value = serde_json::from_str(&all).unwrap();
    let service = &services[0];
    assert_eq!((services.as_array().unwrap().len(), &service["service"]), (1, &json!("elasticsearch")));
    assert_eq!(
        (&service["name"], &service["task_types"]),
        (&json!("Elasticsearch"), &json!(["sparse_embedding"]))
    );
    let settings = service["configurations"].as_object().unwrap();
    let brief = |name: &str| {
        let setting = &settings[name];
        for key in ["description", "label"] {
            assert!(setting[key].is_string(), "{name}.{key}");
        }
        assert_eq!(setting["supported_task_types"], json!(["sparse_embedding"]));
        json!([
            setting["required"],
            setting["sensitive"],
            setting["updatable"],
            setting["type"],
            setting["default_value"]
        ])
    };
    assert_eq!(settings.len(), 3);
    assert_eq!(brief("model_id"), json!([true, false, false, "str", null]));
    assert_eq!(brief("num_allocations"), json!([true, false, true, "int", 1]));
    assert_eq!(brief("num_threads"), json!([true, false, false, "int", 2]));
    assert_eq!(harness.get("/_inference/_services/Sparse_Embedding").await.1, all);
}
