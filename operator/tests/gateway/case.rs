//! A request and what it must be answered, as `gateway_conformance.yaml` has it. Used by the router's own
//! tests and by those over a real API server.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    request: Asked,
    expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: String,
    path: String,
    body: Option<String>,
    bytes: Option<Vec<u8>>,
    /// Absent: JSON when there is a body. `none`: no such header.
    content_type: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: u16,
    r#type: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: Option<Value>,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        serde_norway::from_str(include_str!("../gateway_conformance.yaml")).unwrap()
    }

    /// The request, with a path and no host.
    pub(crate) fn request(&self) -> Request<Bytes> {
        let Asked { method, path, body, bytes, content_type, headers } = &self.request;
        let body = bytes.clone().or_else(|| body.clone().map(String::into_bytes)).unwrap_or_default();
        let mut request = Request::builder().method(method.as_str()).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let content_type = match content_type.as_deref() {
            Some("none") => None,
            Some(given) => Some(given),
            None if body.is_empty() => None,
            None => Some("application/json"),
        };
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.body(Bytes::from(body)).unwrap()
    }

    /// What is wrong with an answer, if anything is.
    pub(crate) fn mismatch(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        let Expected { status: expected, r#type, reason, headers: expected_headers, body: expected_body } =
            &self.expect;
        let text = String::from_utf8_lossy(body);
        let mut wrong = Vec::new();
        if status.as_u16() != *expected {
            wrong.push(format!("status {status} instead of {expected}"));
        }
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(kind) = r#type
            && json["error"]["type"] != *kind
        {
            wrong.push(format!("type {} instead of {kind}", json["error"]["type"]));
        }
        // What is filtered is compared as a whole instead.
        if r#type.is_some() && expected_body.is_none() {
            let cause = &json["error"]["root_cause"][0];
            if json["status"] != *expected
                || cause["type"] != json["error"]["type"]
                || cause["reason"] != json["error"]["reason"]
            {
                wrong.push("the envelope is not the one of Elasticsearch".to_owned());
            }
        }
        if let Some(reason) = reason
            && !json["error"]["reason"].as_str().is_some_and(|text| text.contains(reason))
        {
            wrong.push(format!("the reason does not contain {reason:?}"));
        }
        if let Some(expected) = expected_body
            && json != *expected
        {
            wrong.push(format!("body instead of {expected}"));
        }
        for (name, value) in expected_headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            if headers.get(&name) != Some(&HeaderValue::from_str(value).unwrap()) {
                wrong.push(format!("{name}: {:?} instead of {value:?}", headers.get(&name)));
            }
        }
        (!wrong.is_empty()).then(|| format!("{}: {}\n    {text}", self.name, wrong.join("; ")))
    }
}
