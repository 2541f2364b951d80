//! SIGTERM to the real program while requests are held.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::cluster::{Cluster, INSTANCE, PATIENCE, kubeconfig, with_namespace};
use crate::harness::Gateway;
use crate::worker::{Behaviour, Worker};
use crate::zero::held;

const INPUT: &str = r#"{"input":"Kubernetes"}"#;

/// The gateway as it is installed, but for its ports. Killed when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Process {
    async fn start(cluster: &Cluster, flags: &[&str]) -> Self {
        // Both at once, so that they differ.
        let free = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
        let [address, admin] = free.map(|listener| listener.local_addr().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_lexiscale-operator"))
            .args(["gateway", "--namespace", &cluster.namespace, "--instance", INSTANCE])
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .args(flags)
            .env("KUBECONFIG", kubeconfig())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let process = Self { child, address, admin, client };
        process.until("it is ready", async || process.admin("/readyz").await.0 == 200).await;
        process
    }

    fn terminate(&self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    }

    /// Zero where it does not answer.
    async fn admin(&self, path: &str) -> (u16, String) {
        let request = Request::get(format!("http://{}{path}", self.admin)).body(Full::default()).unwrap();
        let Ok(response) = self.client.request(request).await else { return (0, String::new()) };
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn post(&self, path: &str) -> Result<Response<Incoming>, Error> {
        let request = Request::post(format!("http://{}{path}", self.address));
        let request = request.header("content-type", "application/json").body(Full::from(INPUT)).unwrap();
        self.client.request(request).await
    }

    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let poll = async {
            while !is_so().await {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_stop_answers_whom_it_holds() {
    with_namespace(|cluster| async move {
        cluster.make_idle("articles").await;
        let worker = Worker::start(Behaviour::Embeds).await;
        let mut process = Process::start(&cluster, &["--drain-delay", "0s"]).await;
        // Longer than a gateway drains: that bounds it.
        let held_ones =
            futures::future::join_all((0..50).map(|_| process.post("/_inference/articles?timeout=1h")));
        let rest = async {
            let wake_up = cluster.wake_up("articles", None).await;
            let are_held =
                async || process.admin("/metrics").await.1.contains(&format!("{} 50", held(&cluster)));
            process.until("all are held", are_held).await;
            process.terminate();
            let refuses = async || {
                let connected = tokio::net::TcpStream::connect(process.address).await;
                connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
            };
            process.until("new connections are refused", refuses).await;
            assert_eq!(process.admin("/readyz").await.0, 503);
            assert!(process.admin("/metrics").await.1.contains(&format!("{} 50", held(&cluster))));
            cluster.answers("articles", &wake_up, &[worker.address]).await;
        };
        let (answers, ()) = tokio::join!(held_ones, rest);
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!(
                (answer.status(), &answer.headers()["connection"]),
                (StatusCode::OK, &"close".parse().unwrap())
            );
            answer.into_body().collect().await.unwrap();
        }
        let ended = tokio::time::timeout(PATIENCE, process.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    })
    .await;
}

/// While load balancers do not know yet, whoever comes is served, and told to come elsewhere next.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_stop_serves_for_a_while_and_asks_for_nothing_more() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &["--drain-delay", "1h"]).await;
        assert_eq!(gateway.get("/").await.header("connection"), "");
        gateway.shutdown.cancel();
        let answer = gateway.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
        gateway.until("it is not ready any more", async || !gateway.is_ready().await).await;
        assert!(!gateway.ended.is_finished());
        gateway.ended.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_may_take_longer_than_the_gateway_drains() {
    with_namespace(|cluster| async move {
        cluster.make_idle("articles").await;
        let gateway = Gateway::start(&cluster, &["--drain-timeout", "500ms"]).await;
        let answer = gateway.post("/_inference/articles?timeout=1h", INPUT).await;
        assert_eq!(answer.error(), (408, "status_exception".to_owned()));
        assert!(answer.text().contains("[500ms]"), "{}", answer.text());
    })
    .await;
}
