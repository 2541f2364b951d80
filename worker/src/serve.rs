//! `serve`: opens the port at once, loads the model beside it, and on the wish to stop turns unready, waits until the
//! cluster has noticed, and finishes what it has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use lexiscale_tls::{Files, Reloading};
use lexiscale_trace::{Service, Traces};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::backend::onnx::OnnxRuntime;
use crate::embedder::{Embedder, OpenError, Settings};
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, register_info};
use crate::server::{AppState, admin_router, listener, router};
use crate::shutdown::Signals;
use crate::sizing;

#[derive(Clone, Debug)]
pub struct Options {
    pub model: PathBuf,
    pub library: PathBuf,
    pub listen: SocketAddr,
    /// Where probes and scrapes are answered besides.
    pub admin_listen: Option<SocketAddr>,
    /// None for plain HTTP.
    pub tls: Option<Files>,
    pub traces: lexiscale_trace::Settings,
    pub settings: Settings,
    /// Between turning unready and closing the port.
    pub drain_delay: Duration,
    /// For requests that are in flight when the port closes.
    pub grace: Duration,
    /// Time without a request after which the worker measures itself; none for never.
    pub measure_after: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("failed to listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the certificate for TLS cannot be used")]
    Certificate(#[source] lexiscale_tls::Error),
    #[error(transparent)]
    Traces(lexiscale_trace::Error),
    #[error("failed to listen for signals")]
    Signals(#[source] std::io::Error),
    #[error("the model cannot be served")]
    Open(#[source] OpenError),
    #[error("loading the model ended by a panic")]
    Panicked,
}

pub async fn run(options: Options) -> Result<(), ServeError> {
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let (listener, address) = bind(options.listen).await?;
    let mut registry = Registry::with_prefix("lexiscale_worker");
    let metrics = Metrics::register(&mut registry);
    let certificate = load(options.tls.clone(), &metrics).await?;
    let service = Service { name: "lexiscale-worker", version: env!("CARGO_PKG_VERSION") };
    let traces = Traces::start(&options.traces, service).map_err(ServeError::Traces)?;
    registry.register("build", "This build", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    let registry = Arc::new(RwLock::new(registry));
    let lifecycle = Lifecycle::default();
    let state = Arc::new(AppState {
        lifecycle: lifecycle.clone(),
        metrics: Arc::clone(&metrics),
        direct: Arc::default(),
        registry: Arc::clone(&registry),
        traces: traces.clone(),
    });
    let measured = Arc::clone(&metrics);
    let stop = CancellationToken::new();
    if let Some(admin) = options.admin_listen {
        let (listener, address) = bind(admin).await?;
        let router = admin_router(Arc::clone(&state));
        tokio::spawn(listener::serve(listener, router, None, stop.clone(), options.grace));
        tracing::info!(%address, "answering probes");
    }
    if let Some(certificate) = certificate.clone() {
        let stop = stop.clone();
        tokio::spawn(async move { certificate.follow(stop).await });
    }
    let server =
        tokio::spawn(listener::serve(listener, router(state), certificate, stop.clone(), options.grace));
    tracing::info!(%address, model = %options.model.display(), "listening");

    let mut loaded = {
        let Options { model, library, settings, .. } = options.clone();
        tokio::task::spawn_blocking(move || {
            Embedder::open(&model, &|| OnnxRuntime::load(&library), settings, metrics)
        })
    };
    let started = Instant::now();
    let embedder = tokio::select! {
        () = signals.wait() => {
            tracing::info!("told to stop while the model was being loaded");
            // ONNX Runtime crashes when the process ends under a thread that is still in it.
            drop(tokio::time::timeout(options.grace, loaded).await);
            return Ok(());
        }
        loaded = &mut loaded => Arc::new(loaded.map_err(|_| ServeError::Panicked)?.map_err(ServeError::Open)?),
    };
    let info = embedder.info();
    register_info(&mut registry.write().unwrap_or_else(PoisonError::into_inner), &info);
    tracing::info!(
        model = info.model,
        revision = info.revision,
        threads = info.threads,
        precision = %info.precision,
        max_tokens = info.max_tokens,
        milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
    lifecycle.ready(Arc::clone(&embedder));
    let told = CancellationToken::new();
    if let Some(quiet) = options.measure_after {
        let (embedder, metrics) = (Arc::clone(&embedder), Arc::clone(&measured));
        let measuring = sizing::measure_when_quiet(embedder, metrics, quiet);
        tokio::spawn(told.clone().run_until_cancelled_owned(measuring));
    }

    signals.wait().await;
    told.cancel();
    tracing::info!(delay_seconds = options.drain_delay.as_secs_f64(), "told to stop: draining");
    lifecycle.drain();
    tokio::select! {
        () = tokio::time::sleep(options.drain_delay) => {}
        () = signals.wait() => tracing::info!("told to stop again: the delay ends"),
    }
    stop.cancel();
    if server.await.is_err() {
        tracing::error!("the server ended by a panic");
    }
    let closing = tokio::task::spawn_blocking(move || embedder.close());
    if tokio::time::timeout(options.grace, closing).await.is_err() {
        tracing::warn!("the inference threads did not end in time");
    }
    if tokio::task::spawn_blocking(move || traces.stop()).await.is_err() {
        tracing::warn!("sending the last spans ended by a panic");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn load(
    files: Option<Files>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Reloading<ServerConfig>>>, ServeError> {
    let Some(files) = files else { return Ok(None) };
    let metrics = Arc::clone(metrics);
    let ends = move |second| metrics.serves_certificate_until(second);
    let config = |credentials| lexiscale_tls::server(credentials);
    Reloading::load(files, config, ends)
        .await
        .map(|certificate| Some(Arc::new(certificate)))
        .map_err(ServeError::Certificate)
}
