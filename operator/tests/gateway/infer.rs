//! POST: from the client to a worker and back, and everything that can come between.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::Request;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::cluster::{Cluster, local_address, with_namespace};
use crate::harness::Gateway;
use crate::worker::{Behaviour, EMBEDDING, Worker};

const PATH: &str = "/_inference/sparse_embedding/articles";
const INPUT: &str = r#"{"input":"Kubernetes"}"#;

async fn held(gateway: &Gateway, requests: usize) -> bool {
    gateway.metrics().await.lines().any(|line| {
        line.starts_with("lexiscale_gateway_requests_held{")
            && line.ends_with(&format!(r#"endpoint="articles"}} {requests}"#))
    })
}

async fn articles(cluster: &Cluster) {
    cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
    cluster.becomes_ready("articles", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedding_comes_back_as_the_worker_wrote_it() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let request = Request::post("/_inference/articles")
            .header("content-type", "application/vnd.elasticsearch+json; compatible-with=9")
            .header("accept", "application/vnd.elasticsearch+json; compatible-with=9")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let answer = gateway
            .request(request.body(Bytes::from(r#"{"input":"Kubernetes","input_type":"Search"}"#)).unwrap())
            .await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, EMBEDDING));
        assert_eq!(answer.header("content-type"), "application/vnd.elasticsearch+json;compatible-with=9");
        assert_eq!(answer.header("x-elastic-product"), "Elasticsearch");
        assert_eq!(worker.asked(), [r#"{"input":["Kubernetes"],"input_type":"search"}"#]);
        assert!(worker.headers()[0].contains_key("traceparent"));
        let time_left = worker.headers()[0][lexiscale_wire::TIMEOUT_HEADER].to_str().unwrap().parse::<u64>();
        assert!((1..=30_001).contains(&time_left.unwrap()), "the default is 30 seconds");
        let metrics = gateway.metrics().await;
        let counted = r#"endpoint="articles",outcome="Success"} 1"#;
        assert!(metrics.contains(counted), "{metrics}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_goes_both_ways() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::EmbedsAtLength).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(br#"{"input":"Kubernetes","input_type":"ingest"}"#).unwrap();
        let request = Request::post("/_inference/articles")
            .header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .header("accept-encoding", "gzip");
        let answer = gateway.request(request.body(packed.finish().unwrap().into()).unwrap()).await;
        assert_eq!(worker.asked(), [r#"{"input":["Kubernetes"],"input_type":"ingest"}"#]);
        assert!(!worker.headers()[0].contains_key("content-encoding"), "the worker gets it as it is");
        assert_eq!(answer.header("content-encoding"), "gzip");
        assert!(answer.header("vary").contains("accept-encoding"), "{}", answer.header("vary"));
        assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
        let text = std::io::read_to_string(GzDecoder::new(&*answer.body)).unwrap();
        assert_eq!((answer.status.as_u16(), text.trim_start()), (200, EMBEDDING));
    })
    .await;
}

/// A cold start must not lose its first request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_first_allocation() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        let wake = async {
            gateway.until("the request is held", async || held(&gateway, 1).await).await;
            cluster.routes("articles", &[worker.address]).await;
        };
        let (answer, ()) = tokio::join!(gateway.post(PATH, INPUT), wake);
        assert_eq!((answer.status.as_u16(), answer.text()), (200, EMBEDDING));
        assert!(held(&gateway, 0).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_start_is_not_waited_for() {
    with_namespace(|cluster| async move {
        cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
        cluster.stalls("articles", "ModelNotFound", "there is no such model").await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let answer = gateway.post(PATH, INPUT).await;
        assert_eq!(answer.error(), (409, "status_exception".to_owned()));
        assert!(answer.text().contains("[ModelNotFound] there is no such model"));
        assert_eq!(answer.header("x-inference-state"), "failed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_pod_costs_no_request() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let dead = Worker::start(Behaviour::Embeds).await.die();
        let alive = Worker::start(Behaviour::Embeds).await;
        cluster.routes("articles", &[dead, alive.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        for _ in 0..20 {
            assert_eq!(gateway.post(PATH, INPUT).await.status, 200);
        }
        assert_eq!(alive.asked().len(), 20);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_its_way_out_passes_its_requests_on() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let leaving =
            Worker::start(Behaviour::Refuses(503, r#"{"error":"draining","type":"not_ready"}"#)).await;
        let staying = Worker::start(Behaviour::Embeds).await;
        cluster.routes("articles", &[leaving.address, staying.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        for _ in 0..6 {
            assert_eq!(gateway.post(PATH, INPUT).await.status, 200);
        }
        assert_eq!(staying.asked().len(), 6);
    })
    .await;
}

/// A worker that dies under one request must not be followed by all the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_costs_two_workers_gets_no_third() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let mut dying = Vec::new();
        for _ in 0..3 {
            dying.push(breaks_off().await);
        }
        cluster.routes("articles", &dying).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let answer = gateway.post(PATH, INPUT).await;
        assert_eq!(answer.error(), (503, "status_exception".to_owned()));
        let metrics = gateway.metrics().await;
        let retries =
            metrics.lines().find(|line| line.starts_with("lexiscale_gateway_dispatch_retries_total"));
        assert!(retries.is_some_and(|line| line.ends_with(" 1")), "{retries:?}");
    })
    .await;
}

/// Accepts, reads a little, and closes without a word.
async fn breaks_off() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind((local_address(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_refuses_has_elasticsearchs_type() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let table = [
            (
                429,
                r#"{"error":"the queue is full","type":"overloaded"}"#,
                "es_rejected_execution_exception",
                "7",
            ),
            (413, r#"{"error":"too many texts","type":"too_large"}"#, "status_exception", ""),
            (500, r#"{"error":"the model failed","type":"internal"}"#, "status_exception", ""),
        ];
        for (status, body, kind, retry_after) in table {
            let worker = Worker::start(Behaviour::Refuses(status, body)).await;
            cluster.routes("articles", &[worker.address]).await;
            // What is full is asked again until the request's time is over.
            let path = format!("{PATH}?timeout=300ms");
            let refused = async || gateway.post(&path, INPUT).await.status == status;
            gateway.until("the worker is the one that is asked", refused).await;
            let answer = gateway.post(&path, INPUT).await;
            assert_eq!(answer.error(), (status, kind.to_owned()));
            assert_eq!(answer.header("retry-after"), retry_after);
            let message: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(answer.text().contains(message["error"].as_str().unwrap()), "{}", answer.text());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_request_bounds_the_worker_too() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let answer = gateway.post(&format!("{PATH}?timeout=300ms"), INPUT).await;
        assert_eq!(answer.error(), (408, "status_exception".to_owned()));
        assert!(answer.text().contains("[300ms]"), "{}", answer.text());
        gateway.until("the worker is told", async || worker.abandoned() == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_request_bounds_its_own_body() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let mut stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST {PATH}?timeout=300ms HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 408");
    })
    .await;
}

/// A half answer must not look like a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stops_half_way_breaks_the_connection() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Stalls).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let mut stream = send(&gateway, &format!("{PATH}?timeout=300ms")).await;
        let mut received = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut received).await;
        let received = String::from_utf8(received).unwrap();
        assert!(received.starts_with("HTTP/1.1 200") && !received.ends_with("0\r\n\r\n"), "{received}");
        let cancelled = r#"endpoint="articles",outcome="Cancelled"} 1"#;
        assert!(gateway.metrics().await.contains(cancelled));
    })
    .await;
}

async fn send(gateway: &Gateway, path: &str) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let length = INPUT.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{INPUT}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_the_worker() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let stream = send(&gateway, PATH).await;
        gateway.until("the worker is at work", async || worker.working() == 1).await;
        drop(stream);
        gateway.until("the worker is told", async || worker.abandoned() == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_to_the_pod_with_the_fewest() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let workers = [Worker::start(Behaviour::Waits).await, Worker::start(Behaviour::Waits).await];
        cluster.routes("articles", &workers.each_ref().map(|worker| worker.address)).await;
        let gateway = Gateway::start(&cluster, &["--slots-per-allocation", "3"]).await;
        let six = futures::future::join_all((0..6).map(|_| gateway.post(PATH, INPUT)));
        let release = async {
            gateway
                .until("all are at work", async || workers.iter().map(Worker::working).sum::<usize>() == 6)
                .await;
            let shares = workers.each_ref().map(Worker::working);
            workers.iter().for_each(Worker::release);
            shares
        };
        let (answers, shares) = tokio::join!(six, release);
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(shares, [3, 3]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_are_admitted_are_429() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &["--max-requests", "1"]).await;
        let second = async {
            gateway.until("the first is at work", async || worker.working() == 1).await;
            let second = gateway.post(PATH, INPUT).await;
            worker.release();
            second
        };
        let (first, second) = tokio::join!(gateway.post(PATH, INPUT), second);
        assert_eq!(first.status, 200);
        assert_eq!(second.error(), (429, "es_rejected_execution_exception".to_owned()));
        assert_eq!(second.header("retry-after"), "1");
        // The place is free again once the answer is through.
        gateway.until("there is a place", async || gateway.post(PATH, INPUT).await.status == 200).await;
    })
    .await;
}
