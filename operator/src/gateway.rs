//! The `_inference` API: what Elasticsearch's clients see of the cluster. A request passes compression, `around` (which
//! counts and logs it, refuses a bad head, counts the bytes of its body, and dresses the answer), and its handler, which
//! reads path, caller and body in that order. Nothing here decides how many allocations run.

mod admission;
pub mod api;
mod around;
mod arrived;
mod attach;
mod auth;
mod budget;
mod burst;
mod create;
mod directory;
mod dispatch;
mod elastic;
mod embed;
mod endpoints;
mod error;
#[cfg(test)]
mod fuzz;
mod gzip;
mod inference;
mod info;
mod line;
mod load;
mod merge_patch;
mod metrics;
mod nodes;
mod observe;
mod outage;
mod paced;
mod page;
mod pending;
mod pieces;
mod places;
mod pod;
mod presentation;
mod queue;
mod rate;
mod request;
mod router;
#[cfg(test)]
mod router_tests;
mod sending;
mod server;
mod settings;
mod shapes;
mod shares;
mod shown;
mod starting;
mod tenancy;
mod tls;
mod update;
mod wake;
mod watch;
mod work;
mod worker;
mod writing;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::TryFutureExt;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector;
use kube::{Api, Client};
use lexiscale_crds::InferenceEndpoint;
use lexiscale_trace::{Service, Traces};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::admission::{Admission, Began, Deadline};
use self::auth::Guard;
pub use self::auth::{ApiKeyFormat, Mode as AuthMode, NewKey, Settings as AuthSettings, Verb};
use self::budget::Budget;
use self::burst::Bursts;
use self::directory::{Directory, Entry};
use self::error::Error;
use self::metrics::Metrics;
use self::outage::Doubt;
use self::page::Page;
use self::request::Target;
use self::router::router;
use self::server::Server;
pub use self::settings::Settings;
use self::shares::Among;
use self::shown::Shown;
use self::tls::Certificate;
pub use self::tls::{Settings as TlsSettings, WorkerSettings as WorkerTlsSettings};
use self::wake::Wakes;
use self::worker::WorkerClient;
use crate::admin::{self, Readiness};

/// In whose name the gateway writes.
const FIELD_MANAGER: &str = "lexiscale-gateway";
/// Its name in traces, unless `OTEL_SERVICE_NAME` gives another.
const SERVICE: &str = "lexiscale-gateway";

/// What every request needs. Cheap to clone.
#[derive(Clone)]
struct Gateway(Arc<Shared>);

struct Shared {
    settings: Settings,
    client: Client,
    nodes: Api<Node>,
    directory: tokio::sync::watch::Receiver<Arc<Directory>>,
    workers: WorkerClient,
    admission: Admission,
    budget: Budget,
    shown: Shown,
    bursts: Bursts,
    wakes: Wakes,
    metrics: Metrics,
    traces: Traces,
    page: Page,
    draining: CancellationToken,
    doubt: Doubt,
    /// None where everybody may do everything.
    guard: Option<Arc<Guard>>,
}

/// Who is told what happens.
#[derive(Clone, Default)]
struct Observers {
    metrics: Metrics,
    traces: Traces,
}

impl Deref for Gateway {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Gateway {
    fn new(
        settings: Settings,
        client: Client,
        directory: tokio::sync::watch::Receiver<Arc<Directory>>,
        observers: Observers,
        workers: WorkerClient,
        page: Page,
        draining: CancellationToken,
    ) -> Self {
        let Observers { metrics, traces } = observers;
        let among = if settings.all_namespaces { Among::Tenants } else { Among::One };
        let doubt = Doubt::default();
        Self(Arc::new(Shared {
            guard: Guard::new(&settings.auth, client.clone(), doubt.clone()).map(Arc::new),
            doubt,
            nodes: Api::all(client.clone()),
            client,
            directory,
            workers,
            admission: Admission::new(settings.max_requests, among),
            budget: Budget::new(settings.max_held_bytes, among),
            shown: Shown::default(),
            bursts: Bursts::default(),
            wakes: Wakes::default(),
            metrics,
            traces,
            page,
            draining,
            settings,
        }))
    }

    /// The endpoint objects of a namespace.
    fn endpoints(&self, namespace: &str) -> Api<InferenceEndpoint> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// What is known now.
    fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.borrow())
    }

    /// What is known now and from now on.
    fn watch_directory(&self) -> tokio::sync::watch::Receiver<Arc<Directory>> {
        self.directory.clone()
    }

    /// The endpoint that a path means.
    fn find(&self, target: &Target) -> Result<Arc<Entry>, Error> {
        let directory = self.directory();
        let Some(entry) = directory.get(&target.key()) else {
            let id = target.id.clone();
            return Err(if directory.is_complete { Error::NotFound { id } } else { Error::NotReady });
        };
        let stored = entry.endpoint.spec.task_type.into();
        match target.task {
            Some(requested) if !requested.matches(stored) => {
                Err(Error::OtherTaskType { id: target.id.clone(), requested, stored })
            }
            Some(_) | None => Ok(Arc::clone(entry)),
        }
    }

    /// Until when a request may take. What it asks for is bounded by how long a gateway that is told to stop waits for its
    /// requests: a longer one would be cut off by a restart. It counts from when the request came, checks of its credentials
    /// included.
    fn deadline(&self, began: Began, asked: Option<Duration>, otherwise: Duration) -> Deadline {
        Deadline::of(began, asked.unwrap_or(otherwise).min(self.settings.drain_timeout))
    }

    fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}

