//! The `_inference` API: what Elasticsearch's clients see of the cluster. This file is the table of contents;
//! a request passes `observe` (count, log), `present` (headers, `pretty`), and its handler, which reads path,
//! caller and body in that order. Nothing here decides how many allocations run.

mod admission;
mod auth;
mod budget;
mod create;
mod directory;
mod dispatch;
mod elastic;
mod endpoints;
mod error;
mod inference;
mod info;
mod joined;
mod line;
mod metrics;
mod nodes;
mod observe;
mod pending;
mod pieces;
mod pod;
mod presentation;
mod queue;
mod rate;
mod request;
#[cfg(test)]
mod router_tests;
mod server;
mod settings;
mod tenancy;
mod watch;
mod work;
mod worker;

use std::ops::Deref;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};
use futures::TryFutureExt;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use lexiscale_crds::InferenceEndpoint;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::admission::Admission;
use self::budget::Budget;
use self::directory::{Directory, Entry};
use self::error::Error;
use self::metrics::Metrics;
use self::request::Target;
pub use self::settings::Settings;
use self::worker::WorkerClient;
use crate::admin::{self, Readiness};

fn router(gateway: &Gateway) -> Router {
    Router::new()
        .route("/", get(info::banner))
        .route("/_inference", get(endpoints::list))
        .route("/_inference/_services", get(info::list_services))
        .route("/_inference/_services/{task_type}", get(info::list_services))
        .route("/_inference/{id}", endpoint())
        .route("/_inference/{id}/_stream", post(inference::stream))
        .route("/_inference/{id}/_update", put(info::update))
        .route("/_inference/{id}/_chunk", post(info::chunk))
        .route("/_inference/{task_type}/{id}", endpoint())
        .route("/_inference/{task_type}/{id}/_stream", post(inference::stream))
        .route("/_inference/{task_type}/{id}/_update", put(info::update))
        .route("/_inference/{task_type}/{id}/_chunk", post(info::chunk))
        .fallback(info::unknown_path)
        .method_not_allowed_fallback(info::wrong_method)
        .layer(from_fn_with_state(gateway.clone(), budget::count_body))
        .layer(from_fn_with_state(gateway.clone(), presentation::present))
        .layer(from_fn_with_state(gateway.clone(), observe::observe))
        .with_state(gateway.clone())
}

fn endpoint() -> MethodRouter<Gateway> {
    get(endpoints::get).put(create::create).delete(endpoints::delete).post(inference::infer)
}

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
    budget: Arc<Budget>,
    metrics: Metrics,
    draining: CancellationToken,
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
        metrics: Metrics,
        draining: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            nodes: Api::all(client.clone()),
            client,
            directory,
            workers: WorkerClient::new(),
            admission: Admission::new(settings.max_requests),
            budget: Budget::new(settings.max_held_bytes),
            metrics,
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
    let gateway =
        Gateway::new(settings.clone(), client.clone(), known.clone(), metrics.clone(), shutdown.clone());

    // Background work ends with this function: the probe and the watch go on while requests are drained.
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    let probes = admin::serve(admin, registry, readiness.clone(), ended.clone());
    tokio::spawn(probes.inspect_err(|error| tracing::error!(%error, "failed to serve probes and metrics")));
    let follow = {
        let (settings, metrics) = (settings.clone(), metrics.clone());
        async move { watch::follow(client, &settings, metrics, directory).await }
    };
    tokio::spawn(ended.clone().run_until_cancelled_owned(follow));
    tokio::spawn(ended.run_until_cancelled_owned(ready_once_complete(
        known,
        readiness.clone(),
        shutdown.clone(),
    )));

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
    tokio::join!(server::serve(listener, router(&gateway), &settings, metrics, closed), close);
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
