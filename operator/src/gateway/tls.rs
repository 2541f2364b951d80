//! The certificate that the gateway serves, read again when its files change, so that a renewed one is used
//! without a restart. A renewed one that is not usable leaves the old one where it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::clock;

const EVERY: Duration = Duration::from_secs(5);
/// Before its end a certificate is complained about, so often.
const NEAR_END: Duration = Duration::from_hours(7 * 24);
const COMPLAIN_EVERY: Duration = Duration::from_hours(12);

/// Settings of TLS.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Serve HTTPS with this certificate chain, in PEM. Read again when it changes.
    #[arg(long, env = "LEXISCALE_TLS_CERT_FILE", requires = "tls_key_file", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// Its private key, in PEM.
    #[arg(long, env = "LEXISCALE_TLS_KEY_FILE", requires = "tls_cert_file", value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("failed to read the certificate's files")]
    Read(#[from] io::Error),
    #[error("failed to find certificates in {}", .0.display())]
    Certificates(PathBuf, #[source] pem::Error),
    #[error("failed to find a private key in {}", .0.display())]
    Key(PathBuf, #[source] pem::Error),
    #[error("failed to read when the certificate ends")]
    End,
    #[error("failed to use the certificate with its key")]
    Pair(#[source] rustls::Error),
}

/// The certificate in use.
pub(crate) struct Certificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    metrics: Metrics,
    current: watch::Sender<Arc<Loaded>>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    ends: Timestamp,
    /// Of both files.
    digest: [u8; 32],
}

impl Certificate {
    /// None without TLS.
    pub(crate) async fn load(settings: &Settings, metrics: Metrics) -> Result<Option<Self>, Error> {
        let (Some(cert_file), Some(key_file)) =
            (settings.tls_cert_file.clone(), settings.tls_key_file.clone())
        else {
            return Ok(None);
        };
        let files = Files::read(&cert_file, &key_file).await?;
        let loaded = files.load(&cert_file, &key_file)?;
        metrics.serves_certificate_until(loaded.ends.as_second());
        tracing::info!(ends = %loaded.ends, "serving HTTPS");
        let current = watch::Sender::new(Arc::new(loaded));
        Ok(Some(Self { cert_file, key_file, metrics, current }))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.borrow().config))
    }

    /// Looks at the files again and again.
    pub(crate) async fn follow(&self, ended: CancellationToken) {
        let mut complained: Option<Instant> = None;
        let mut refused = None;
        while ended.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            if let Err((error, digest)) = self.renew().await
                && (digest.is_none() || refused != digest)
            {
                let error = anyhow::Error::from(error);
                tracing::error!("the old certificate stays: {error:#}");
                refused = digest;
            }
            let ends = self.current.borrow().ends;
            if is_near(ends, clock::now()) && complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                tracing::warn!(%ends, "the certificate ends soon, or has ended");
                complained = Some(Instant::now());
            }
        }
    }

    /// An error comes with what the files were, so that it is logged once.
    pub(crate) async fn renew(&self) -> Result<(), (Error, Option<[u8; 32]>)> {
        let files =
            Files::read(&self.cert_file, &self.key_file).await.map_err(|error| (error.into(), None))?;
        if files.digest == self.current.borrow().digest {
            return Ok(());
        }
        let loaded =
            files.load(&self.cert_file, &self.key_file).map_err(|error| (error, Some(files.digest)))?;
        tracing::info!(ends = %loaded.ends, "a new certificate is served");
        self.metrics.serves_certificate_until(loaded.ends.as_second());
        self.current.send_replace(Arc::new(loaded));
        Ok(())
    }
}

/// Also when it is over.
fn is_near(ends: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(ends.duration_since(now)).unwrap_or_default() < NEAR_END
}

struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    digest: [u8; 32],
}

impl Files {
    async fn read(cert: &std::path::Path, key: &std::path::Path) -> io::Result<Self> {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        let read = move || -> io::Result<Self> {
            let (cert, key) = (fs::read(cert)?, fs::read(key)?);
            let digest =
                Sha256::new().chain_update(Sha256::digest(&cert)).chain_update(&key).finalize().into();
            Ok(Self { cert, key, digest })
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }

    fn load(&self, cert_file: &std::path::Path, key_file: &std::path::Path) -> Result<Loaded, Error> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Certificates(cert_file.to_owned(), error))?;
        let first = chain
            .first()
            .ok_or_else(|| Error::Certificates(cert_file.to_owned(), pem::Error::NoItemsFound))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(first).map_err(|_| Error::End)?;
        let ends = Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(|_| Error::End)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| Error::Key(key_file.to_owned(), error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(Error::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Loaded { config: Arc::new(config), ends, digest: self.digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_before_its_end_a_certificate_is_complained_about() {
        let ends: Timestamp = "2026-01-08T00:00:00Z".parse().unwrap();
        for (now, expected) in
            [("2026-01-01T00:00:00Z", false), ("2026-01-01T00:00:01Z", true), ("2027-01-01T00:00:00Z", true)]
        {
            assert_eq!(is_near(ends, now.parse().unwrap()), expected, "{now}");
        }
    }
}
