//! Connections to workers: plain, or by mutual TLS with a certificate that may be renewed. One pool of kept-alive connections
//! for each worker.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lexiscale_tls::Reloading;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{self, ClientConfig};
use tokio_util::sync::CancellationToken;

use crate::gateway::metrics::{Metrics, Purpose};
use crate::gateway::tls::WorkerSettings;

/// Pods answer a connection within a millisecond or are gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Well below the 10 seconds after which workers close a connection that sends no request: one that is taken
/// out of the pool must not be about to close.
const POOL_IDLE: Duration = Duration::from_secs(5);
const POOL_CONNECTIONS: usize = 64;

type Plain = Client<HttpConnector, Full<Bytes>>;
type Secured = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

#[derive(Clone)]
pub(super) enum Connections {
    Plain(Box<Plain>),
    /// A new certificate makes a new client: what it sends goes over connections that show that certificate.
    Secured(Arc<Reloading<Secured>>),
}

/// Why there can be no connections at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{name:?} is not a DNS name")]
    Name {
        name: String,
        #[source]
        source: InvalidDnsNameError,
    },
    #[error(transparent)]
    Certificate(#[from] lexiscale_tls::Error),
}

impl Connections {
    pub(super) fn plain() -> Self {
        Self::Plain(Box::new(client(connector())))
    }

    /// As the settings ask.
    pub(super) async fn load(settings: &WorkerSettings, metrics: Metrics) -> Result<Self, Error> {
        let Some(files) = settings.files() else { return Ok(Self::plain()) };
        let name = settings.worker_tls_server_name.clone();
        let name = ServerName::try_from(name.clone()).map_err(|source| Error::Name { name, source })?;
        let make = move |credentials| Ok(secured(lexiscale_tls::client(credentials)?, name.clone()));
        let ends = move |second| metrics.certificate_ends(Purpose::Workers, second);
        Ok(Self::Secured(Arc::new(Reloading::load(files, make, ends).await?)))
    }

    pub(super) fn scheme(&self) -> Scheme {
        match self {
            Self::Plain(_) => Scheme::HTTP,
            Self::Secured(_) => Scheme::HTTPS,
        }
    }

    pub(super) async fn request(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        match self {
            Self::Plain(client) => client.request(request).await,
            Self::Secured(current) => current.current().request(request).await,
        }
    }

    /// Uses renewed certificates until the end.
    pub(super) async fn follow(&self, ended: CancellationToken) {
        match self {
            Self::Plain(_) => {}
            Self::Secured(current) => current.follow(ended).await,
        }
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    connector
}

fn secured(config: ClientConfig, name: ServerName<'static>) -> Secured {
    let mut connector = connector();
    connector.enforce_http(false);
    client(
        HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(name))
            .enable_http1()
            .wrap_connector(connector),
    )
}

fn client<C: Connect + Clone>(connector: C) -> Client<C, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_CONNECTIONS)
        .build(connector)
}

/// What TLS has against a worker, or a worker against us. A worker refuses a certificate only after the client believes that
/// they agree, so this may look like a connection that broke; but nothing was asked.
pub(super) fn refused(error: &legacy::Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        // An `io::Error` is not the source of what it wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = error.downcast_ref().or_else(|| wrapped?.downcast_ref());
        if found.is_some() {
            return found;
        }
        cause = error.source();
    }
    None
}
