//! A web server of a private authority: trusted by whoever brings the authority's certificate, and by nobody else.

use std::sync::Arc;

use lexiscale_hub::RunningHub;
use lexiscale_pki::Authority;
use lexiscale_wire::FetchReason;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{COMMIT, Fetcher, REPOSITORY, digest_by_hub, hub_of};
use crate::support::models::small_source;

/// Speaks TLS for a hub. Returns its port.
async fn in_front_of(hub: &RunningHub, authority: &Authority) -> u16 {
    let folder = tempfile::tempdir().unwrap();
    authority.issue("localhost", folder.path()).unwrap();
    let certificate = CertificateDer::from_pem_file(folder.path().join("tls.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.path().join("tls.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, hub) = (listener.local_addr().unwrap().port(), hub.address());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut inside = acceptor.accept(socket).await.ok()?;
                let mut outside = TcpStream::connect(hub).await.ok()?;
                tokio::io::copy_bidirectional(&mut inside, &mut outside).await.ok()
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_by_its_certificate_and_by_nothing_else() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let port = in_front_of(&hub, &authority).await;
    let address = format!("https://localhost:{port}/{REPOSITORY}/resolve/{COMMIT}/");
    let fetcher = |pem: Option<&str>| {
        let secret = tempfile::tempdir().unwrap();
        let mut fetcher = Fetcher::new(&hub).of(&address);
        if let Some(pem) = pem {
            fs_err::write(secret.path().join("ca.crt"), pem).unwrap();
            fetcher.wish.secret = Some(secret.path().to_owned());
        }
        (fetcher, secret)
    };
    for pem in [None, Some(stranger.pem())] {
        let (fetcher, _secret) = fetcher(pem);
        let (reason, message) = fetcher.reason().await;
        assert_eq!(reason, FetchReason::HubUnreachable);
        assert!(message.contains("certificate"), "{message}");
    }
    let (nonsense, _secret) = fetcher(Some("no certificate"));
    let (reason, message) = nonsense.reason().await;
    assert_eq!(reason, FetchReason::InvalidModel);
    assert!(message.contains("it holds no certificate in PEM"), "{message}");
    let (trusting, _secret) = fetcher(Some(authority.pem()));
    assert_eq!(trusting.run().await.unwrap().digest, digest_by_hub().await);
}
