//! The router between a directory that holds still and an API server that is told what to answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use clap::Parser;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

use super::*;
use crate::gateway::directory::Builder;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

pub(in crate::gateway) struct Harness {
    pub(in crate::gateway) router: Router,
    pub(in crate::gateway) gateway: Gateway,
    /// Requests to the API server.
    pub(in crate::gateway) asked: Arc<AtomicUsize>,
    pub(super) directory: watch::Sender<Arc<Directory>>,
}

impl Harness {
    pub(in crate::gateway) fn new(flags: &[&str]) -> Self {
        Self::over(flags, directory)
    }

    pub(in crate::gateway) fn over(flags: &[&str], fill: impl FnOnce(Builder) -> Directory) -> Self {
        let nobody = async |_| Err(std::io::Error::other("there is no API server"));
        Self::between(flags, fill, nobody)
    }

    /// With an API server that answers as it is told.
    pub(in crate::gateway) fn with<F>(
        flags: &[&str],
        answer: impl Fn(Request<kube::client::Body>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<http::Response<Body>, std::io::Error>> + Send + 'static,
    {
        Self::between(flags, directory, answer)
    }

    fn between<F>(
        flags: &[&str],
        fill: impl FnOnce(Builder) -> Directory,
        answer: impl Fn(Request<kube::client::Body>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<http::Response<Body>, std::io::Error>> + Send + 'static,
    {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            answer(request)
        });
        let client = Client::new(service, "default");
        let settings = Arguments::parse_from([&["gateway"], flags].concat()).settings;
        let (_, metrics) = metrics::registry();
        let builder = Builder::new(settings.line_limits(), settings.worker_tls.protocol(), metrics.clone());
        let (sender, directory) = watch::channel(Arc::new(fill(builder)));
        let page = Page::new(caches());
        let workers = WorkerClient::plain();
        let observers = Observers { metrics, ..Observers::default() };
        let gateway =
            Gateway::new(settings, client, directory, observers, workers, page, CancellationToken::new());
        Self { router: router(&gateway), gateway, asked, directory: sender }
    }

    pub(in crate::gateway) async fn send(
        &self,
        request: Request<impl Into<Body>>,
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let request = tenancy::routable(request.map(Into::into));
        let response: Response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    pub(super) async fn get(&self, path: &str) -> (HeaderMap, String) {
        let (status, headers, body) = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        (headers, String::from_utf8(body).unwrap())
    }
}

/// The endpoints that `gateway_conformance.yaml` takes for granted.
pub(super) fn directory(builder: Builder) -> Directory {
    known(builder).build(Instant::now())
}

/// The same, with room for more.
pub(super) fn known(mut builder: Builder) -> Builder {
    let settings = json!({"modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1});
    let adaptive = json!({"numThreads": 1, "adaptiveAllocations": {"enabled": true, "minNumberOfAllocations": 0, "maxNumberOfAllocations": 32}});
    let endpoint = |name: &str, id: Option<&str>, service: &str, settings: &Value| -> InferenceEndpoint {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "generation": 1},
            "spec": {"inferenceId": id, "taskType": "sparse_embedding", "service": service, "serviceSettings": settings},
            "status": {
                "allocations": {"desired": 3, "current": 3, "ready": 1},
                "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "", "observedGeneration": 1,
                                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        }))
        .unwrap()
    };
    let default = ".elser-2-elasticsearch";
    builder.endpoint(Event::Init);
    for endpoint in [
        endpoint("legacy", None, "elser", &adaptive),
        endpoint("articles", None, "elasticsearch", &settings),
        endpoint(&lexiscale_core::name::object_name(default), Some(default), "elasticsearch", &settings),
    ] {
        builder.endpoint(Event::InitApply(endpoint));
    }
    builder.endpoint(Event::InitDone);
    builder.slice(Event::InitDone);
    builder
}

fn caches() -> kube::runtime::reflector::Store<lexiscale_crds::ModelCache> {
    kube::runtime::reflector::store().0
}