/// Serves until `shutdown`.
pub async fn run(settings: Settings, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let bind = async |address| {
        TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))
    };
    let listener = bind(settings.listen).await?;
    let admin = bind(settings.admin_listen).await?;
    tracing::info!(listen = %settings.listen, admin = %settings.admin_listen, namespace = settings.namespace, "serving");
    serve(settings, client, listener, admin, shutdown).await
}

/// Serves on listeners that are bound already, whatever the settings name.
pub async fn serve(
    settings: Settings,
    client: Client,
    listener: TcpListener,
    admin: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (registry, metrics) = metrics::registry();
    let readiness = Readiness::default();
    let (directory, known) = tokio::sync::watch::channel(Arc::default());
    let (caches, writer) = reflector::store();
    let service = Service { name: SERVICE, version: env!("CARGO_PKG_VERSION") };
    let traces = Traces::start(&settings.traces, service)?;
    let observers = Observers { metrics: metrics.clone(), traces: traces.clone() };
    let workers = WorkerClient::load(&settings.worker_tls, observers.clone())
        .await
        .context("failed to prepare for TLS with workers")?;
    let gateway = Gateway::new(
        settings.clone(),
        client.clone(),
        known.clone(),
        observers,
        workers.clone(),
        Page::new(caches),
        shutdown.clone(),
    );

    // Background work ends with this function: the probe and the watch go on while requests are drained.
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    let probes = admin::serve(admin, registry, readiness.clone(), load::router(known.clone()), ended.clone());
    tokio::spawn(probes.inspect_err(|error| tracing::error!(%error, "failed to serve probes and metrics")));
    let follow = {
        let (client, settings, metrics) = (client.clone(), settings.clone(), metrics.clone());
        let (doubt, workers) = (gateway.doubt.clone(), workers.clone());
        async move { watch::follow(client, &settings, metrics, workers, directory, &doubt).await }
    };
    let follow_caches = {
        let settings = settings.clone();
        async move { watch::follow_caches(client, &settings, writer).await }
    };
    tokio::spawn(ended.clone().run_until_cancelled_owned(follow_caches));
    tokio::spawn(ended.clone().run_until_cancelled_owned(page::record(gateway.clone())));
    tokio::spawn(ended.clone().run_until_cancelled_owned(follow));
    tokio::spawn(ended.clone().run_until_cancelled_owned(wake::follow(gateway.clone(), known.clone())));
    if let Some(guard) = gateway.guard.clone() {
        guard.load_keys().await.context("failed to read the API keys")?;
        let ended = ended.clone();
        tokio::spawn(async move { guard.follow_keys(ended).await });
    } else {
        tracing::warn!("requests are not authenticated; --auth=kubernetes asks for credentials");
    }
    tokio::spawn(ended.clone().run_until_cancelled_owned(ready_once_complete(
        known,
        readiness.clone(),
        shutdown.clone(),
    )));

    {
        let ended = ended.clone();
        tokio::spawn(async move { workers.follow_certificate(ended).await });
    }
    let certificate = Certificate::load(&settings.tls, metrics.clone())
        .await
        .context("failed to prepare for TLS with clients")?
        .map(Arc::new);
    if let Some(certificate) = certificate.clone() {
        let ended = ended.clone();
        tokio::spawn(async move { certificate.follow(ended).await });
    }

    // Load balancers need a moment to notice that the pod is not ready any more; until then requests are
    // welcome.
    let closed = CancellationToken::new();
    let drain_delay = settings.drain_delay;
    let close = {
        let closed = closed.clone();
        async move {
            shutdown.cancelled().await;
            readiness.set(false);
            tracing::info!(?drain_delay, "draining");
            tokio::time::sleep(drain_delay).await;
            closed.cancel();
        }
    };
    let server = Server { router: router(&gateway), settings, metrics, certificate };
    tokio::join!(server.serve(listener, closed), close);
    tokio::task::spawn_blocking(move || traces.stop()).await.context("failed to end traces")?;
    tracing::info!("stopped");
    Ok(())
}

/// A gateway that does not know the endpoints yet would answer 404 for all of them.
async fn ready_once_complete(
    mut known: tokio::sync::watch::Receiver<Arc<Directory>>,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    if known.wait_for(|directory| directory.is_complete).await.is_ok() && !shutdown.is_cancelled() {
        readiness.set(true);
    }
}
