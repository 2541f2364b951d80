//! TLS of gateway and workers: certificates from files, read again when these change, so that a renewed one is used without
//! a restart. Knows nothing of HTTP.

mod config;
mod files;
mod reloading;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem;

pub use self::config::{client, server};
pub use self::files::{Credentials, Files};
pub use self::reloading::{Reloading, Renewal};

/// Why files are not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read a file of TLS")]
    Read(#[from] io::Error),
    #[error("failed to find certificates in {}", .0.display())]
    Certificates(PathBuf, #[source] pem::Error),
    #[error("failed to find a private key in {}", .0.display())]
    Key(PathBuf, #[source] pem::Error),
    #[error("failed to read when the certificate in {} ends", .0.display())]
    End(PathBuf),
    #[error("failed to use a certificate authority of {}", .0.display())]
    Authority(PathBuf, #[source] rustls::Error),
    #[error("failed to use the certificate with its key")]
    Pair(#[source] rustls::Error),
    #[error("failed to ask clients for certificates of that authority")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    #[error("a certificate authority is needed to know the other side by")]
    NoAuthority,
}
