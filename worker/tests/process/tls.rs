//! `serve` with mutual TLS: who is served, where probes are answered, and what a new certificate changes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use lexiscale_pki::Authority;
use lexiscale_tls::Files;
use lexiscale_wire::CERTIFICATE_EXIT_CODE;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::models::{publish, small_source};
use crate::support::process::{Worker, get};

const NAME: &str = "lexiscale-worker";

fn issued(authority: &Authority) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    authority.issue(NAME, folder.path()).unwrap();
    folder
}

fn serve(model: &Path, secret: &Path, more: &[&str]) -> Worker {
    let [cert, key, ca] =
        ["tls.crt", "tls.key", "ca.crt"].map(|file| secret.join(file).to_str().unwrap().to_owned());
    let tls = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-client-ca-file", &ca];
    Worker::serve(model, &[&tls[..], &["--admin-listen", "127.0.0.1:0"], more].concat())
}

/// The worker's answer, status line first.
fn infer(worker: &Worker, config: ClientConfig) -> io::Result<String> {
    let connection = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap());
    let mut stream = StreamOwned::new(connection.unwrap(), TcpStream::connect(worker.address())?);
    let body = r#"{"input":"hello world"}"#;
    let head = "POST /_inference HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn with(secret: &TempDir) -> ClientConfig {
    lexiscale_tls::client(Files::of_secret(secret.path()).load().unwrap()).unwrap()
}

fn without_certificate(authority: &Authority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn admin(worker: &Worker) -> String {
    worker.wait_for(|worker| worker.logged("answering probes", "address"))
}

fn wait_until_ready(worker: &Worker) {
    let admin = admin(worker);
    worker.wait_for(|_| (get(&admin, "/health/ready").0 == 200).then_some(()));
}

#[test]
fn only_a_client_of_the_authority_is_served() {
    let (ours, others) = (Authority::new().unwrap(), Authority::new().unwrap());
    let (secret, client, stranger) = (issued(&ours), issued(&ours), issued(&others));
    // The stranger trusts the worker; it is the worker that must not trust the stranger.
    fs_err::write(stranger.path().join("ca.crt"), ours.pem()).unwrap();
    let model = publish(&small_source("bert-f32"));
    let worker = serve(model.path(), secret.path(), &[]);
    wait_until_ready(&worker);
    let answer = infer(&worker, with(&client)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("sparse_embedding"), "{answer}");
    for config in [without_certificate(&ours), with(&stranger)] {
        let refused = infer(&worker, config);
        assert!(refused.is_err(), "{refused:?}");
    }
    let (status, body) = worker.post("/_inference", br#"{"input":"in the clear"}"#);
    assert_eq!(status, 0, "{body}");
}

/// The kubelet and Prometheus have no certificate; what they may ask is no way around it.
#[test]
fn probes_and_metrics_are_plain_and_inference_is_not_among_them() {
    let secret = issued(&Authority::new().unwrap());
    let model = publish(&small_source("bert-f32"));
    let worker = serve(model.path(), secret.path(), &[]);
    wait_until_ready(&worker);
    let admin = admin(&worker);
    for path in ["/health/live", "/info", "/metrics"] {
        assert_eq!(get(&admin, path).0, 200, "{path}");
    }
    let metrics = get(&admin, "/metrics").1;
    // The certificates of these tests end with the year 4095.
    assert!(metrics.contains("lexiscale_worker_certificate_expiry_timestamp_seconds 67"), "{metrics}");
    for path in ["/_inference", "/embed_sparse"] {
        let (status, body) = crate::support::process::post(&admin, path, br#"{"input":"hello"}"#);
        assert_eq!(status, 404, "{body}");
    }
}

/// An authority is replaced while the worker runs, as when all certificates of a cluster are renewed.
#[test]
fn a_renewed_secret_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new().unwrap(), Authority::new().unwrap());
    let secret = issued(&old);
    let (old_client, new_client) = (issued(&old), issued(&new));
    let model = publish(&small_source("bert-f32"));
    let worker = serve(model.path(), secret.path(), &[]);
    wait_until_ready(&worker);
    assert!(infer(&worker, with(&new_client)).is_err());
    fs_err::write(secret.path().join("tls.key"), "no key").unwrap();
    worker.wait_for(|worker| worker.log().contains("the old certificate stays").then_some(()));
    assert!(infer(&worker, with(&old_client)).is_ok());
    new.issue(NAME, secret.path()).unwrap();
    worker.wait_for(|worker| infer(worker, with(&new_client)).ok());
    assert!(infer(&worker, with(&old_client)).is_err());
}

#[test]
fn without_a_usable_certificate_it_ends_with_the_reason_and_a_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let message = folder.path().join("termination");
    let secret = issued(&Authority::new().unwrap());
    fs_err::remove_file(secret.path().join("ca.crt")).unwrap();
    let model = publish(&small_source("bert-f32"));
    let [cert, key, ca] =
        ["tls.crt", "tls.key", "ca.crt"].map(|file| secret.path().join(file).to_str().unwrap().to_owned());
    let (code, log) = Worker::ends(
        model.path(),
        &[
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-client-ca-file",
            &ca,
            "--termination-log",
            message.to_str().unwrap(),
        ],
    );
    assert_eq!(code, Some(i32::from(CERTIFICATE_EXIT_CODE)), "{log}");
    let message = fs_err::read_to_string(message).unwrap();
    assert!(message.starts_with("the certificate for TLS cannot be used"), "{message}");
    assert!(message.contains(&ca), "{message}");
}
