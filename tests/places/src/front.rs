//! TLS in front of a server that has none.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lexiscale_pki::Authority;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Server;

/// Speaks TLS for the server behind, under this DNS name, by a certificate of the authority.
pub async fn serve_tls(
    listen: IpAddr,
    behind: SocketAddr,
    authority: &Authority,
    name: &str,
) -> anyhow::Result<Server> {
    let folder = tempfile::tempdir()?;
    authority.issue(name, folder.path())?;
    let certificate = CertificateDer::from_pem_file(folder.path().join("tls.crt"))?;
    let key = PrivateKeyDer::from_pem_file(folder.path().join("tls.key"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((listen, 0)).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut inside = acceptor.accept(socket).await.ok()?;
                let mut outside = TcpStream::connect(behind).await.ok()?;
                tokio::io::copy_bidirectional(&mut inside, &mut outside).await.ok()
            });
        }
    });
    Ok(Server { address, task })
}
