//! Accepts connections until told to stop, then lets the open ones finish.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use lexiscale_tls::Reloading;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// What connections are secured by.
pub type Certificate = Arc<Reloading<ServerConfig>>;

/// A client that does not finish its headers in this time is cut off, and so is one that does not agree on TLS.
const HEADER_TIME: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 100;
/// Largest head of a request, and the buffer of a connection.
const BUFFER: usize = 64 * 1024;
/// Waited after a failed accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`; then returns when every connection has finished its request, or after `grace`.
/// Without a certificate it speaks plain HTTP.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    certificate: Option<Certificate>,
    stop: CancellationToken,
    grace: Duration,
) {
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    // Without a timer hyper would wait for headers for ever.
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(BUFFER);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are written in one piece; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let served = Served { http: http.clone(), router: router.clone(), watcher: graceful.watcher() };
        let (certificate, stop) = (certificate.clone(), stop.clone());
        tokio::spawn(async move {
            match certificate {
                None => served.over(stream).await,
                Some(certificate) => {
                    // Nothing is asked yet: a stop need not wait for it.
                    let secured = stop.run_until_cancelled(secure(&certificate, stream)).await;
                    match secured {
                        Some(Ok(stream)) => served.over(stream).await,
                        Some(Err(error)) => tracing::debug!(%error, "failed to agree on TLS"),
                        None => {}
                    }
                }
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            seconds = grace.as_secs(),
            "connections were still open at the end of the grace period"
        );
    }
}

/// Counts as served for as long as it lives, so that a graceful stop waits for it.
struct Served {
    http: http1::Builder,
    router: Router,
    watcher: Watcher,
}

impl Served {
    async fn over(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { http, router, watcher } = self;
        let service = TowerToHyperService::new(router);
        if let Err(error) = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

async fn secure(certificate: &Certificate, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let acceptor = TlsAcceptor::from(certificate.current());
    tokio::time::timeout(HEADER_TIME, acceptor.accept(stream)).await?
}
