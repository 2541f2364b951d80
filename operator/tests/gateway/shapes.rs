//! The routes for others than Elasticsearch's own clients, with objects and slices from a real API server.

use http::{Method, Request};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::cluster::{Cluster, with_namespace};
use crate::harness::{Answer, Gateway};
use crate::worker::{Behaviour, Worker};

async fn articles(cluster: &Cluster) {
    cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
    cluster.becomes_ready("articles", 1).await;
}

async fn post(gateway: &Gateway, path: &str, body: Value) -> Answer {
    gateway.post(path, &body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_answers_in_every_shape() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Counts).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let input = json!({"input": ["a", "b"]});
        let vector = json!({"kubernetes": 1.234_567_9, "pod": 0.1});
        let chunk = json!({"chunks": [{"start": 0, "end": 1, "is_truncated": false, "embedding": vector}]});
        let pairs = json!([{"token": "kubernetes", "weight": 1.234_567_9}, {"token": "pod", "weight": 0.1}]);
        let pairs = json!({"is_truncated": false, "embedding": pairs});
        let by_id = json!([{"index": 3, "value": 0.5}, {"index": 7, "value": 1.5}]);
        let prefix = format!("/namespaces/{}", cluster.namespace);
        for (path, body, expected) in [
            ("/_inference/articles/_chunk", &input, json!({"sparse_embedding_chunks": [chunk, chunk]})),
            ("/opensearch/articles", &input, json!([vector, vector])),
            ("/custom/articles", &input, json!({"sparse_embedding": [pairs, pairs]})),
            ("/tei/articles/embed_sparse", &json!({"inputs": ["a", "b"]}), json!([by_id, by_id])),
        ] {
            for path in [path.to_owned(), format!("{prefix}{path}")] {
                let request = Request::builder().method(Method::POST).uri(&path);
                let request = request
                    .header("content-type", "application/json")
                    .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
                let answer = gateway.request(request.body(body.to_string().into()).unwrap()).await;
                assert_eq!((answer.status.as_u16(), answer.json()), (200, expected.clone()), "{path}");
                assert_eq!(answer.headers["x-lexiscale-tokens"], "6", "{path}");
            }
        }
        assert!(worker.headers().iter().all(|headers| headers.contains_key("traceparent")));
        let metrics = gateway.metrics().await;
        let counted = metrics.lines().find(|line| {
            line.starts_with("lexiscale_gateway_requests_total{")
                && line.contains(r#"operation="Infer""#)
                && line.contains(r#"endpoint="articles""#)
                && line.contains(r#"outcome="Success""#)
        });
        assert!(counted.is_some_and(|line| line.ends_with(" 8")), "{metrics}");
    })
    .await;
}

/// What kubectl wrote counts, and cutting needs no allocation.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_follow_the_settings_of_the_object() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let settings =
            json!({"spec": {"chunkingSettings": {"strategy": "word", "maxChunkSize": 10, "overlap": 3}}});
        let patched =
            cluster.endpoints().patch("articles", &PatchParams::default(), &Patch::Merge(settings)).await;
        patched.unwrap();
        let gateway = Gateway::start(&cluster, &[]).await;
        let body = json!({"input": "0 1 2 3 4 5 6 7 8 9 10 "});
        let answer = post(&gateway, "/_inference/articles/_chunk?embeddings=false", body).await;
        let chunks = json!([{"start": 0, "end": 19}, {"start": 13, "end": 23}]);
        assert_eq!(answer.json(), json!({"sparse_embedding_chunks": [{"chunks": chunks}]}));
    })
    .await;
}

/// A document must survive a cold start as a query does, and its first piece alone takes a place among those that wait.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_wait_for_the_first_allocation() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let gateway = Gateway::start(&cluster, &["--max-held", "1"]).await;
        let worker = Worker::start(Behaviour::Echoes).await;
        let texts: Vec<_> = (0..95).map(|number| format!("text {number}")).collect();
        let wake = async {
            let held = async || {
                let metrics = gateway.metrics().await;
                let mut lines =
                    metrics.lines().filter(|line| line.starts_with("lexiscale_gateway_requests_held{"));
                lines.any(|line| line.ends_with(" 1"))
            };
            gateway.until("the request is held", held).await;
            cluster.routes("articles", &[worker.address]).await;
        };
        let (answer, ()) =
            tokio::join!(post(&gateway, "/_inference/articles/_chunk?text", json!({"input": texts})), wake);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let of_texts = answer["sparse_embedding_chunks"].as_array().unwrap();
        assert_eq!(of_texts.len(), texts.len());
        for (of_text, text) in of_texts.iter().zip(&texts) {
            assert_eq!(of_text["chunks"][0]["text"], json!(text));
            assert_eq!(of_text["chunks"][0]["embedding"], json!({text.as_str(): 1.0}));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_within_its_answer_is_a_timeout() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Stalls).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let answer = post(&gateway, "/custom/articles?timeout=300ms", json!({"input": "a"})).await;
        assert_eq!(answer.error(), (408, "status_exception".to_owned()));
        let answer = post(&gateway, "/tei/articles/embed_sparse?timeout=300ms", json!({"inputs": "a"})).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error_type"]), (429, &json!("Overloaded")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_the_worker_of_all_its_pieces() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let body = json!({"input": vec!["a"; 100]}).to_string();
        let mut stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST /opensearch/articles HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        // As many pieces as an allocation has slots.
        gateway.until("the worker is at work", async || worker.working() == 2).await;
        drop(stream);
        gateway.until("the worker is told", async || worker.abandoned() == 2).await;
        worker.release();
        assert_eq!(worker.asked().len(), 2, "the other pieces were never sent");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_info_of_a_client_of_text_embeddings_inference_is_the_status_of_the_object() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let answer = gateway.get("/tei/articles/info").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error_type"]), (503, &json!("Unhealthy")));
        let model = json!({"id": "m", "source": "hf://organisation/name", "revision": "abc", "cache": "c", "maxTokens": 512});
        let patch = Patch::Merge(json!({"status": {"model": model}}));
        cluster.endpoints().patch_status("articles", &PatchParams::default(), &patch).await.unwrap();
        gateway
            .until("the info is there", async || gateway.get("/tei/articles/info").await.status == 200)
            .await;
        let info = gateway.get("/tei/articles/info").await.json();
        assert_eq!(
            (&info["model_id"], &info["max_input_length"]),
            (&json!("organisation/name"), &json!(512))
        );
        assert_eq!(gateway.get("/tei/articles/health").await.status, 503, "there is no pod");
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.routes("articles", &[worker.address]).await;
        gateway
            .until("it is healthy", async || gateway.get("/tei/articles/health").await.status == 200)
            .await;
    })
    .await;
}
