//! The configurations that the documentation gives, word for word: each is applied as the program that it is written for applies
//! it, and what comes out is sent.

use super::*;

const OPENSEARCH: &str = include_str!("../../../../../docs/reference/opensearch.md");
const CUSTOM: &str = include_str!("../../../../../docs/reference/elasticsearch-custom.md");

/// Texts that a template must not break on.
const TEXTS: [&str; 3] = ["pods \"restart\"\n", "a ${parameters.input} \\ b", "ü😀"];

/// The body behind a request line within a page.
fn body_of(page: &str, request: &str) -> Value {
    let (_, behind) = page.split_once(request).unwrap_or_else(|| panic!("no {request} in the page"));
    let (body, _) = behind.split_once("```").unwrap();
    serde_json::from_str(body).unwrap()
}

/// `${prefix name}` replaced by what is known by that name; what is not known stays.
fn substitute(template: &str, prefix: &str, values: &Value) -> String {
    let opening = format!("${{{prefix}");
    let mut parts = template.split(&opening);
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap();
        match values[name].as_str() {
            Some(value) => text.extend([value, rest]),
            None => text.extend([opening.as_str(), part]),
        }
    }
    text
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

async fn send(
    harness: &Harness,
    url: &str,
    headers: &Value,
    fill: impl Fn(&str) -> String,
    body: String,
) -> Value {
    let path = url.strip_prefix("http://lexiscale-gateway.lexiscale.svc:9200").unwrap();
    let mut request = Request::post(path);
    for (name, value) in headers.as_object().unwrap() {
        request = request.header(name, fill(value.as_str().unwrap()));
    }
    assert_eq!(request.headers_ref().unwrap()["authorization"], "ApiKey bGV4aXNjYWxlOnNlY3JldA==");
    let (status, _, answer) = harness.send(request.body(body).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    serde_json::from_slice(&answer).unwrap()
}

/// A connector puts parameters as JSON into its template, and files a list that comes back under `response`.
#[tokio::test]
async fn the_opensearch_connector_works_as_documented() {
    let worker = Worker::start(Behaviour::Echoes).await;
    let harness = with_pods(&[worker.address], &[]);
    let connector = body_of(OPENSEARCH, "POST /_plugins/_ml/connectors/_create");
    let action = &connector["actions"][0];
    assert_eq!((text(action, "action_type"), text(action, "method")), ("predict", "POST"));
    assert_eq!(text(action, "pre_process_function"), "connector.pre_process.default.embedding");
    let mut parameters = connector["parameters"].clone();
    // What that function makes of the documents.
    parameters["input"] = json!(json!(TEXTS).to_string());
    let url = substitute(text(action, "url"), "parameters.", &parameters);
    let body = substitute(text(action, "request_body"), "parameters.", &parameters);
    let fill = |header: &str| {
        substitute(&substitute(header, "credential.", &connector["credential"]), "parameters.", &parameters)
    };
    let answer = send(&harness, &url, &action["headers"], fill, body).await;
    assert!(answer.is_array(), "anything else is not filed under `response`");
    let filed = json!({"response": answer});
    // As the sparse encoding processor reads it: a list of objects whose values are numbers.
    let maps = filed["response"].as_array().unwrap().iter().map(|map| map.as_object().unwrap());
    let read: Vec<(String, f64)> = maps
        .map(|map| {
            map.iter().next().map(|(token, weight)| (token.clone(), weight.as_f64().unwrap())).unwrap()
        })
        .collect();
    assert_eq!(read, TEXTS.map(|text| (text.to_owned(), 1.0)));
}

/// Elasticsearch's own small path language: `.field` descends, `[*]` maps over a list and keeps its nesting.
fn extract(value: &Value, path: &str) -> Value {
    if let Some(rest) = path.strip_prefix("[*]") {
        return value.as_array().unwrap().iter().map(|item| extract(item, rest)).collect();
    }
    let Some(rest) = path.strip_prefix('.') else {
        assert_eq!(path, "", "a path of fields and [*]");
        return value.clone();
    };
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    let field = &value[&rest[..end]];
    assert!(!field.is_null(), "no {} in {value}", &rest[..end]);
    extract(field, &rest[end..])
}

#[tokio::test]
async fn the_custom_service_of_elasticsearch_works_as_documented() {
    let worker = Worker::start(Behaviour::Echoes).await;
    let harness = with_pods(&[worker.address], &[]);
    let endpoint = body_of(CUSTOM, "PUT /_inference/sparse_embedding/articles");
    assert_eq!(text(&endpoint, "service"), "custom");
    let settings = &endpoint["service_settings"];
    let names = &settings["input_type"];
    for (input_type, sent) in [
        (&names["translation"]["search"], r#""input_type":"search""#),
        (&names["translation"]["ingest"], r#""input_type":"ingest""#),
        (&names["default"], ""),
    ] {
        let parameters = json!({"input": json!(TEXTS).to_string(), "input_type": input_type.to_string()});
        let body = substitute(text(settings, "request"), "", &parameters);
        let fill = |header: &str| substitute(header, "", &settings["secret_parameters"]);
        let answer = send(&harness, text(settings, "url"), &settings["headers"], fill, body).await;
        let parser = &settings["response"]["json_parser"];
        let list = |name| extract(&answer, text(parser, name).strip_prefix('$').unwrap());
        assert_eq!(list("token_path"), json!(TEXTS.map(|text| [text])));
        assert_eq!(list("weight_path"), json!(TEXTS.map(|_| [1.0])));
        assert!(worker.asked().last().unwrap().contains(sent), "{:?}", worker.asked());
    }
}
