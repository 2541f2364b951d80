//! Certificates: the one that the gateway serves, and the one that it shows to workers. How they are read and renewed is
//! `lexiscale_tls`'s business.

use std::path::PathBuf;

use lexiscale_core::desired::service::{PORT_NAME, TLS_PORT_NAME};
use lexiscale_tls::{Files, Reloading, server};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::metrics::{Metrics, Purpose};

/// Settings of TLS towards clients.
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

/// Settings of mutual TLS towards workers.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct WorkerSettings {
    /// Speak TLS to workers, and show them this certificate chain, in PEM. Read again when it changes. Workers that speak plain
    /// HTTP are then not asked.
    #[arg(
        long,
        env = "LEXISCALE_WORKER_TLS_CERT_FILE",
        requires_all = ["worker_tls_key_file", "worker_tls_ca_file"],
        value_name = "FILE"
    )]
    pub worker_tls_cert_file: Option<PathBuf>,

    /// Its private key, in PEM.
    #[arg(
        long,
        env = "LEXISCALE_WORKER_TLS_KEY_FILE",
        requires = "worker_tls_cert_file",
        value_name = "FILE"
    )]
    pub worker_tls_key_file: Option<PathBuf>,

    /// Authority, in PEM, that must have signed the workers' certificate.
    #[arg(
        long,
        env = "LEXISCALE_WORKER_TLS_CA_FILE",
        requires = "worker_tls_cert_file",
        value_name = "FILE"
    )]
    pub worker_tls_ca_file: Option<PathBuf>,

    /// DNS name that the workers' certificate must be for. Pods come and go and are asked by address: this is what they have in
    /// common.
    #[arg(
        long,
        env = "LEXISCALE_WORKER_TLS_SERVER_NAME",
        default_value = "lexiscale-worker",
        value_name = "NAME"
    )]
    pub worker_tls_server_name: String,
}

impl WorkerSettings {
    pub(crate) fn protocol(&self) -> Protocol {
        if self.worker_tls_cert_file.is_some() { Protocol::Tls } else { Protocol::Plain }
    }

    /// None for plain HTTP.
    pub(crate) fn files(&self) -> Option<Files> {
        let Self { worker_tls_cert_file, worker_tls_key_file, worker_tls_ca_file, worker_tls_server_name: _ } =
            self;
        let (cert, key) = worker_tls_cert_file.clone().zip(worker_tls_key_file.clone())?;
        Some(Files { cert, key, ca: worker_tls_ca_file.clone() })
    }
}

/// What is spoken with workers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Protocol {
    #[default]
    Plain,
    Tls,
}

impl Protocol {
    /// Workers name their port by what they speak, so that those who speak something else are never asked.
    pub(crate) fn port_name(self) -> &'static str {
        match self {
            Self::Plain => PORT_NAME,
            Self::Tls => TLS_PORT_NAME,
        }
    }
}

/// The certificate that clients see.
pub(crate) struct Certificate(Reloading<ServerConfig>);

impl Certificate {
    /// None without TLS.
    pub(crate) async fn load(
        settings: &Settings,
        metrics: Metrics,
    ) -> Result<Option<Self>, lexiscale_tls::Error> {
        let Settings { tls_cert_file, tls_key_file } = settings.clone();
        let Some((cert, key)) = tls_cert_file.zip(tls_key_file) else { return Ok(None) };
        let ends = move |second| metrics.certificate_ends(Purpose::Clients, second);
        let loaded = Reloading::load(Files { cert, key, ca: None }, server, ends).await?;
        Ok(Some(Self(loaded)))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current())
    }

    pub(crate) async fn follow(&self, ended: CancellationToken) {
        self.0.follow(ended).await;
    }

    /// Looks at the files now.
    #[cfg(test)]
    pub(crate) async fn renew(&self) -> lexiscale_tls::Renewal {
        self.0.renew().await
    }
}
