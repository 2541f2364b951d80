//! The control plane: keeps the cluster as the `InferenceEndpoint` and `ModelCache` objects ask.
//!
//! This file wires: one leader, for each watched namespace a controller of each kind, and the admin port. A pass is in
//! `controller/endpoint.rs` and `controller/model_cache.rs`; what it decides is in `lexiscale_core`.

mod apply;
mod cache_users;
mod context;
mod drive;
mod endpoint;
mod error;
mod metrics;
mod model_cache;
mod nodes;
mod observe;
mod outcome;
mod progress;
mod registry;
mod report;
mod scaling;
mod settings;
mod starting;
mod watches;

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use futures::{channel::mpsc, future::join_all};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    runtime::{
        events::{Recorder, Reporter},
        reflector::{self, Store},
    },
};
use lexiscale_core::{
    labels::{self, Component},
    settings::ImageVolumes,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::settings::Settings;
use self::{
    apply::Applier,
    context::{Context, Failures},
    drive::drive,
    metrics::{Kind, Metrics},
    progress::ProgressClient,
    scaling::{Pace, Proposals, Rounds, Scoped},
    watches::Scope,
};
use crate::{
    admin::{self, Readiness},
    leader::{self, Fence, Lead},
};

/// Longest wait for passes under way once the process has to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs until `shutdown`, or until the lease is lost, which is an error: whoever lost it must not linger.
pub async fn run(settings: Settings, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let core = Arc::new(settings.core()?);
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("failed to listen on {}", settings.listen))?;
    let mut registry = crate::metrics::registry();
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::default();
    let admin_shutdown = CancellationToken::new();
    let admin = tokio::spawn(admin::serve(
        listener,
        Arc::new(registry),
        readiness.clone(),
        axum::Router::new(),
        admin_shutdown.clone(),
    ));

    // A standby is ready as soon as the lease has answered it: it does what is asked of it, which is to wait.
    let Some(lead) = lead(&settings, &client, &readiness, &shutdown).await else {
        return Ok(());
    };
    readiness.set(false);
    metrics.leads(true);
    let workplace = Workplace {
        client,
        core,
        metrics: metrics.clone(),
        fence: lead.fence(),
        identity: settings.identity,
        proposals: Proposals::default(),
        pace: Pace::new(settings.scaling_interval),
        check_node_cpus: settings.check_node_cpus,
        largest_node: tokio::sync::watch::channel(None).0,
    };
    let lost = tokio::select! {
        () = workplace.work(&settings.namespaces, &readiness, &shutdown) => false,
        () = lead.lost() => true,
    };
    metrics.leads(false);
    ensure!(!lost, "lost the lease {}", settings.lease_name);
    lead.release().await;
    admin_shutdown.cancel();
    admin.await??;
    Ok(())
}

async fn lead(
    settings: &Settings,
    client: &Client,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> Option<Lead> {
    if !settings.leader_elect {
        return Some(Lead::uncontested());
    }
    let lease = leader::Lease {
        name: settings.lease_name.clone(),
        namespace: settings.lease_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned()),
        holder: leader::unique(&settings.identity),
    };
    tokio::select! {
        lead = leader::acquire(client.clone(), lease, || readiness.set(true)) => Some(lead),
        () = shutdown.cancelled() => None,
    }
}

/// What the leader needs.
struct Workplace {
    client: Client,
    core: Arc<lexiscale_core::settings::Settings>,
    metrics: Metrics,
    fence: Fence,
    identity: String,
    proposals: Proposals,
    pace: Pace,
    check_node_cpus: bool,
    largest_node: tokio::sync::watch::Sender<Option<u32>>,
}

