//! The gateway's part in the traces of others, as a collector sees it.

use bytes::Bytes;
use http::Request;
use lexiscale_collector::{Collector, Span};
use serde_json::json;

use crate::cluster::{Cluster, with_namespace};
use crate::harness::{Answer, Gateway};
use crate::worker::{Behaviour, Worker};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

async fn articles(cluster: &Cluster) {
    cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
    cluster.becomes_ready("articles", 1).await;
}

async fn infer(gateway: &Gateway, path: &str, flags: &str) -> Answer {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-{CLIENT}-{flags}"))
        .header("tracestate", "vendor=1");
    gateway.request(request.body(Bytes::from(r#"{"input":"Kubernetes"}"#)).unwrap()).await
}

/// Ends the gateway, which sends what it has left.
async fn spans(gateway: Gateway, collector: &Collector) -> Vec<Span> {
    gateway.shutdown.cancel();
    gateway.ended.await.unwrap().unwrap();
    collector.spans()
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "{name} in {spans:#?}");
    named[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_the_clients_trace_with_its_wait_and_its_worker_below() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let collector = Collector::start().unwrap();
        let gateway = Gateway::start(&cluster, &["--otlp-endpoint", collector.url()]).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        let route = async {
            gateway
                .until("the request waits", async || gateway.metrics().await.contains("requests_held{"))
                .await;
            cluster.routes("articles", &[worker.address]).await;
        };
        let (answer, ()) = tokio::join!(infer(&gateway, "/_inference/articles", "01"), route);
        assert_eq!(answer.status, 200);
        let spans = spans(gateway, &collector).await;
        assert!(spans.iter().all(|span| span.service == "lexiscale-gateway"));
        let request = one(&spans, "POST /_inference/{id}");
        assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, CLIENT));
        assert_eq!(request.kind, "SPAN_KIND_SERVER");
        let said = ["http.response.status_code", "http.route", "lexiscale.endpoint", "url.path"]
            .map(|name| request.attribute(name).unwrap_or_default());
        assert_eq!(said, ["200", "/_inference/{id}", "articles", "/_inference/articles"]);
        let wait = one(&spans, "wait for a ready allocation");
        let call = one(&spans, "POST /_inference");
        for child in [wait, call] {
            assert_eq!((&child.trace, &child.parent), (&request.trace, &request.id));
        }
        assert_eq!(call.kind, "SPAN_KIND_CLIENT");
        let told = worker.headers()[0].clone();
        assert_eq!(
            told["traceparent"],
            format!("00-{TRACE}-{}-01", call.id),
            "the worker's span is below this one"
        );
        assert_eq!(told["tracestate"], "vendor=1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_an_error_and_what_the_client_got_wrong_is_none() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Refuses(500, r#"{"error":"e","type":"internal"}"#)).await;
        cluster.routes("articles", &[worker.address]).await;
        let collector = Collector::start().unwrap();
        let gateway = Gateway::start(&cluster, &["--otlp-endpoint", collector.url()]).await;
        assert_eq!(infer(&gateway, "/_inference/articles", "01").await.status, 500);
        assert_eq!(infer(&gateway, "/_inference/nobody/articles", "01").await.status, 400);
        let spans = spans(gateway, &collector).await;
        let failed = one(&spans, "POST /_inference/{id}");
        assert_eq!((failed.is_error, failed.attribute("error.type")), (true, Some("500")));
        let call = one(&spans, "POST /_inference");
        assert_eq!((call.is_error, call.attribute("error.type")), (true, Some("internal")));
        assert!(!one(&spans, "POST /_inference/{task_type}/{id}").is_error);
    })
    .await;
}

/// Who traces one request in a thousand must not get the other 999 from us.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_sampled_leaves_no_span_and_the_worker_is_told_so() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.routes("articles", &[worker.address]).await;
        let collector = Collector::start().unwrap();
        let gateway = Gateway::start(&cluster, &["--otlp-endpoint", collector.url()]).await;
        assert_eq!(infer(&gateway, "/_inference/articles", "00").await.status, 200);
        let told = worker.headers()[0]["traceparent"].to_str().unwrap().to_owned();
        assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
        let spans = spans(gateway, &collector).await;
        assert!(spans.iter().all(|span| span.trace != TRACE), "{spans:#?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_no_request() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.routes("articles", &[worker.address]).await;
        let nobody = Worker::start(Behaviour::Embeds).await.die();
        let gateway = Gateway::start(&cluster, &["--otlp-endpoint", &format!("http://{nobody}")]).await;
        for _ in 0..10 {
            assert_eq!(infer(&gateway, "/_inference/articles", "01").await.status, 200);
        }
        gateway.shutdown.cancel();
        gateway.ended.await.unwrap().unwrap();
    })
    .await;
}
