//! The line in front of an endpoint's allocations, over a real gateway: who is served when, and who is not.

use std::fmt::Write;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::cluster::{Cluster, PATIENCE, with_namespace};
use crate::harness::{Answer, Gateway};
use crate::worker::{Behaviour, Worker};

const PATH: &str = "/_inference/articles";
const OVERLOADED: &str = r#"{"error":"the queue is full","type":"overloaded"}"#;

async fn articles(cluster: &Cluster) {
    cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
    cluster.becomes_ready("articles", 1).await;
}

fn texts(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("text {number}")).collect()
}

fn body(texts: &[String], input_type: &str) -> String {
    json!({"input": texts, "input_type": input_type}).to_string()
}

/// The texts that an echoing worker was given, as the answer has them.
fn echoed(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows = answer.json()["sparse_embedding"].as_array().unwrap().clone();
    rows.iter().map(|row| row["embedding"].as_object().unwrap().keys().next().unwrap().clone()).collect()
}

/// The first text of each request that the worker got.
fn firsts(worker: &Worker) -> Vec<String> {
    let first = |body: &String| {
        let body: Value = serde_json::from_str(body).unwrap();
        body["input"][0].as_str().unwrap().to_owned()
    };
    worker.asked().iter().map(first).collect()
}

async fn until_queued(gateway: &Gateway, texts: usize) {
    gateway
        .until("texts are in line", async || {
            gateway.metrics().await.lines().any(|line| {
                line.starts_with("lexiscale_gateway_queued_texts{") && line.ends_with(&format!(" {texts}"))
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_goes_in_pieces_and_comes_back_in_order() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let workers = [Worker::start(Behaviour::Echoes).await, Worker::start(Behaviour::Echoes).await];
        cluster.routes("articles", &workers.each_ref().map(|worker| worker.address)).await;
        let gateway = Gateway::start(&cluster, &["--max-queued-texts", "50"]).await;
        let all = texts(0, 1234);
        let answer = gateway.post(PATH, &body(&all, "ingest")).await;
        assert_eq!(echoed(&answer), all, "more texts than the queue holds");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        let asked: Vec<_> = workers.iter().map(|worker| worker.asked().len()).collect();
        assert_eq!(asked.iter().sum::<usize>(), 124);
        assert!(asked.iter().all(|pieces| *pieces > 20), "both work: {asked:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_fails_fails_the_request_and_gives_up_the_others() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let broken =
            Worker::start(Behaviour::Refuses(500, r#"{"error":"the model failed","type":"internal"}"#)).await;
        let waits = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[waits.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let fails = async {
            gateway.until("two pieces are at work", async || waits.working() == 2).await;
            cluster.routes("articles", &[waits.address, broken.address]).await;
        };
        let input = body(&texts(0, 100), "ingest");
        let (answer, ()) = tokio::join!(gateway.post(PATH, &input), fails);
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("the model failed"));
        gateway
            .until("the others are given up", async || waits.abandoned() >= 2 && waits.working() == 0)
            .await;
    })
    .await;
}

/// One client's bulk of thousands must not be what another's single text waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_request_passes_the_pieces_of_a_large_one() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &["--slots-per-allocation", "1"]).await;
        let (large, small, search) = (
            body(&texts(0, 200), "ingest"),
            body(&texts(900, 901), "ingest"),
            body(&texts(901, 902), "search"),
        );
        let later = async {
            gateway.until("the worker is at work", async || worker.working() == 1).await;
            until_queued(&gateway, 10).await;
            let small = gateway.post(PATH, &small);
            let search = async {
                until_queued(&gateway, 11).await;
                let search = gateway.post(PATH, &search);
                let release = async {
                    gateway.until("the search is at work", async || worker.working() == 2).await;
                    worker.release();
                };
                tokio::join!(search, release).0
            };
            let (small, search) = tokio::join!(small, search);
            assert_eq!((small.status.as_u16(), search.status.as_u16()), (200, 200));
        };
        let (answer, ()) = tokio::join!(gateway.post(PATH, &large), later);
        assert_eq!(answer.status, 200);
        let firsts = firsts(&worker);
        assert_eq!(firsts[..2], ["text 0", "text 901"], "a search has a slot of its own");
        assert_eq!(firsts[2..4], ["text 10", "text 900"], "and then they take turns");
        assert_eq!(firsts.len(), 22);
    })
    .await;
}

async fn send(gateway: &Gateway, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let length = body.len();
    let mut request = String::new();
    write!(
        request,
        "POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_or_is_late_while_in_line_costs_the_worker_nothing() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &["--slots-per-allocation", "1"]).await;
        let first = body(&texts(0, 1), "ingest");
        let others = async {
            gateway.until("the worker is at work", async || worker.working() == 1).await;
            let leaves = send(&gateway, &body(&texts(1, 2), "ingest")).await;
            until_queued(&gateway, 1).await;
            drop(leaves);
            until_queued(&gateway, 0).await;
            let late = gateway.post(&format!("{PATH}?timeout=200ms"), &body(&texts(2, 3), "ingest")).await;
            assert_eq!(late.error(), (408, "status_exception".to_owned()));
            assert!(late.text().contains("a free allocation"), "{}", late.text());
            until_queued(&gateway, 0).await;
            worker.release();
        };
        let (answer, ()) = tokio::join!(gateway.post(PATH, &first), others);
        assert_eq!(answer.status, 200);
        assert_eq!(gateway.post(PATH, &body(&texts(3, 4), "ingest")).await.status, 200, "the slot is free");
        assert_eq!(firsts(&worker), ["text 0", "text 3"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_429_and_says_when_to_come_again() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway =
            Gateway::start(&cluster, &["--slots-per-allocation", "1", "--max-queued-texts", "5"]).await;
        let (one, five) = (body(&texts(0, 1), "ingest"), body(&texts(1, 6), "ingest"));
        let refused = async {
            gateway.until("the worker is at work", async || worker.working() == 1).await;
            let refused = async {
                until_queued(&gateway, 5).await;
                let refused = gateway.post(PATH, &one).await;
                let large = body(&texts(10, 40), "ingest");
                let never_in = gateway.post(&format!("{PATH}?timeout=200ms"), &large).await;
                worker.release();
                (refused, never_in)
            };
            tokio::join!(gateway.post(PATH, &five), refused)
        };
        let (first, (queued, (refused, never_in))) = tokio::join!(gateway.post(PATH, &one), refused);
        assert_eq!((first.status.as_u16(), queued.status.as_u16()), (200, 200));
        for refused in [&refused, &never_in] {
            assert_eq!(refused.error(), (429, "es_rejected_execution_exception".to_owned()));
            let seconds: u64 = refused.header("retry-after").parse().unwrap();
            assert!((1..=60).contains(&seconds));
        }
        let metrics = gateway.metrics().await;
        assert!(metrics.contains(r#"endpoint="articles",reason="Queue"} 2"#), "{metrics}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_above_what_may_be_held_are_429() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Echoes).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &["--max-held-bytes", "2Ki"]).await;
        let large = json!({"input": "a".repeat(3000)}).to_string();
        for answer in
            [gateway.post(PATH, &large).await, gateway.put("/_inference/sparse_embedding/new", &large).await]
        {
            assert_eq!(answer.error(), (429, "es_rejected_execution_exception".to_owned()));
            assert_eq!(answer.header("retry-after"), "1");
        }
        let many = body(&texts(0, 60), "ingest");
        assert!(many.len() < 2048);
        assert_eq!(gateway.post(PATH, &many).await.status, 429, "the joined answer counts too");
        assert_eq!(gateway.post(PATH, &body(&texts(0, 9), "ingest")).await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_worker_has_no_room_for_goes_to_another() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let full = Worker::start(Behaviour::Refuses(429, OVERLOADED)).await;
        cluster.routes("articles", &[full.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let free = Worker::start(Behaviour::Echoes).await;
        let comes = async {
            gateway.until("the full worker was asked", async || !full.asked().is_empty()).await;
            cluster.routes("articles", &[full.address, free.address]).await;
        };
        let all = texts(0, 30);
        let input = body(&all, "ingest");
        let (answer, ()) = tokio::join!(gateway.post(PATH, &input), comes);
        assert_eq!(echoed(&answer), all);
    })
    .await;
}

/// All of them wait for the first allocation; each is answered, as many at a time as there are slots.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_comes_takes_what_waits_and_a_stop_drains_it() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let worker = Worker::start(Behaviour::Waits).await;
        let inputs: Vec<_> = (0..20).map(|number| body(&texts(number, number + 1), "ingest")).collect();
        let all = futures::future::join_all(inputs.iter().map(|input| gateway.post(PATH, input)));
        let comes = async {
            until_queued(&gateway, 20).await;
            assert!(gateway.metrics().await.contains(r#"endpoint="articles"} 20"#));
            cluster.routes("articles", &[worker.address]).await;
            gateway.until("both slots are used", async || worker.working() == 2).await;
            gateway.shutdown.cancel();
            let refused = async || TcpStream::connect(gateway.address).await.is_err();
            gateway.until("no connection is accepted", refused).await;
            assert_eq!(worker.asked().len(), 2);
            worker.release();
        };
        let (answers, ()) = tokio::join!(all, comes);
        assert!(answers.iter().all(|answer| answer.status == 200));
        tokio::time::timeout(PATIENCE, gateway.ended).await.unwrap().unwrap().unwrap();
    })
    .await;
}
