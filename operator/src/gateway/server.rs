//! Connections: how many, how long their heads may take and how large they may be, and how they end. hyper's
//! own builder is used because its idle time-out works only with a timer, which axum's `serve` does not
//! give it.

mod chunks;
mod clients;
mod detached;
mod guard;
mod head;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures::TryFutureExt;
use http::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::clients::Clients;
use self::detached::detached;
use self::guard::{Guarded, Patience};
pub(crate) use self::head::BadHead;
use super::error::Error;
use super::metrics::Metrics;
use super::settings::Settings;
use super::tenancy::routable;
use super::tls::Certificate;

/// Above what `head` lets through, so that a refusal is ours.
const MOST_HEADERS: usize = 128;
/// Of a whole head, and of what is read ahead; likewise.
const LARGEST_HEAD: usize = 32 << 10;
/// After `accept` failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For the answers to requests that took as long as they may. The head of one that came at the last moment is there by then.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What connections are served with.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) certificate: Option<Arc<Certificate>>,
}

impl Server {
    /// Serves until `shutdown`, then lets connections finish what they are at.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self { router, settings, metrics, certificate } = self;
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(settings.idle_timeout)
            .max_headers(MOST_HEADERS)
            .max_buf_size(LARGEST_HEAD);
        let patience = Patience { head: settings.header_timeout, write: settings.write_timeout };
        let served = Arc::new(Served { builder, router, certificate, patience });
        let places = Arc::new(Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS)));
        let clients = Clients::new(settings.max_connections_per_client);
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept(&listener, &places) => accepted,
            };
            let Some((stream, address, place)) = accepted else { continue };
            let Some(share) = clients.enter(address.ip()) else {
                tracing::debug!(%address, "a client has its share of connections");
                continue;
            };
            let (served, shutdown) = (Arc::clone(&served), shutdown.clone());
            let open = metrics.connection();
            connections.spawn(async move {
                let _open = (place, share, open);
                if let Err(error) = served.connection(stream, shutdown).await {
                    tracing::debug!(%error, "a connection broke");
                }
            });
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(settings.drain_timeout + LAST_ANSWERS, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "stopped with requests unfinished");
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, place)),
        Err(error) => {
            tracing::warn!(%error, "failed to accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

struct Served {
    builder: http1::Builder,
    router: Router,
    certificate: Option<Arc<Certificate>>,
    patience: Patience,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("failed to agree on TLS: {0}")]
    Handshake(io::Error),
    #[error("failed to agree on TLS in time")]
    HandshakeTimeout,
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

impl Served {
    async fn connection(&self, stream: TcpStream, shutdown: CancellationToken) -> Result<(), Broken> {
        // Answers are small and waited for; failing to say so only costs latency.
        let _ = stream.set_nodelay(true);
        match &self.certificate {
            None => self.http(stream, shutdown).await,
            // Boxed, or connections without TLS would have room for it.
            Some(certificate) => Box::pin(self.https(certificate, stream, shutdown)).await,
        }
    }

    async fn https(
        &self,
        certificate: &Certificate,
        stream: TcpStream,
        shutdown: CancellationToken,
    ) -> Result<(), Broken> {
        let handshake = tokio::time::timeout(self.patience.head, certificate.acceptor().accept(stream));
        let accepted = tokio::select! {
            accepted = Box::pin(handshake) => accepted,
            // Nothing was asked yet.
            () = shutdown.cancelled() => return Ok(()),
        };
        let stream = accepted.map_err(|_| Broken::HandshakeTimeout)?.map_err(Broken::Handshake)?;
        self.http(stream, shutdown).await
    }

    async fn http<T>(&self, stream: T, shutdown: CancellationToken) -> Result<(), Broken>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let refused = Arc::<OnceLock<BadHead>>::default();
        let stream = Guarded::new(stream, self.patience, Arc::clone(&refused));
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            if let Some(refusal) = refused.get() {
                request.extensions_mut().insert(refusal.clone());
            }
            let mut request = routable(detached(request));
            if let Some(credentials) = request.headers_mut().get_mut(AUTHORIZATION) {
                // Whoever prints the headers prints no secret.
                credentials.set_sensitive(true);
            }
            let answer = self.router.clone().oneshot(request.map(Body::new));
            answer.map_err(|never: Infallible| match never {})
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => ended?,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await?;
            }
        }
        Ok(())
    }
}

/// Answers for a head that did not come through.
pub(crate) fn refuse_bad_head(request: &mut Request) -> Result<(), Error> {
    request.extensions_mut().remove::<BadHead>().map_or(Ok(()), |refusal| Err(refusal.into()))
}
