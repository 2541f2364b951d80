//! Certificates: which is served, and to whom.

use std::path::Path;

use lexiscale_tls::{Error, Renewal};
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

/// Writes a certificate of its own, and gives it for clients to trust.
fn issue(directory: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs_err::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
    fs_err::write(directory.join("tls.crt"), certificate.pem()).unwrap();
    certificate.der().clone()
}

async fn serve_tls(directory: &Path) -> Site {
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| directory.join(name).to_str().unwrap().to_owned());
    Site::start(&["--tls-cert-file", &cert, "--tls-key-file", &key, "--header-timeout", "500ms"]).await
}

/// As a client that would rather speak HTTP/2.
async fn secured(
    site: &Site,
    trusted: &CertificateDer<'static>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    secured_for(&[b"h2", b"http/1.1"], site, trusted).await
}

async fn secured_for(
    protocols: &[&[u8]],
    site: &Site,
    trusted: &CertificateDer<'static>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), site.connect().await).await
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_bad_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let first = issue(directory.path());
    let site = serve_tls(directory.path()).await;
    let certificate = site.certificate.clone().unwrap();
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &site.registry).unwrap();
    // rcgen's certificates end with the year 4095.
    let expiry = r#"lexiscale_gateway_certificate_expiry_timestamp_seconds{purpose="Clients"} 67"#;
    assert!(metrics.contains(expiry), "{metrics}");
    let mut open = secured(&site, &first).await.unwrap();
    assert!(is_served(&mut open).await);
    assert_eq!(open.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));

    fs_err::write(directory.path().join("tls.crt"), "half a certif").unwrap();
    assert!(matches!(certificate.renew().await, Renewal::Refused(Error::Certificates(..), Some(_))));
    assert!(is_served(&mut secured(&site, &first).await.unwrap()).await);

    let second = issue(directory.path());
    let key = fs_err::read(directory.path().join("tls.key")).unwrap();
    issue(directory.path());
    fs_err::write(directory.path().join("tls.key"), &key).unwrap();
    assert!(
        matches!(certificate.renew().await, Renewal::Refused(Error::Pair(_), _)),
        "a key of another certificate"
    );
    assert!(is_served(&mut secured(&site, &first).await.unwrap()).await);
    assert!(secured(&site, &second).await.is_err());

    let third = issue(directory.path());
    assert!(matches!(certificate.renew().await, Renewal::Renewed));
    assert!(is_served(&mut secured(&site, &third).await.unwrap()).await);
    assert!(secured(&site, &first).await.is_err());
    assert!(is_served(&mut open).await, "a connection from before goes on");
}

#[tokio::test]
async fn who_speaks_nothing_but_http2_gets_no_connection() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = issue(directory.path());
    let site = serve_tls(directory.path()).await;
    assert!(secured_for(&[b"h2"], &site, &trusted).await.is_err());
    assert!(is_served(&mut secured_for(&[b"http/1.1"], &site, &trusted).await.unwrap()).await);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    issue(directory.path());
    let site = serve_tls(directory.path()).await;
    assert_eq!(rest(&mut site.connect().await).await, "");
    let answer = site.say(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1"), "no plain answers on a port that is meant to be closed to eyes");
}
