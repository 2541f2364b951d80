//! Connections that are many or in the way of a stop. What a single one may do is tested beside the server.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{PATIENCE, with_namespace};
use crate::harness::Gateway;
use crate::worker::{Behaviour, Worker};

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_connections_are_served_at_once() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &["--max-connections", "1"]).await;
        let mut first = TcpStream::connect(gateway.address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        first.read_exact(&mut [0; 12]).await.unwrap();
        let mut second = TcpStream::connect(gateway.address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        let early = tokio::time::timeout(Duration::from_millis(300), second.read_exact(&mut head)).await;
        assert!(early.is_err(), "the second has to wait");
        drop(first);
        tokio::time::timeout(PATIENCE, second.read_exact(&mut head)).await.unwrap().unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    })
    .await;
}

/// A rolling restart of the gateway loses no request.
#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_finished_before_the_stop() {
    with_namespace(|cluster| async move {
        cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &["--drain-delay", "300ms"]).await;
        let stop = async {
            gateway.until("the worker is at work", async || worker.working() == 1).await;
            gateway.shutdown.cancel();
            gateway.until("the gateway is not ready any more", async || !gateway.is_ready().await).await;
            assert_eq!(
                gateway.get("/").await.header("connection"),
                "close",
                "still welcome, for the last time"
            );
            let refused = async || TcpStream::connect(gateway.address).await.is_err();
            gateway.until("no connection is accepted", refused).await;
            worker.release();
        };
        let (answer, ()) = tokio::join!(gateway.post("/_inference/articles", r#"{"input":"a"}"#), stop);
        assert_eq!(answer.status, 200);
        tokio::time::timeout(PATIENCE, gateway.ended).await.unwrap().unwrap().unwrap();
    })
    .await;
}
