//! Handshakes over a pipe.

use std::path::Path;
use std::sync::Arc;

use lexiscale_pki::Authority;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

fn issued(authority: &Authority, name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    authority.issue(name, folder.path()).unwrap();
    folder
}

async fn load(folder: &Path) -> Result<Reloading<ServerConfig>, Error> {
    Reloading::load(Files::of_secret(folder), server, |_| ()).await
}

/// Whether client and server have exchanged a byte.
async fn agree(server: Arc<ServerConfig>, of_client: Files) -> bool {
    greet(server, client(of_client.load().unwrap()).unwrap()).await
}

async fn greet(server: Arc<ServerConfig>, config: ClientConfig) -> bool {
    let config = Arc::new(config);
    let (near, far) = duplex(1 << 14);
    let serve = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"y").await?;
        stream.shutdown().await
    };
    let ask = async {
        let name = ServerName::try_from("worker").unwrap();
        let mut stream = TlsConnector::from(config).connect(name, near).await?;
        stream.read_u8().await
    };
    let (there, back) = tokio::join!(serve, ask);
    there.is_ok() && back.is_ok()
}

#[tokio::test]
async fn each_side_knows_the_other_by_its_authority_and_the_server_by_its_name() {
    let (ours, others) = (Authority::new().unwrap(), Authority::new().unwrap());
    let worker = load(issued(&ours, "worker").path()).await.unwrap();
    let gateway = issued(&ours, "gateway");
    assert!(agree(worker.current(), Files::of_secret(gateway.path())).await);

    let stranger = issued(&others, "gateway");
    fs_err::write(stranger.path().join("ca.crt"), ours.pem()).unwrap();
    assert!(!agree(worker.current(), Files::of_secret(stranger.path())).await, "who signed this?");

    let named_otherwise = load(issued(&ours, "elsewhere").path()).await.unwrap();
    assert!(!agree(named_otherwise.current(), Files::of_secret(gateway.path())).await);

    let false_worker = issued(&others, "worker");
    fs_err::write(false_worker.path().join("ca.crt"), ours.pem()).unwrap();
    let false_worker = load(false_worker.path()).await.unwrap();
    assert!(!agree(false_worker.current(), Files::of_secret(gateway.path())).await);
}

/// The version is what the documentation promises of the way between gateway and workers.
#[tokio::test]
async fn who_asks_for_certificates_speaks_no_old_version_and_who_serves_anybody_does() {
    let authority = Authority::new().unwrap();
    let (worker, gateway) = (issued(&authority, "worker"), issued(&authority, "gateway"));
    let files = |ca| Files { ca, ..Files::of_secret(worker.path()) };
    let mutual = Files::of_secret(worker.path()).ca;
    for (ca, version, agrees) in
        [(&mutual, &TLS12, false), (&mutual, &TLS13, true), (&None, &TLS12, true), (&None, &TLS13, true)]
    {
        let Credentials { chain, key, authority, ends: _ } = Files::of_secret(gateway.path()).load().unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .and_then(|builder| {
                builder.with_root_certificates(authority.unwrap()).with_client_auth_cert(chain, key)
            });
        let server = Arc::new(server(files(ca.clone()).load().unwrap()).unwrap());
        assert_eq!(greet(server, config.unwrap()).await, agrees, "{ca:?} {version:?}");
    }
}

#[tokio::test]
async fn new_files_are_used_and_broken_ones_leave_the_old_in_use() {
    let authority = Authority::new().unwrap();
    let folder = issued(&authority, "worker");
    let path = folder.path();
    let reloading = load(path).await.unwrap();
    let first = reloading.current();
    assert!(matches!(reloading.renew().await, Renewal::Unchanged));

    for (file, broken) in [("tls.crt", "half a certif"), ("ca.crt", ""), ("tls.key", "no key")] {
        let good = fs_err::read(path.join(file)).unwrap();
        fs_err::write(path.join(file), broken).unwrap();
        assert!(matches!(reloading.renew().await, Renewal::Refused(_, Some(_))), "{file}");
        fs_err::write(path.join(file), good).unwrap();
    }
    let other = issued(&authority, "worker");
    fs_err::copy(other.path().join("tls.key"), path.join("tls.key")).unwrap();
    assert!(matches!(reloading.renew().await, Renewal::Refused(Error::Pair(_), Some(_))));
    fs_err::remove_file(path.join("tls.key")).unwrap();
    assert!(matches!(reloading.renew().await, Renewal::Refused(Error::Read(_), None)));
    assert!(Arc::ptr_eq(&first, &reloading.current()));

    authority.issue("worker", path).unwrap();
    assert!(matches!(reloading.renew().await, Renewal::Renewed));
    assert!(!Arc::ptr_eq(&first, &reloading.current()));
}

#[tokio::test]
async fn without_usable_files_nothing_begins_and_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = load(folder.path()).await else { panic!("there is nothing") };
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("tls.crt"), "{said}");
    let gateway = issued(&Authority::new().unwrap(), "gateway");
    let files = Files { ca: None, ..Files::of_secret(gateway.path()) };
    assert!(
        matches!(client(files.load().unwrap()), Err(Error::NoAuthority)),
        "a client trusts nobody by itself"
    );
}
