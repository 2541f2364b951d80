//! The files of a Secret of type kubernetes.io/tls, and what is in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Error;

/// Where certificates lie, in PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// Our certificate, and those that lead to its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that must have signed the other side's certificate.
    pub ca: Option<PathBuf>,
}

/// What the files hold. That certificate and key fit each other is only known once they are used.
#[derive(Debug)]
pub struct Credentials {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) authority: Option<Arc<RootCertStore>>,
    pub(crate) ends: Timestamp,
}

/// The bytes of all files.
pub(crate) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
    /// Of all of them.
    pub(crate) digest: [u8; 32],
}

impl Files {
    /// The names that Secrets of type kubernetes.io/tls have, in a folder.
    #[must_use]
    pub fn of_secret(folder: &Path) -> Self {
        Self { cert: folder.join("tls.crt"), key: folder.join("tls.key"), ca: Some(folder.join("ca.crt")) }
    }

    /// Once, for whoever does not want to hear of changes.
    pub fn load(&self) -> Result<Credentials, Error> {
        self.parse(&self.read()?)
    }

    pub(crate) fn read(&self) -> Result<Contents, Error> {
        let (cert, key) = (fs::read(&self.cert)?, fs::read(&self.key)?);
        let ca = self.ca.as_ref().map(fs::read).transpose()?;
        // A digest of digests: bytes that move from one file to the next make another one.
        let digest = [Some(&cert), Some(&key), ca.as_ref()]
            .into_iter()
            .flatten()
            .fold(Sha256::new(), |all, file| all.chain_update(Sha256::digest(file)))
            .finalize()
            .into();
        Ok(Contents { cert, key, ca, digest })
    }

    pub(crate) fn parse(&self, contents: &Contents) -> Result<Credentials, Error> {
        let chain = certificates(&self.cert, &contents.cert)?;
        let first =
            chain.first().ok_or_else(|| Error::Certificates(self.cert.clone(), pem::Error::NoItemsFound))?;
        let ends = end(first).ok_or_else(|| Error::End(self.cert.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|error| Error::Key(self.key.clone(), error))?;
        let authority = match (&self.ca, &contents.ca) {
            (Some(file), Some(bytes)) => Some(Arc::new(roots(file, bytes)?)),
            (Some(_) | None, _) => None,
        };
        Ok(Credentials { chain, key, authority, ends })
    }
}

fn certificates(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Certificates(file.to_owned(), error))
}

fn end(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

/// An empty store would trust nobody, and say so only at the first handshake.
fn roots(file: &Path, bytes: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, bytes)? {
        roots.add(certificate).map_err(|error| Error::Authority(file.to_owned(), error))?;
    }
    if roots.is_empty() {
        return Err(Error::Certificates(file.to_owned(), pem::Error::NoItemsFound));
    }
    Ok(roots)
}
