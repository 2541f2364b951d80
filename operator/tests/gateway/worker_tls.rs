//! Mutual TLS between gateway and workers.

use std::path::Path;

use lexiscale_pki::Authority;
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::{Cluster, with_namespace};
use crate::harness::{Gateway, refuses_to_start};
use crate::worker::{Behaviour, EMBEDDING, Worker};

const PATH: &str = "/_inference/articles";
const INPUT: &str = r#"{"input":"Kubernetes"}"#;
/// Long enough for a try, short enough for a test that expects none to succeed.
const BRIEFLY: &str = "/_inference/articles?timeout=2s";

fn issued(authority: &Authority, name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    authority.issue(name, folder.path()).unwrap();
    folder
}

fn flags(secret: &Path) -> [String; 3] {
    ["cert-file=tls.crt", "key-file=tls.key", "ca-file=ca.crt"].map(|flag| {
        let (flag, file) = flag.split_once('=').unwrap();
        format!("--worker-tls-{flag}={}", secret.join(file).display())
    })
}

async fn gateway(cluster: &Cluster, secret: &Path) -> Gateway {
    Gateway::start(cluster, &flags(secret).each_ref().map(String::as_str)).await
}

async fn articles(cluster: &Cluster) {
    cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
    cluster.becomes_ready("articles", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_the_authority_is_asked_by_tls_and_a_plain_one_never() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let authority = Authority::new().unwrap();
        let worker =
            Worker::start_tls(Behaviour::Embeds, issued(&authority, "lexiscale-worker").path()).await;
        let plain = Worker::start(Behaviour::Embeds).await;
        let secret = issued(&authority, "lexiscale-gateway");
        let gateway = gateway(&cluster, secret.path()).await;
        cluster.routes("articles", &[plain.address]).await;
        let held = gateway.post(BRIEFLY, INPUT).await;
        assert_eq!(held.status, 408, "{}", held.text());
        cluster.routes_by("https", "articles", &[worker.address]).await;
        let answer = gateway.post(PATH, INPUT).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, EMBEDDING));
        assert_eq!((worker.asked().len(), plain.asked().len()), (1, 0));
        let metrics = gateway.metrics().await;
        let expiry = r#"lexiscale_gateway_certificate_expiry_timestamp_seconds{purpose="Workers"} 67"#;
        assert!(metrics.contains(expiry), "{metrics}");
    })
    .await;
}

/// Whoever can write where pods are must not be told texts, and a gateway with a wrong certificate must wait for the right one, and
/// not fail those who ask.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_of_the_authority_is_told_nothing_until_certificates_fit() {
    with_namespace(|cluster| async move {
        articles(&cluster).await;
        let (ours, others) = (Authority::new().unwrap(), Authority::new().unwrap());
        let secret = issued(&ours, "lexiscale-gateway");
        let gateway = gateway(&cluster, secret.path()).await;
        for folder in [issued(&others, "lexiscale-worker"), issued(&ours, "lexiscale-hub")] {
            // These would serve us: it is us who must not ask.
            fs_err::write(folder.path().join("ca.crt"), ours.pem()).unwrap();
            let impostor = Worker::start_tls(Behaviour::Embeds, folder.path()).await;
            cluster.routes_by("https", "articles", &[impostor.address]).await;
            let refused = gateway.post(BRIEFLY, INPUT).await;
            assert_eq!(refused.status, 408, "{}", refused.text());
            assert_eq!(impostor.asked().len(), 0);
        }
        // The worker's certificate is one that the gateway trusts, but not the other way round.
        let half = issued(&ours, "lexiscale-worker");
        fs_err::write(half.path().join("ca.crt"), others.pem()).unwrap();
        let worker = Worker::start_tls(Behaviour::Embeds, half.path()).await;
        cluster.routes_by("https", "articles", &[worker.address]).await;
        let refused = gateway.post(BRIEFLY, INPUT).await;
        assert_eq!(refused.status, 408, "{}", refused.text());
        assert_eq!(worker.asked().len(), 0);
        // The gateway's Secret is renewed while a request waits.
        let renew = async {
            others.issue("lexiscale-gateway", secret.path()).unwrap();
            fs_err::write(secret.path().join("ca.crt"), ours.pem()).unwrap();
        };
        let (answer, ()) = tokio::join!(gateway.post(PATH, INPUT), renew);
        assert_eq!((answer.status.as_u16(), answer.text()), (200, EMBEDDING));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_usable_certificate_for_workers_does_not_start() {
    with_namespace(|cluster| async move {
        let secret = issued(&Authority::new().unwrap(), "lexiscale-gateway");
        fs_err::write(secret.path().join("ca.crt"), "").unwrap();
        let ended = refuses_to_start(&cluster, &flags(secret.path()).each_ref().map(String::as_str)).await;
        assert!(ended.contains("failed to prepare for TLS with workers"), "{ended}");
        assert!(ended.contains("ca.crt"), "{ended}");
    })
    .await;
}
