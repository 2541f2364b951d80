use lexiscale_fuzz::{Inputs, fuzz};
use serde_json::json;

use super::*;

#[test]
fn takes_what_its_clients_send() {
    for (body, texts, options) in [
        (r#"{"inputs":"a"}"#, vec!["a"], r#"{"truncate":true}"#),
        (r#"{"inputs":["a","b"],"truncate":null,"normalize":true}"#, vec!["a", "b"], r#"{"truncate":true}"#),
        (
            r#"{"inputs":["a"],"truncate":true,"truncation_direction":"Right"}"#,
            vec!["a"],
            r#"{"truncate":true,"truncation_direction":"Right"}"#,
        ),
        (r#"{"inputs":["a"],"truncate":false,"prompt_name":null}"#, vec!["a"], r#"{"truncate":false}"#),
        (
            r#"{"inputs":["a"],"truncation_direction":"left","prompt_name":"query"}"#,
            vec!["a"],
            r#"{"truncate":true,"truncation_direction":"Left","prompt_name":"query"}"#,
        ),
        (
            r#"{"inputs":["a"],"top_k":9,"max_ratio":0.5,"min_weight":0.25,"format":"arrays"}"#,
            vec!["a"],
            r#"{"top_k":9,"max_ratio":0.5,"min_weight":0.25,"truncate":true,"format":"arrays"}"#,
        ),
    ] {
        let asked = parse(body.as_bytes()).unwrap();
        let asked_options = serde_json::to_string(&asked.options).unwrap();
        assert_eq!((asked.texts, asked_options.as_str()), (vec_of(&texts), options), "{body}");
    }
}

fn vec_of(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn refuses_with_its_statuses_and_types() {
    let too_many = json!({"inputs": vec!["a"; MOST_TEXTS + 1]}).to_string();
    for (body, status, kind, part) in [
        (r#"{"inputs":[]}"#, 400, Kind::Empty, "cannot be empty"),
        (r#"{"inputs":["a",""]}"#, 400, Kind::Empty, "cannot be empty"),
        (r#"{"inputs":"a""#, 400, Kind::Validation, "EOF"),
        ("{}", 422, Kind::Validation, "missing field `inputs`"),
        (r#"{"inputs":[1,2]}"#, 422, Kind::Validation, "a string or an array of strings"),
        (r#"{"inputs":"a","truncate":"yes"}"#, 422, Kind::Validation, "boolean"),
        (r#"{"inputs":"a","truncation_direction":"up"}"#, 422, Kind::Validation, "`up`"),
        (r#"["a"]"#, 422, Kind::Validation, "a JSON object"),
        (too_many.as_str(), 413, Kind::Validation, "batch size 1025 > maximum allowed batch size 1024"),
        (r#"{"inputs":"a","max_ratio":2}"#, 422, Kind::Validation, "must be from 0 to 1"),
        (r#"{"inputs":"a","format":"csv"}"#, 422, Kind::Validation, "`csv`"),
    ] {
        let failure = parse(body.as_bytes()).unwrap_err();
        assert_eq!((failure.status.as_u16(), failure.kind), (status, kind), "{failure:?}");
        assert!(failure.message.contains(part), "{failure:?}");
    }
}

#[test]
fn errors_of_the_gateway_become_its_errors() {
    for (status, expected, kind) in [
        (400, 400, Kind::Validation),
        (401, 401, Kind::Validation),
        (404, 404, Kind::Validation),
        (406, 415, Kind::Validation),
        (408, 429, Kind::Overloaded),
        (409, 503, Kind::Unhealthy),
        (413, 413, Kind::Validation),
        (429, 429, Kind::Overloaded),
        (500, 424, Kind::Backend),
        (503, 503, Kind::Unhealthy),
    ] {
        let failure = Failure::translated(StatusCode::from_u16(status).unwrap(), "why");
        assert_eq!((failure.status.as_u16(), failure.kind), (expected, kind), "{status}");
    }
    let body = Failure::validation("too long").body();
    assert_eq!(String::from_utf8(body).unwrap(), r#"{"error":"too long","error_type":"Validation"}"#);
}

#[test]
fn the_info_names_the_model_and_the_limits() {
    let mut endpoint: InferenceEndpoint = serde_json::from_value(json!({
        "metadata": {"name": "articles"},
        "spec": {"taskType": "sparse_embedding", "service": "elasticsearch",
                 "serviceSettings": {"modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 4}},
        "status": {"model": {"id": ".elser_model_2", "source": "hf://organisation/name", "revision": "abc", "cache": "c", "maxTokens": 512}},
    }))
    .unwrap();
    let info = serde_json::to_string(&Info::of(&endpoint, 4096)).unwrap();
    let expected = r#"{"model_id":"organisation/name","model_sha":"abc","model_dtype":"float32","model_type":{"embedding":{"pooling":"splade"}},"max_concurrent_requests":4096,"max_input_length":512,"max_batch_tokens":1024,"max_batch_requests":null,"max_client_batch_size":1024,"auto_truncate":true,"tokenization_workers":4,"version":"VERSION","sha":null,"docker_label":null}"#;
    assert_eq!(info, expected.replace("VERSION", env!("CARGO_PKG_VERSION")));
    endpoint.status.as_mut().unwrap().model.as_mut().unwrap().max_tokens = None;
    assert!(Info::of(&endpoint, 1).is_none());
}

#[test]
fn any_body_gets_a_verdict() {
    let seeds = [
        r#"{"inputs":["a","b"],"truncate":null,"normalize":true,"truncation_direction":"Right"}"#,
        r#"{"inputs":"a","prompt_name":"query","input_type":"search","top_k":8,"max_ratio":0.4,"format":"pairs"}"#,
    ];
    let words = ["\"inputs\":", "null", "[", "{", "\"top_k\":0", "\"min_weight\":-1", "\"\\ud800\"", "1e999"];
    fuzz(&Inputs::of_texts("tei", &seeds, &words), |body| {
        if let Ok(wanted) = parse(body) {
            let texts = wanted.texts;
            assert!(!texts.is_empty() && texts.iter().all(|text| !text.is_empty()), "{texts:?}");
        }
    });
}