impl Workplace {
    /// Reconciles until `shutdown`, then ends the passes under way.
    async fn work(&self, namespaces: &[String], readiness: &Readiness, shutdown: &CancellationToken) {
        let scopes = match namespaces {
            [] => vec![Scope::All],
            namespaces => namespaces.iter().cloned().map(Scope::Namespace).collect(),
        };
        let (mut controllers, mut synced, mut seen_by_loop) = (Vec::new(), Vec::new(), Vec::new());
        let mut nodes_changed = Vec::new();
        let (known_nodes, node_writer) = reflector::store();
        for scope in &scopes {
            let (changed, nodes) = mpsc::channel(1);
            nodes_changed.push(changed);
            let (controller, sync, seen) =
                self.controllers(scope, (nodes, known_nodes.clone()), shutdown.clone());
            controllers.push(controller);
            synced.push(sync);
            seen_by_loop.push(seen);
        }
        let scale = async {
            let nodes = async {
                if self.check_node_cpus || self.core.image_volumes == ImageVolumes::Auto {
                    let largest = self.largest_node.clone();
                    nodes::follow(self.client.clone(), node_writer, largest, nodes_changed).await;
                }
            };
            futures::join!(self.scale(seen_by_loop), nodes);
            std::future::pending::<()>().await;
        };
        let work = join_all(controllers);
        let sync = async {
            join_all(synced).await;
            readiness.set(true);
            tracing::info!("watches are in sync");
            std::future::pending::<()>().await;
        };
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
            tracing::warn!("passes are still under way, leaving them");
        };
        tokio::select! {
            _ = work => {}
            () = sync => {}
            () = scale => {}
            () = deadline => {}
        }
    }

    /// Follows the load for as long as it is polled.
    async fn scale(&self, scopes: Vec<Scoped>) {
        let gateways = match &self.core.gateway_namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let selector = labels::to_query(&labels::installed_selector(Component::Gateway));
        let (known, writer) = reflector::store();
        let (proposals, metrics) = (self.proposals.clone(), self.metrics.scaling.clone());
        let rounds = Rounds::new(scopes, known, proposals, metrics, self.pace);
        futures::join!(scaling::follow_pods(gateways, selector, writer), rounds.run());
    }

    /// Both controllers of a scope, the moment when both have seen everything, and what the loop needs.
    fn controllers(
        &self,
        scope: &Scope,
        (nodes_changed, nodes): (mpsc::Receiver<()>, Store<Node>),
        shutdown: CancellationToken,
    ) -> (impl Future<Output = ()>, impl Future<Output = ()>, Scoped) {
        let (trigger, triggered) = scaling::trigger();
        let endpoints = watches::endpoints(&self.client, scope, self.core.instance.as_deref());
        let caches = watches::model_caches(&self.client, scope, self.core.instance.as_deref());
        let (endpoint_store, cache_store) = (endpoints.store(), caches.store());
        let context = Arc::new(Context {
            client: self.client.clone(),
            settings: Arc::clone(&self.core),
            applier: Applier::new(self.client.clone(), self.fence.clone(), self.metrics.clone()),
            recorder: Recorder::new(
                self.client.clone(),
                Reporter {
                    controller: lexiscale_core::labels::MANAGER.to_owned(),
                    instance: Some(self.identity.clone()),
                },
            ),
            metrics: self.metrics.clone(),
            progress: ProgressClient::new(),
            endpoints: endpoints.store(),
            failures: Failures::default(),
            proposals: self.proposals.clone(),
            largest_node: self.check_node_cpus.then(|| self.largest_node.subscribe()),
            nodes,
        });
        let (workers, writer) = reflector::store();
        let scoped = Scoped { endpoints: endpoints.store(), workers, trigger };
        let selector = labels::to_query(&labels::component_selector(Component::Worker));
        let follow = scaling::follow_pods(scope.api(&self.client), selector, writer);
        let follow = shutdown.clone().run_until_cancelled_owned(follow);
        let starting = starting::note(scope.api(&self.client), endpoints.store(), context.applier.clone());
        let starting = shutdown.clone().run_until_cancelled_owned(starting);
        let endpoints = endpoints.reconcile_on(triggered).reconcile_all_on(nodes_changed);
        let endpoints = endpoints.graceful_shutdown_on(shutdown.clone().cancelled_owned());
        let caches = caches.graceful_shutdown_on(shutdown.cancelled_owned());
        let run = {
            let context = Arc::clone(&context);
            async move {
                let endpoints = drive(
                    endpoints,
                    Kind::InferenceEndpoint,
                    Arc::clone(&context),
                    |object, context| async move { Box::pin(endpoint::reconcile(&object, &context)).await },
                );
                let caches = drive(caches, Kind::ModelCache, context, |object, context| async move {
                    Box::pin(model_cache::reconcile(&object, &context)).await
                });
                futures::join!(endpoints, caches, follow, starting);
            }
        };
        let synced = async move {
            // An error here means that the controller has ended, and then nobody asks any more.
            let _ = futures::join!(endpoint_store.wait_until_ready(), cache_store.wait_until_ready());
        };
        (run, synced, scoped)
    }
}
