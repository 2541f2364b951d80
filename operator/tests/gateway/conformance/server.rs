//! Any server that speaks the `_inference` API, by its base URL, a path before it included.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::case::Case;
use crate::cluster::PATIENCE;

/// A real server may fetch a model first.
const CREATION: Duration = Duration::from_mins(5);

pub(crate) struct Server {
    base: String,
    authorization: Option<HeaderValue>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Server {
    pub(crate) fn new(base: impl Into<String>, authorization: Option<HeaderValue>) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        assert!(base.starts_with("http://"), "{base} is no address that begins with http://");
        Self {
            base,
            authorization,
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
        }
    }

    /// The server that the tests are told of, if they are.
    pub(crate) fn of_environment() -> Option<Self> {
        let variable = |name| {
            std::env::var_os(name).and_then(|value| value.into_string().ok()).filter(|text| !text.is_empty())
        };
        let authorization = variable("LEXISCALE_CONFORMANCE_AUTHORIZATION").map(|text| {
            HeaderValue::from_str(&text).expect("LEXISCALE_CONFORMANCE_AUTHORIZATION is a header's value")
        });
        Some(Self::new(variable("LEXISCALE_CONFORMANCE_URL")?, authorization))
    }

    pub(crate) fn has_credentials(&self) -> bool {
        self.authorization.is_some()
    }

    /// What is wrong with the answer to a case, if anything is.
    pub(crate) async fn outcome(&self, case: &Case) -> Option<String> {
        let request = case.request(self.authorization.as_ref());
        let (status, headers, body) = self.answer(request, PATIENCE * 2).await;
        case.mismatch(status, &headers, &body)
    }

    async fn answer(
        &self,
        mut request: Request<Bytes>,
        patience: Duration,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let path = request.uri().path_and_query().unwrap().clone();
        *request.uri_mut() = format!("{}{path}", self.base).parse::<Uri>().unwrap();
        let what = format!("{} {}", request.method(), request.uri());
        let answer = async {
            let response = self.client.request(request.map(Full::new)).await;
            let (head, body) = response.unwrap_or_else(|error| panic!("{what}: {error:?}")).into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            (head.status, head.headers, body)
        };
        tokio::time::timeout(patience, answer)
            .await
            .unwrap_or_else(|_| panic!("no answer to {what} in {patience:?}"))
    }

    async fn send(&self, method: Method, path: &str, body: &'static str) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let (status, headers, body) =
            self.answer(request.body(Bytes::from_static(body.as_bytes())).unwrap(), CREATION).await;
        (status, headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub(crate) async fn has(&self, id: &str) -> bool {
        self.ids().await.iter().any(|known| known == id)
    }

    /// Sorted, as every listing is.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let (status, _, list) = self.send(Method::GET, "/_inference", "").await;
        assert_eq!(status, StatusCode::OK, "{list}");
        let endpoints = list["endpoints"].as_array().expect("a list of endpoints");
        let ids: Vec<_> =
            endpoints.iter().map(|endpoint| endpoint["inference_id"].as_str().unwrap().to_owned()).collect();
        assert!(ids.is_sorted(), "the endpoints are not listed by id: {ids:?}");
        ids
    }

    pub(crate) async fn make(&self, id: &str, body: &'static str) {
        let path = format!("/_inference/sparse_embedding/{id}?timeout=4m");
        let (status, _, answer) = self.send(Method::PUT, &path, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    pub(crate) async fn remove(&self, id: &str) {
        self.send(Method::DELETE, &format!("/_inference/{id}?force=true"), "").await;
    }

    pub(crate) async fn until_ready(&self, ids: &[&str]) {
        let ready = async {
            for id in ids {
                while self
                    .send(Method::GET, &format!("/_inference/{id}"), "")
                    .await
                    .1
                    .get("x-inference-state")
                    != Some(&HeaderValue::from_static("ready"))
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("the endpoints become ready");
    }
}
